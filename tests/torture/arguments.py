"""The arguments of a command, NAME=value, with one line for those that are no good."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import nearest


def read(command: str, arguments: Sequence[str], usual: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the arguments, or the usual ones; numbers are more than 0, but for `seed`. Exits with 2 if not.

    usual : name → value, whose type the argument has too; None for a text that may be missing.
    """
    values = dict(usual)
    for argument in arguments:
        name, _, text = argument.partition("=")
        if name not in usual:
            _refuse(f"{command} {argument}: no such argument{nearest(name, usual)}; there are {', '.join(usual)}")
        kind = str if usual[name] is None else type(usual[name])
        try:
            values[name] = kind(text)
        except ValueError:
            _refuse(f"{command} {argument}: expected a number, as in {name}={usual[name]}")
        if kind is not str and values[name] <= 0 and name != "seed":
            _refuse(f"{command} {argument}: expected more than 0, as in {name}={usual[name]}")
    return values


def _refuse(words: str) -> None:
    print(f"error: {words}", file=sys.stderr)
    sys.exit(2)
