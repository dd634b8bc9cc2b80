"""The settings of a style or run in words: what is at work, and all of them by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from atlas_viewer.evidence.numbers import Number, Value, effective
from atlas_viewer.site import captions


@dataclass(frozen=True)
class Setting:
    """A setting and its value.

    about : what it does.
    published : the authors' value where that is another one, or empty.
    """

    name: str
    about: str
    value: str
    published: str = ""


def at_work(table: Iterable[Number], numbers: Mapping[str, Value]) -> tuple[Setting, ...]:
    """The settings that decide pictures, by their titles, without those that are off; those of one axis in one.

    table : the hyperparameters of the method; numbers : those of the style or run, with their values.
    """
    shown: list[Setting] = []
    axis = ""
    for number, value in effective(table, numbers).items():
        if number.is_neutral(value):
            continue
        beside = number.published_beside(value)
        published = "" if beside is None else captions.setting(beside)
        if number.axis and number.axis == axis:
            first = shown.pop()
            published = " ".join(filter(None, (first.published, published)))
            value_words = f"{first.value} {number.title or number.name} {captions.setting(value)}"
            shown.append(replace(first, value=value_words, published=published))
        else:
            shown.append(Setting(number.title or number.name, number.about, captions.setting(value), published))
        axis = number.axis
    return tuple(shown)


def by_name(table: Iterable[Number], numbers: Mapping[str, Value]) -> tuple[Setting, ...]:
    """All settings of a style or run, as the configuration spells them."""
    about = {number.name: number.about for number in table}
    return tuple(Setting(name, about.get(name, ""), captions.setting(value)) for name, value in numbers.items())
