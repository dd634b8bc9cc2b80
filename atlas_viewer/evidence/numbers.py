"""The hyperparameters of each method: meaning, symbol, regularizer, neutral and published value, condition."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import h5py

from atlas_viewer.field import Field, Group, subgroup

if TYPE_CHECKING:
    from atlas_viewer.atlas import Atlas
    from atlas_viewer.layer import Layer

Value = str | int | float | bool


def _text(name: str, meaning: str) -> Field:
    return Field(name, "text", ("number",), meaning)


NUMBERS = Group(
    "/numbers/<method>",
    "the hyperparameters of a method, in the order in which they are set; they are the further attributes of the "
    "groups /layers/<layer>/<method>/<setting>",
    (),
    (
        _text("name", "name of the hyperparameter, as attributes and the configuration spell it"),
        _text("title", "title in two or three words, or empty; for a second hyperparameter of an axis, the words "
              "before its value"),
        _text("symbol", "symbol in the paper, a subscript after _, as in θ_decay; or empty"),
        _text("measured_in", "what its value is, or is measured in"),
        _text("meaning", "what it does"),
        _text("axis", "the regularizer or constraint that a sweep raises with it; empty for none"),
        _text("neutral", "JSON of the value that switches it off, null for no bound; empty for none"),
        _text("published", "JSON of the authors' value; empty where nothing is published"),
        _text("read_when", "name=value,value: it is read only where the hyperparameter of that name has one of these "
              "values; empty for always"),
    ),
    required=False,
)  # fmt: skip
GROUPS = (NUMBERS,)


@dataclass(frozen=True)
class Number:
    """One hyperparameter of a method.

    name : as attributes and the configuration spell it.
    title : two or three words, or empty.
    symbol : in the paper, a subscript after _, or empty.
    measured_in : what its value is, or is measured in.
    meaning : what it does.
    axis : the regularizer or constraint that a sweep raises with it, or empty.
    neutral : JSON of the value that switches it off, or empty.
    published : JSON of the authors' value, or empty.
    read_when : "name=value,value", the condition under which it is read, or empty.
    """

    name: str
    title: str
    symbol: str
    measured_in: str
    meaning: str
    axis: str
    neutral: str
    published: str
    read_when: str

    @classmethod
    def of(cls, atlas: Atlas, method: str) -> tuple[Number, ...]:
        """The hyperparameters of a method, in their order; empty where the atlas has no table of them."""
        group = subgroup(subgroup(atlas.file, "numbers"), method)
        if group is None:
            return ()
        columns = (group[field.name].asstr()[...].tolist() for field in NUMBERS.fields)
        return tuple(cls(*row) for row in zip(*columns, strict=True))

    @property
    def about(self) -> str:
        """Title, symbol and meaning in a line, for pages."""
        return ": ".join(filter(None, (" ".join(filter(None, (self.title, self.symbol))), self.meaning)))

    def is_neutral(self, value: Value) -> bool:
        """Whether a value switches the hyperparameter off."""
        return bool(self.neutral) and _same(value, _decoded(self.neutral))

    def published_beside(self, value: Value) -> Value | None:
        """The authors' value where it is another one than `value`; None where it is the same, or not published."""
        published = _decoded(self.published) if self.published else value
        return None if _same(value, published) else published

    def is_read(self, numbers: Mapping[str, Value]) -> bool:
        """Whether the hyperparameter is read in a setting with these values."""
        name, _, values = self.read_when.partition("=")
        return not name or (name in numbers and word(numbers[name]) in values.split(","))


def effective(table: Iterable[Number], numbers: Mapping[str, Value]) -> dict[Number, Value]:
    """The hyperparameters of a table that decide the pictures of a setting, with their values, in the table's order."""
    return {n: numbers[n.name] for n in table if n.name in numbers and n.is_read(numbers)}


def shown_beside(layer: Layer) -> Iterator[h5py.Group]:
    """The tables, which the pages of every layer show."""
    return NUMBERS.within(layer.atlas.file)


def word(value: Value) -> str:
    """A value as it is set on the command line; infinity stands for no bound, null."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if isinstance(value, float) and math.isinf(value) else str(value)


def faults(file: h5py.File) -> Iterator[str]:
    """Hyperparameters of an open file that are listed twice, and values that are not JSON."""
    for group in NUMBERS.within(file):
        names = group["name"].asstr()[...].tolist()
        if len(set(names)) != len(names):
            yield f"{group.name}/name: a hyperparameter is listed twice"
        for column in ("neutral", "published"):
            for name, text in zip(names, group[column].asstr()[...].tolist(), strict=True):
                try:
                    json.loads(text or "null")
                except ValueError:
                    yield f"{group.name}/{column}: {text!r} of {name} is not JSON"


def _decoded(text: str) -> Value:
    value = json.loads(text)
    return math.inf if value is None else value


def _same(value: Value, other: Value) -> bool:
    plain = [isinstance(each, (int, float)) and not isinstance(each, bool) for each in (value, other)]
    return math.isclose(value, other) if all(plain) else value == other
