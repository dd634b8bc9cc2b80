"""The tasks of DGN-AM: a block of items in one run, of few items in several samples; and the task of a prior."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.card import LayerCard, NetworkCard, PriorCard
from pipeline.costs import PASSES_PER_STEP, Pass, climb_seconds, rates
from pipeline.errors import OutputError
from pipeline.methods.dgn.combinations import select_combination
from pipeline.methods.dgn.request import DgnRequest, read_dgn
from pipeline.methods.dgn.settings import CombinationRecord, RunRecord, RunSettings
from pipeline.methods.method import Estimate, Method
from pipeline.plan import Plan
from pipeline.records import Record
from pipeline.request import Config, Request
from pipeline.settings import check_choice
from pipeline.sweep import Swept
from pipeline.task import DEFLATED_SHARE, Sizes, Task, packed, sample_record, sample_words
from pipeline.units import Members, select_units
from pipeline.work import Work

DGN_REVISION = 3  # raise it when the numbers that DGN-AM computes change
PRIOR_REVISION = 1
GENERATOR_SECONDS = 0.25  # of a task, to prepare what its window needs of the generator


@dataclass(frozen=True)
class DgnTask(Task):
    """The pictures of a block of items of one layer in one run.

    samples : one, or several of a block that is smaller than a micro-batch.
    model : digest of the network.
    items : of each, its units with weights; several units are excited together.
    balance : γ of the penalty on the difference of their activations.
    batch : items of a micro-batch.
    precision : of the climbs, "float32" or "bf16".
    """

    model: str
    layer: str
    items: tuple[Members, ...]
    samples: tuple[int, ...]
    run: RunRecord
    balance: float
    batch: int
    seconds: float
    precision: str = "float32"
    shown_first: bool = field(default=False, compare=False)

    method = "dgn"
    given_back = True

    @property
    def count(self) -> int:
        return len(self.items) * len(self.samples)

    @property
    def pictures(self) -> list[tuple[Members, int]]:
        """The item and sample of each picture, in the order of the result."""
        return [(members, sample) for sample in self.samples for members in self.items]

    @property
    def words(self) -> str:
        return f"{self.layer}, {self.run.name}, {sample_words(self.samples)}"

    def record(self) -> Record:
        return {
            "method": self.method,
            "revision": DGN_REVISION,
            "model": self.model,
            "layer": self.layer,
            "items": [[list(member) for member in members] for members in self.items],
            "sample": sample_record(self.samples),
            "search": self.run.record(),
            "balance": self.balance,
            "batch": self.batch,
            **({} if self.precision == "float32" else {"precision": self.precision}),
        }


@dataclass(frozen=True)
class PriorTask(Task):
    """The description of a prior and the statistics of its codes, as the atlas stores them."""

    prior: PriorCard

    method, noun = "priors", "priors"
    given_back = True
    needs_device = False
    count = 1
    seconds = 0.01

    @property
    def words(self) -> str:
        return self.prior.name

    def record(self) -> Record:
        return {
            "method": self.method,
            "revision": PRIOR_REVISION,
            "name": self.prior.name,
            "digest": self.prior.digest,
        }


class Dgn(Method):
    """DGN-AM, ascent in the code space of a learned generator (Nguyen et al. 2016), for single units."""

    name, setting, numbers, makes_pictures = "dgn", RunRecord, RunSettings, True
    after = ()

    def read(self, config: Config) -> DgnRequest:
        return read_dgn(config)

    def ask(self, plan: Plan, request: Request) -> Plan:
        asked, runs = request.asked[self.name], request.opened["priors"].runs
        units = request.units if asked.units is None else select_units(request.card, asked.units)
        samples = request.config.samples if asked.samples is None else asked.samples
        of_classes = samples if asked.class_samples is None else asked.class_samples
        for layer, chosen in units.items():
            count = of_classes if layer == request.card.class_layer else samples
            plan = plan.asking(self.name, runs, {layer: chosen}, count)
        combinations = [
            select_combination(request.card, name, settings, runs[0]) for name, settings in asked.combinations.items()
        ]
        return plan.asking(COMBINATIONS.name, combinations) if runs else plan

    def swept(self, base: str, iterations: int, settings: Sequence[Swept], request: Request) -> tuple[RunRecord, ...]:
        runs = {run.name: run for run in request.opened["priors"].runs}
        check_choice("sweep.base", base, tuple(runs))
        run = runs[base]
        plain = replace(run.settings, iterations=iterations)
        return tuple(
            replace(run, name=f"{base}-{one.name}", settings=replace(plain, **one.changes)) for one in settings
        )

    def check(self, before: Plan, later: Plan) -> None:
        earlier = all_runs(before)
        digests = {run.prior.name: run.prior.digest for run in earlier.values()}
        for name, run in all_runs(later).items():
            prior = run.prior
            if digests.get(prior.name, prior.digest) != prior.digest:
                raise OutputError(
                    f"prior {prior.name}: the atlas has another prior of this name ({digests[prior.name][:12]}, now "
                    f"{prior.digest[:12]}); give this one a name of its own, or choose another folder with OUT=…"
                )
            self.check_one(earlier.get(name), run, later.is_swept(self.name, name))

    def stages(self, work: Work) -> Iterator[Sequence[Task]]:
        yield open_tasks(work, work.stage(self.name, dgn_tasks(work.left)))

    def estimate(self, plan: Plan, tasks: Sequence[DgnTask]) -> Iterable[Estimate]:
        for layer in plan.layers():
            names = plan.layer_names(self.name, layer.name)
            swept = [name for name in names if plan.is_swept(self.name, name)]
            lines = [(name, [name]) for name in names if name not in swept]
            for title, group in [*lines, *([(f"sweep of {len(swept)}", swept)] if swept else [])]:
                chosen = [task for task in tasks if task.layer == layer.name and task.run.name in group]
                units = len({item for task in chosen for item in task.items})
                yield _estimate(plan, layer, title, units, chosen, plan.settings[self.name][group[0]])


class Combinations(Method):
    """DGN-AM for several units at once (Nguyen et al. 2016, Eq. 2)."""

    name, setting, requested = "combinations", CombinationRecord, False
    after = ()

    def stages(self, work: Work) -> Iterator[Sequence[Task]]:
        held = self.part("store").held_items(work.plan, work.atlas)
        sets = work.results[self.name] = combination_tasks(work.plan, held)
        yield open_tasks(work, work.stage(self.name, [task for tasks in sets.values() for task in tasks]))

    def estimate(self, plan: Plan, tasks: Sequence[DgnTask]) -> Iterable[Estimate]:
        left = {task.id for task in tasks}
        for name, cut in combination_tasks(plan).items():
            asked, chosen = plan.settings[self.name][name], [task for task in cut if task.id in left]
            layer = plan.card.layer(asked.layer)
            yield _estimate(plan, layer, name, len(asked.items), chosen, asked.run, iterates=1)

    def described(self, one: CombinationRecord) -> Record:
        """The record of a set without its units, which its group has."""
        return {name: value for name, value in one.record().items() if name not in ("items", "name")}


class Priors(Method):
    """The priors of all runs, stored for pages and readers."""

    name, setting, requested = "priors", PriorCard, False
    after = ()

    def stages(self, work: Work) -> Iterator[Sequence[Task]]:
        held = self.part("store").held_priors(work.plan, work.atlas)
        tasks = [task for task in prior_tasks(work.plan) if task.prior not in held]
        yield open_tasks(work, work.stage(self.name, tasks))


DGN, COMBINATIONS, PRIORS = Dgn(), Combinations(), Priors()


def all_runs(plan: Plan) -> dict[str, RunRecord]:
    """Name → run, of single units and of combinations, sorted by name."""
    runs = {asked.run.name: asked.run for asked in plan.of("combinations").values()} | plan.of("dgn")
    return {name: runs[name] for name in sorted(runs)}


def dgn_tasks(plan: Plan) -> tuple[DgnTask, ...]:
    """All tasks for single units, sample by sample, so that every unit has a first picture early."""
    tasks: list[DgnTask] = []
    for (name, run), asked in plan.method_samples("dgn").items():
        layer, record = plan.card.layer(name), plan.settings["dgn"][run]
        for units, samples in _cut(plan.card, layer, record, asked, layer.channels):
            items = tuple(((unit, 1.0),) for unit in units)
            task = _task(plan.card, layer, items, samples, record, 0.0, layer.channels)
            tasks.append(replace(task, shown_first=name == plan.card.class_layer and 0 in samples))
    return tuple(sorted(tasks, key=lambda task: task.samples[0]))


def combination_tasks(
    plan: Plan, held: Mapping[tuple[str, int], Collection[int]] | None = None
) -> dict[str, tuple[DgnTask, ...]]:
    """Name of a set of combinations → its tasks, sample by sample.

    held : (name, sample) → items of the set that need no task.
    """
    tasks, finished = {}, {} if held is None else held
    for name, asked in plan.of("combinations").items():
        layer, chosen, every = plan.card.layer(asked.layer), [], range(len(asked.items))
        left = {
            sample: [row for row in every if row not in finished.get((name, sample), ())]
            for sample in range(asked.samples)
        }
        for rows, samples in _cut(plan.card, layer, asked.run, left, len(every)):
            items = tuple(asked.items[row] for row in rows)
            chosen.append(_task(plan.card, layer, items, samples, asked.run, asked.balance, len(every)))
        tasks[name] = tuple(sorted(chosen, key=lambda task: task.samples[0]))
    return tasks


def prior_tasks(plan: Plan) -> tuple[PriorTask, ...]:
    """One task for each prior, sorted by name."""
    cards = {run.prior.name: run.prior for run in all_runs(plan).values()}
    return tuple(PriorTask(cards[name]) for name in sorted(cards))


def open_tasks(work: Work, tasks: Sequence[DgnTask | PriorTask]) -> list[DgnTask | PriorTask]:
    """The tasks whose priors are open; without its prior a task cannot be computed, and its stored result stays."""
    if work.resources is None:
        return list(tasks)
    cards = [(task, task.prior if isinstance(task, PriorTask) else task.run.prior) for task in tasks]
    return [task for task, card in cards if card.digest in work.resources.priors]


def _sizes(card: NetworkCard, layer: LayerCard, run: RunRecord) -> Sizes:
    kept = layer.bytes["window"] + _side(card, layer, run) * run.prior.bytes
    return Sizes.of(run.device, _macs(layer, run), kept, run.climbs(layer))


def _cut(
    card: NetworkCard, layer: LayerCard, run: RunRecord, asked: Mapping[int, Sequence[int]], most: int
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The (items, samples) of each task. asked : sample → ascending numbers; most : number of all of them."""
    sizes = _sizes(card, layer, run)
    return packed(asked, min(most, sizes.block), sizes.batch_of(most))


def _macs(layer: LayerCard, run: RunRecord) -> int:
    """Multiply-accumulates of one item's climb, through generator and cone."""
    step = PASSES_PER_STEP * (layer.macs["window"] + run.prior.macs)
    return max(1, step) * run.settings.iterations


def _pass(card: NetworkCard, layer: LayerCard, run: RunRecord) -> Pass:
    """The forward pass of one item through what its window needs of the generator, and the cone."""
    one, prior, side = Pass.of(layer, "window", card), run.prior, _side(card, layer, run)
    row = rates(run.device.kind, run.climbs(layer))
    share = row.any_window + row.window_side * side
    return Pass(one.macs + share * prior.macs, one.bytes + side * prior.bytes, one.pixels)


def _side(card: NetworkCard, layer: LayerCard, run: RunRecord) -> float:
    """The side of a unit's picture, as a share of that of the prior's images."""
    height, width = layer.picture("window", card.image)
    return max(height / run.prior.height, width / run.prior.width)


def _task(
    card: NetworkCard,
    layer: LayerCard,
    items: tuple[Members, ...],
    samples: tuple[int, ...],
    run: RunRecord,
    balance: float,
    most: int,
) -> DgnTask:
    """most : number of all items of the layer, or of the set of combinations."""
    batch, precision = _sizes(card, layer, run).batch_of(most), run.climbs(layer)
    seconds = GENERATOR_SECONDS + climb_seconds(
        run.device.kind,
        precision,
        _pass(card, layer, run),
        items=len(items) * len(samples),
        batch=batch,
        iterations=run.settings.iterations,
        kept=2,
    )
    return DgnTask(card.digest, layer.name, items, samples, run, balance, batch, seconds, precision)


def _estimate(
    plan: Plan, layer: LayerCard, name: str, units: int, tasks: Sequence[DgnTask], run: RunRecord, iterates: int = 2
) -> Estimate:
    """iterates : number of stored iterates, 2 for the last and the best, 1 for the last only."""
    size, pictures = layer.picture("window", plan.card.image), sum(task.count for task in tasks)
    return Estimate(
        layer=layer.name,
        name=name,
        units=units,
        results=pictures,
        tasks=len(tasks),
        seconds=sum(task.seconds for task in tasks),
        size=size,
        bytes=int(iterates * pictures * (size[0] * size[1] * 3 * DEFLATED_SHARE + run.prior.entries * 4)),
    )
