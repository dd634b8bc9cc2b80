"""The searches of a plan cut into tasks, as `cuts` does it for the rest."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.card import LayerCard, NetworkCard
from pipeline.cuts import PASSES_PER_STEP, blocks
from pipeline.plan import Plan
from pipeline.search_records import Members, SearchRecord
from pipeline.search_tasks import DgnTask, PriorTask


def dgn_tasks(plan: Plan) -> tuple[DgnTask, ...]:
    """All tasks that search for single units, sample by sample, so that every unit soon has a first picture."""
    order = {layer.name: place for place, layer in enumerate(plan.card.layers)}
    keys = sorted(plan.dgn, key=lambda key: (key[2], key[1], order[key[0]]))
    found: list[DgnTask] = []
    for name, search, sample in keys:
        layer, record = plan.card.layer(name), plan.searches[search]
        most, block = _sizes(layer, record)
        for units in blocks(plan.dgn[name, search, sample], min(layer.channels, block)):
            items = tuple(((unit, 1.0),) for unit in units)
            found.append(_task(plan.card, layer, items, sample, record, 0.0, most))
    return tuple(found)


def combination_tasks(plan: Plan) -> dict[str, tuple[DgnTask, ...]]:
    """Name of a set of combinations → its tasks, sample by sample."""
    found = {}
    for name in sorted(plan.combinations):
        asked = plan.combinations[name]
        layer = plan.card.layer(asked.layer)
        most, block = _sizes(layer, asked.search)
        found[name] = tuple(
            _task(plan.card, layer, tuple(asked.items[row] for row in rows), sample, asked.search, asked.balance, most)
            for sample in range(asked.samples)
            for rows in blocks(range(len(asked.items)), block)
        )
    return found


def prior_tasks(plan: Plan) -> tuple[PriorTask, ...]:
    """One task a prior, by name."""
    cards = {record.prior.name: record.prior for record in plan.all_searches()}
    return tuple(PriorTask(cards[name]) for name in sorted(cards))


def _sizes(layer: LayerCard, search: SearchRecord) -> tuple[int, int]:
    """Items of a micro-batch at most, and of a task."""
    device = search.device
    kept = PASSES_PER_STEP * (layer.bytes["window"] + search.prior.bytes)
    most = max(1, min(device.max_batch, device.batch_bytes // kept))
    batches = max(1, int(device.task_seconds * device.macs_per_second / (_macs(layer, search) * most)))
    return most, most * batches


def _macs(layer: LayerCard, search: SearchRecord) -> int:
    """Multiply-accumulates of one item's search, through generator and cone."""
    step = PASSES_PER_STEP * (layer.macs["window"] + search.prior.macs)
    return max(1, step) * search.settings.iterations


def _task(
    card: NetworkCard,
    layer: LayerCard,
    items: Sequence[Members],
    sample: int,
    search: SearchRecord,
    balance: float,
    most: int,
) -> DgnTask:
    rounds = -(-len(items) // most)
    batch = -(-len(items) // rounds)  # rounds of equal size: hardly an item is padding
    macs = _macs(layer, search) * len(items)
    return DgnTask(card.digest, layer.name, tuple(items), sample, search, balance, batch, macs)
