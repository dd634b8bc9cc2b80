"""The settings of styles and runs: what is at work, in words; all of them by name, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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


@dataclass(frozen=True)
class Row:
    """A setting, as the configuration spells it, and its value in each of several styles or runs; empty for none."""

    name: str
    about: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class SettingsTable:
    """All settings of several styles or runs.

    columns : the name of each, and the id of its section on a unit's page.
    """

    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]


def side_by_side(
    table: Iterable[Number], columns: Sequence[tuple[str, str]], numbers: Sequence[Mapping[str, Value]]
) -> SettingsTable:
    """All settings of styles or runs of one method.

    table : the hyperparameters of the method; numbers : for each column its settings with their values.
    """
    about = {number.name: number.about for number in table}
    names = dict.fromkeys(name for one in numbers for name in one)
    rows = (
        Row(name, about.get(name, ""), tuple(captions.setting(one[name]) if name in one else "" for one in numbers))
        for name in names
    )
    return SettingsTable(tuple(columns), tuple(rows))
