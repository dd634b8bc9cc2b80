"""What the registry knows of a method: what it is asked, which tasks follow, what they cost, and where its code is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from pipeline.errors import OutputError, SettingsError
from pipeline.plan import Asked, Plan
from pipeline.records import Record, differences
from pipeline.request import Config, Request
from pipeline.sweep import Swept
from pipeline.task import Task
from pipeline.work import Work

_NAMED = 6  # differences that an error names


@dataclass(frozen=True)
class Estimate:
    """A line of `make plan`.

    units, results : how many.
    size : height and width of a picture in pixels, or None.
    bytes : in the atlas.
    note : what else is computed.
    """

    layer: str
    name: str
    units: int
    results: int
    tasks: int
    seconds: float
    size: tuple[int, int] | None = None
    bytes: int = 0
    note: str = ""


class Method(ABC):
    """One way to find or judge what units prefer; its code stands in one folder.

    name : in plans and in the registry.
    setting : class of what it is asked by a name.
    numbers : class whose fields pages explain, or None.
    makes_pictures : whether it stores pictures of units, at /layers/<layer>/<name>/<setting>.
    requested : whether `methods=[…]` chooses it; the others follow from these.
    stated : whether the settings that a file states name what it was asked.
    """

    name: str
    setting: type
    numbers: type | None = None
    makes_pictures = False
    requested = True
    stated = True

    def read(self, config: Config) -> Any:
        """What the method's section of a configuration asks, checked before any work begins."""
        return None

    def ask(self, plan: Plan, request: Request) -> Plan:
        """The plan with what a request wants of this method; `request.asked` has what `read` returned."""
        return plan

    def check(self, before: Plan, later: Plan) -> None:
        """Raise OutputError where two plans ask for different things by one name."""
        for name, asked in later.of(self.name).items():
            self.check_one(before.of(self.name).get(name), asked, later.is_swept(self.name, name))

    def check_one(self, before: Asked | None, later: Asked, swept: bool) -> None:
        """Raise OutputError where a later value cannot have the name of an earlier one."""
        changes = [] if before is None else differences(before.record(), later.record())
        if changes:
            words = before.clash(changes[:_NAMED], swept)  # type: ignore[union-attr]
            if words is not None:
                raise OutputError(words)

    def swept(self, base: str, iterations: int, settings: Sequence[Swept], request: Request) -> tuple[Asked, ...]:
        """What a sweep asks of the method, in the order of its settings.

        base : name of the setting from which everything is that a sweep does not change.
        Raises SettingsError where the base is not there, or a setting cannot be.
        """
        raise SettingsError(f"sweep.method: {self.name} has no numbers to sweep; choose ascent or dgn")

    @abstractmethod
    def stages(self, work: Work) -> Iterator[Sequence[Task]]:
        """The tasks, stage by stage: each stage is computed before the next one is asked for."""

    def estimate(self, plan: Plan, tasks: Sequence[Task]) -> Iterable[Estimate]:
        """What the method's share of a plan takes. tasks : those that follow from the plan alone."""
        return ()

    def described(self, one: Any) -> Record:
        """What the file's settings say of something asked."""
        return one.record()

    def part(self, name: str) -> ModuleType:
        """A module of the method's folder, imported when it is needed: `compute` needs torch, `store` h5py."""
        return import_module(f"{type(self).__module__.rpartition('.')[0]}.{name}")
