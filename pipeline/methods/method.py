"""The interface of a method: its settings, its tasks, their estimated cost, and its modules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from pipeline.errors import OutputError, SettingsError
from pipeline.plan import NamedSettings, Plan
from pipeline.records import Record, differences
from pipeline.request import Config, Request
from pipeline.sweep import Swept
from pipeline.task import Task
from pipeline.work import Work

_NAMED = 6  # maximum number of differences that an error names


@dataclass(frozen=True)
class Estimate:
    """A line of `make plan`.

    units, results, tasks : how many there are of each.
    seconds : estimated time on one worker.
    size : height and width of a picture in pixels, or None.
    bytes : size in the atlas.
    beside : size of what lies beside the atlas until the method has ended.
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
    beside: int = 0
    note: str = ""


class Method(ABC):
    """One way to find or judge what units prefer. Its code is in one folder.

    name : name in plans and in the registry.
    setting : class of its named settings.
    numbers : class whose fields are explained on the pages, or None.
    makes_pictures : whether it stores pictures of units, at /layers/<layer>/<name>/<setting>.
    requested : whether users choose it by `methods=[…]`; the other methods follow from the chosen ones.
    stated : whether the settings in the atlas file include those of this method.
    after : names of the methods whose results its stages read; it begins when they are complete, and overlaps with the
        others. None for all methods before it in the registry.
    """

    name: str
    setting: type
    numbers: type | None = None
    makes_pictures = False
    requested = True
    stated = True
    after: tuple[str, ...] | None = None

    def read(self, config: Config) -> Any:
        """Read and check the method's section of a configuration, before any work begins."""
        return None

    def ask(self, plan: Plan, request: Request) -> Plan:
        """The plan with this method's part of a request added; `request.asked` has what `read` returned."""
        return plan

    def check(self, before: Plan, later: Plan) -> None:
        """Raise OutputError if two plans use one name for different settings."""
        for name, asked in later.of(self.name).items():
            self.check_one(before.of(self.name).get(name), asked, later.is_swept(self.name, name))

    def check_one(self, before: NamedSettings | None, later: NamedSettings, swept: bool) -> None:
        """Raise OutputError if a later setting may not have the name of an earlier one.

        before : None if the name is new.
        swept : whether the later setting belongs to a sweep.
        """
        changes = [] if before is None else differences(before.record(), later.record())
        if changes:
            words = before.clash(changes[:_NAMED], swept)  # type: ignore[union-attr]
            if words is not None:
                raise OutputError(words)

    def swept(
        self, base: str, iterations: int, settings: Sequence[Swept], request: Request
    ) -> tuple[NamedSettings, ...]:
        """The method's settings for a sweep, in the order of `settings`.

        base : name of the setting that provides the numbers that are not swept.
        iterations : iterations of each climb.
        Raises SettingsError for an unknown base or an invalid setting.
        """
        raise SettingsError(f"sweep.method: {self.name} has no numbers to sweep; choose ascent or dgn")

    @abstractmethod
    def stages(self, work: Work) -> Iterator[Sequence[Task]]:
        """Yield the tasks stage by stage. Each stage is computed before the next one is requested."""

    def stored(self, work: Work) -> None:  # noqa: B027 - nothing is done unless a method wants to
        """Called after each stored result of the present stage, between the results of the run; must not take long."""

    def estimate(self, plan: Plan, tasks: Sequence[Task]) -> Iterable[Estimate]:
        """Estimate the cost of what is left of the method's part of a plan.

        tasks : those to compute, as far as stored results allow to cut them.
        """
        return ()

    def described(self, one: Any) -> Record:
        """The record of a setting for the settings in the atlas file."""
        return one.record()

    def part(self, name: str) -> ModuleType:
        """A module of the method's folder, imported on demand, because `compute` needs torch and `store` h5py."""
        return import_module(f"{type(self).__module__.rpartition('.')[0]}.{name}")
