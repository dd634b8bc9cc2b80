"""Names of classes: which spellings mean the same class, which are numbers, and whose classes a dataset has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from pipeline.card import NetworkCard

WNID = re.compile(r"n\d{8}(?![^\W_])")
_NUMBER = re.compile(r"[+-]?\d{1,15}(\.\d{0,15})?", re.ASCII)


@dataclass(frozen=True)
class ClassNames:
    """The classes that a file names, in their order.

    names : readable names, such as "tench, Tinca tinca".
    ids : the file's identifiers, such as "n01440764"; the names where it has none.
    numbers : the number that the file gives each class; 0, 1, … where it gives none.
    """

    names: tuple[str, ...]
    ids: tuple[str, ...]
    numbers: tuple[int, ...]

    @property
    def has_wnids(self) -> bool:
        return all(WNID.fullmatch(name) for name in self.ids)


@lru_cache(1 << 16)  # a million images have few different classes
def number(text: str) -> int | float | None:
    """The number that a text is: 2 for "2", "2.0" and "002"; None for any other text."""
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return int(value) if value.is_integer() else value


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """The different names, sorted: first the numbers by value, then the other names as text."""
    return tuple(sorted(set(names), key=_place))


def plain(name: str) -> str:
    """A name without what spellings differ in: case, a wnid before it, underscores for spaces, the form of a number."""
    text = " ".join(name.replace("_", " ").split())
    rest = WNID.sub("", text, count=1).lstrip(" ,;:") if WNID.match(text) else text
    value = number(rest)
    return (rest if rest else text).casefold() if value is None else str(value)


def first_name(name: str) -> str:
    """The plain form of the words before the first comma."""
    return plain(name.split(",")[0])


def spellings(classes: ClassNames) -> Mapping[str, int]:
    """Place of the class that each spelling means; a spelling that fits several classes is left out.

    Exact ids come before exact names, these before plain spellings, and these before first names.
    """
    places: dict[str, int] = {}
    for spelled in (
        [first_name(name) for name in classes.names],
        [plain(name) for name in classes.names],
        classes.names,
        classes.ids,
    ):
        fits: dict[str, set[int]] = {}
        for place, name in enumerate(spelled):
            fits.setdefault(name, set()).add(place)
        places |= {name: min(each) for name, each in fits.items() if len(each) == 1}
    return places


def place_of(name: str, places: Mapping[str, int]) -> int | None:
    """The place of a class under any of its `spellings`; None for a name that fits none."""
    for spelled in (name, plain(name), first_name(name)):
        if spelled in places:
            return places[spelled]
    return None


def disagreement(names: Sequence[str], card: NetworkCard) -> str | None:
    """Why a dataset's classes are not known to be the network's, as a clause; None if they are.

    They are if there are as many, and each has the name of the class layer's unit of the same number: the whole label
    or its first name, whatever the case, with or without a wnid before it.
    """
    if card.class_layer is None:
        return f"{card.name} has no class layer, which model.class_layer=… names"
    units = card.layer(card.class_layer).channels
    if len(names) != units:
        return f"the number of its classes is {len(names)}, that of {card.name}'s {units}"
    if not card.labels:
        return f"{card.name} has no names for its classes"
    ours, theirs = [[first_name(name) for name in each] for each in (names, card.labels)]
    if ours == theirs or [*map(plain, names)] == [*map(plain, card.labels)]:
        return None
    if sorted(ours) == sorted(theirs):
        return f"{card.name} has the same classes in another order"
    place = next(place for place, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1])
    return f"class {place} is {names[place]!r} in the dataset, {card.labels[place]!r} in {card.name}"


def _place(name: str) -> tuple[int, float, str]:
    value = number(name)
    return (1, 0.0, name) if value is None else (0, value, name)
