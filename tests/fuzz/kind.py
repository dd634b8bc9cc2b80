"""What a kind of input is: how its cases are made, and how the project reads them."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.errors import AtlasError


class Kind(ABC):
    """One kind of input.

    folder : an empty one, for the files that are read.
    expected : what a reader may raise for bad input; its text must be one line.
    costly : about how many times longer than for most kinds a case takes; it gets fewer of a mixed run.
    may_crash : whether a library under the reader may end the process, so that cases need a process of their own.
    """

    expected: tuple[type[Exception], ...] = (AtlasError,)
    costly = 1.0
    may_crash = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def seeds(self) -> list[Any]:
        """Valid inputs, which every case is made from."""
        return self.make_seeds()

    @abstractmethod
    def make_seeds(self) -> list[Any]: ...

    @abstractmethod
    def case(self, random: random.Random) -> Any:
        """One input: bytes, a text, or a list of texts."""

    @abstractmethod
    def read(self, case: Any) -> None:
        """Read the input as the project does, to the end. Raises what is in `expected`, or AssertionError."""
