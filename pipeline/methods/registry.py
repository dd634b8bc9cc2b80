"""The methods in their order. Only this module names them together; a new method adds its line here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.errors import OutputError
from pipeline.methods.ascent.task import ASCENT
from pipeline.methods.dgn.task import COMBINATIONS, DGN, PRIORS
from pipeline.methods.interpretability.task import INTERPRETABILITY
from pipeline.methods.memorisation.task import MEMORISATION
from pipeline.methods.method import Method
from pipeline.methods.plan_version_1 import of_version_1
from pipeline.methods.scores.task import SCORES
from pipeline.methods.tops.task import IMAGES, TOPS
from pipeline.plan import PartKey, Plan
from pipeline.records import UNSET, numbers
from pipeline.task import Task
from pipeline.work import Work

if TYPE_CHECKING:
    from pipeline.store.held import HeldAtlas

METHODS: tuple[Method, ...] = (
    ASCENT,
    DGN,
    COMBINATIONS,
    TOPS,
    MEMORISATION,
    IMAGES,
    PRIORS,
    SCORES,
    INTERPRETABILITY,
)


def stages(work: Work) -> Iterator[Sequence[Task]]:
    """Yield the tasks of a plan, method by method and stage by stage; each is computed before the next is requested."""
    for method in METHODS:
        yield from method.stages(work)


def held_units(plan: Plan, held: HeldAtlas) -> dict[PartKey, frozenset[int]]:
    """The units whose pictures an atlas holds, for each part of a plan."""
    units: dict[PartKey, frozenset[int]] = {}
    for method in METHODS:
        if method.makes_pictures:
            units |= method.part("store").held_units(plan, held)
    return units


def cut(work: Work) -> Work:
    """Cut the tasks of the work as far as stored results allow, computing nothing; return the work."""
    for _ in stages(work):
        pass
    return work


def together(before: Plan | None, asked: Plan) -> Plan:
    """The union of an atlas's plan and a new request.

    before : None for a new atlas.
    Raises OutputError if the two are for different networks, or use one name for different settings.
    """
    if before is None:
        return asked
    if before.card.digest != asked.card.digest:
        raise OutputError(
            f"atlas of {before.card.name}@{before.card.digest[:12]}: this request is for "
            f"{asked.card.name}@{asked.card.digest[:12]}, another definition or other weights; choose another folder "
            f"with OUT=…"
        )
    for method in METHODS:
        method.check(before, asked)
    return before.union(asked)


def read_plan(record: Mapping[str, Any]) -> Plan:
    """Read a plan from the values of a plan.json, of the current version or of version 1."""
    current = of_version_1(record) if record.get("version") == 1 else record
    return Plan.of_record(current, {method.name: method.setting for method in METHODS})


def described(plan: Plan) -> dict[str, object]:
    """The settings of each method, as the atlas file states them; for a sweep, only the positions."""
    stated: dict[str, object] = {}
    for method in METHODS:
        asked = {
            name: method.described(one) for name, one in plan.of(method.name).items()
            if not plan.is_swept(method.name, name)
        }  # fmt: skip
        if asked and method.stated:
            stated[method.name] = asked
        places = plan.sweep.get(method.name)
        if places:  # hundreds of settings, whose numbers are attributes of their groups
            stated.setdefault("sweep", {})[method.name] = {  # type: ignore[index]
                name: f"{places[name].axis} {places[name].place}" for name in sorted(places)
            }
    return stated


def numbers_page() -> str:
    """The text of docs/numbers.md: the numbers of each method's settings, from their metadata."""
    lines = [
        "# The numbers of styles and runs\n",
        "`pipeline.methods.registry.numbers_page()` writes this page; change the metadata of the settings, not this "
        "page.\nSweeps, pages and the group `/numbers` of the atlas file use the same metadata.",
    ]
    for method in METHODS:
        if method.numbers is not None:
            lines += [f"\n## `{method.name}`\n", "| number | symbol | measured in | meaning | off at | published |"]
            lines += ["| --- | --- | --- | --- | --- | --- |"]
            for name, about in numbers(method.numbers).items():
                if about.title:
                    cells = (f"`{name}`", about.symbol, about.measured_in, about.meaning)
                    lines.append(f"| {' | '.join((*cells, _spelled(about.neutral), _spelled(about.published)))} |")
    return "\n".join(lines) + "\n"


def _spelled(value: object) -> str:
    """A value as YAML spells it; empty for none."""
    return "" if value is UNSET else value if isinstance(value, str) else json.dumps(value)
