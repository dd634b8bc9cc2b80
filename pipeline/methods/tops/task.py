"""The tasks of the dataset side: mining a block of images, back-projections of best images, pixels of images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.card import LayerCard, NetworkCard, mean_colour
from pipeline.class_names import disagreement
from pipeline.dataset_settings import NETWORK, DatasetRecord, DatasetSettings
from pipeline.errors import SettingsError
from pipeline.methods.method import Estimate, Method
from pipeline.methods.tops.settings import MiningRecord, TopsSettings
from pipeline.plan import Plan
from pipeline.records import Record, record_digest, to_record
from pipeline.request import Config, Request
from pipeline.task import DEFLATED_SHARE, Sizes, Task, blocks
from pipeline.work import Work

MINE_REVISION = 3  # raise it when the numbers that mining computes change
IMAGES_REVISION = 1
BACKPROJECT_REVISION = 1
IMAGES_PER_TASK = 256
_NEARLY_WHOLE = 0.9  # share of the image above which a window counts as the whole image

Hit = tuple[int, int, int, int, float]  # unit, image, row, column, activation


@dataclass(frozen=True)
class MineTask(Task):
    """Hits and statistics of all layers over the images start … stop−1 of a dataset.

    batch : images of a forward pass.
    """

    model: str
    mining: MiningRecord
    layers: tuple[str, ...]
    start: int
    stop: int
    batch: int
    macs: int

    method, noun = "mine", "images"

    @property
    def count(self) -> int:
        return self.stop - self.start

    @property
    def seconds(self) -> float:
        return self.macs / self.mining.device.macs_per_second

    @property
    def words(self) -> str:
        return f"images {self.start}-{self.stop - 1}"

    def record(self) -> Record:
        dataset, top = self.mining.dataset, self.mining.tops
        return {
            "method": self.method,
            "revision": MINE_REVISION,
            "model": self.model,
            "dataset": dataset.reading() | {"ordered": dataset.ordered, "classes": len(dataset.classes)},
            "layers": list(self.layers),
            "images": [self.start, self.stop],
            "top": top.mined(),
            "device": to_record(self.mining.device),
            "batch": self.batch,
        }


@dataclass(frozen=True)
class ImagesTask(Task):
    """The pixels of some images of a dataset, as the network reads them.

    image : height and width of the network's input.
    fill : RGB colour of the area that an image does not cover.
    numbers : numbers of the images, ascending.
    """

    dataset: DatasetRecord
    image: tuple[int, int]
    fill: tuple[int, int, int]
    numbers: tuple[int, ...]

    method, noun = "images", "images"
    needs_device = False

    @property
    def count(self) -> int:
        return len(self.numbers)

    @property
    def seconds(self) -> float:
        return 0.01 * len(self.numbers)

    @property
    def words(self) -> str:
        return f"images {self.numbers[0]}-{self.numbers[-1]}"

    def record(self) -> Record:
        return {
            "method": self.method,
            "revision": IMAGES_REVISION,
            "dataset": self.dataset.reading(),
            "image": list(self.image),
            "ground": list(self.fill),
            "numbers": list(self.numbers),
        }


@dataclass(frozen=True)
class BackprojectTask(Task):
    """The back-projections of the best images of a block of units of one layer.

    hits : (unit, image, row, column, activation) of each, units ascending, best first.
    """

    model: str
    mining: MiningRecord
    fill: tuple[int, int, int]
    layer: str
    units: tuple[int, ...]
    hits: tuple[tuple[int, int, int, int, float], ...]
    rules: tuple[str, ...]
    batch: int
    macs: int

    method, noun = "backproject", "back-projections"

    @property
    def count(self) -> int:
        return len(self.hits)

    @property
    def seconds(self) -> float:
        return self.macs / self.mining.device.macs_per_second

    @property
    def words(self) -> str:
        return f"{self.layer}:{self.units[0]}-{self.units[-1]}"

    def record(self) -> Record:
        return {
            "method": self.method,
            "revision": BACKPROJECT_REVISION,
            "model": self.model,
            "dataset": self.mining.dataset.reading(),
            "ground": list(self.fill),
            "layer": self.layer,
            "units": list(self.units),
            "hits": [list(hit) for hit in self.hits],
            "rules": list(self.rules),
            "lrn": self.mining.tops.lrn,
            "device": to_record(self.mining.device),
            "batch": self.batch,
        }


class Tops(Method):
    """The images of a dataset that excite each unit most, with back-projections, and statistics from the same pass."""

    name, setting = "tops", MiningRecord
    after = ()

    def read(self, config: Config) -> TopsRequest:
        kept = config.read(TopsSettings, "tops")
        section = config.values["dataset"]
        if section["kind"] != "none":
            return TopsRequest(kept, config.read(DatasetSettings, "dataset"))
        if config.methods == (self.name,):
            raise SettingsError("methods: got tops alone, which needs a dataset; name one by DATASET=…")
        if section["root"] is not None:
            raise SettingsError(
                f"dataset.root: got {section['root']}, but dataset=none reads no images; choose a dataset of "
                f"conf/dataset/ by DATASET=…, or leave dataset.root out"
            )
        return TopsRequest(kept, None)

    def ask(self, plan: Plan, request: Request) -> Plan:
        asked, source = request.asked[self.name], request.opened["source"]
        if source is None:
            return plan
        settings, names = asked.dataset, tuple(source.index.class_names)
        dataset = DatasetRecord(
            name=source.name,
            kind=settings.kind,
            digest=source.digest,
            images=len(source),
            classes=names,
            ordered=settings.classes == NETWORK or (names != () and disagreement(names, request.card) is None),
            preprocess=settings.preprocess,
            reduced_decoding=settings.reduced_decoding,
            bad_share=settings.bad_share,
            block=settings.block,
        )
        return plan.asking(self.name, [MiningRecord(dataset, asked.kept, request.config.device)], request.units)

    def stages(self, work: Work) -> Iterator[Sequence[Task]]:
        if not work.plan.of(self.name):
            return
        mined = work.stage(self.name, mine_tasks(work.plan))
        yield work.with_images(mined)
        result = work.results[self.name] = self._result(work, mined)
        if result is None:
            return
        work.images |= result.images()
        work.left_out += [f"{key}: {reason}" for key, reason in result.skipped]
        hits = self.part("result").best_hits(work.plan, result.layers)
        yield work.with_images(work.stage("backproject", backproject_tasks(work.plan, hits)))

    def _result(self, work: Work, mined: Sequence[Task]) -> Any:
        """Hits and statistics of all layers, read or assembled from the blocks; None if a block is missing."""
        stored = self.part("result")
        result = stored.read_tops(work.plan, mined, work.shards, work.problems)
        if result is not None or work.resources is None or work.resources.source is None:
            return result
        try:
            result = self.part("reduction").put_together(work.plan, mined, work.shards, work.resources)
        except LookupError as missing:
            work.notes.append(f"best images are incomplete: {missing} failed; the same command tries again")
            return None
        work.shards.write(
            record_digest(stored.tops_record(work.plan, mined)), stored.encode_tops(work.plan, mined, result)
        )
        return stored.read_tops(work.plan, mined, work.shards, work.problems)  # the same values as in a later run

    def estimate(self, plan: Plan, tasks: Sequence[MineTask]) -> Iterable[Estimate]:
        for mining in plan.of(self.name).values():
            units = [len(chosen) for chosen in plan.method_parts(self.name).values()]
            yield Estimate(
                layer="all layers",
                name="best images",
                units=sum(units),
                results=mining.dataset.images,
                tasks=len(tasks),
                seconds=sum(task.seconds for task in tasks),
                bytes=_bytes(plan, mining),
                note="and back-projections of the best images",
            )


class Images(Method):
    """The pixels of the dataset images that results refer to."""

    name, setting, requested = "images", DatasetRecord, False
    after = ("tops", "memorisation")

    def stages(self, work: Work) -> Iterator[Sequence[Task]]:
        result = work.results.get(TOPS.name)
        if result is not None:
            yield work.with_images(work.stage(self.name, image_tasks(work.plan, result.numbers, work.images)))


@dataclass(frozen=True)
class TopsRequest:
    """The request for the dataset side. dataset : None without a dataset."""

    kept: TopsSettings
    dataset: DatasetSettings | None


TOPS, IMAGES = Tops(), Images()


def mining_of(plan: Plan) -> MiningRecord | None:
    """The plan's mining record; None without a dataset."""
    return plan.settings.get(TOPS.name, {}).get(MiningRecord.name)


def top_units(plan: Plan, layer: str) -> tuple[int, ...]:
    """The units of a layer whose best images are requested, ascending."""
    return plan.layer_units(layer, TOPS.name)


def mine_tasks(plan: Plan) -> tuple[MineTask, ...]:
    """One pass over the dataset: a task for each block of images, with all layers, whatever units are requested."""
    mining, card = mining_of(plan), plan.card
    if mining is None:
        return ()
    layers = tuple(layer.name for layer in card.layers if layer.has_units)
    macs = max(layer.macs["image"] for layer in card.layers)
    starts = range(0, mining.dataset.images, mining.dataset.block)
    stops = [min(start + mining.dataset.block, mining.dataset.images) for start in starts]
    return tuple(
        MineTask(card.digest, mining, layers, start, stop, mining.tops.batch, max(1, macs) * (stop - start))
        for start, stop in zip(starts, stops, strict=True)
    )


def image_tasks(plan: Plan, hits: Sequence[int], images: Iterable[int]) -> tuple[ImagesTask, ...]:
    """The pixels of the images that are hits, in blocks by their number in the dataset; then those of other images.

    images : numbers of all images that results refer to.
    The tasks of hits do not depend on the other images.
    """
    mining = mining_of(plan)
    if mining is None or mining.tops.pixels == "pointers":
        return ()
    fill = mean_colour(plan.card.order, plan.card.mean)
    further = sorted(set(images) - set(hits))
    grids = (*blocks(hits, IMAGES_PER_TASK), *blocks(further, IMAGES_PER_TASK))
    return tuple(ImagesTask(mining.dataset, plan.card.image, fill, block) for block in grids)


def backproject_tasks(plan: Plan, hits: Mapping[str, Mapping[int, Sequence[Hit]]]) -> tuple[BackprojectTask, ...]:
    """The back-projections of each unit's best images. hits : layer → unit → its hits, best first."""
    mining, card, tasks = mining_of(plan), plan.card, []
    if mining is None:
        return ()
    for layer in plan.layers():
        rules, layer_hits = layer_rules(plan, layer), hits.get(layer.name, {})
        if not layer_hits or not rules:
            continue
        canvas = "image" if _sees_all(card, layer) else "window"
        macs = max(1, layer.macs[canvas]) * (1 + 2 * len(rules))
        batch = Sizes.of(mining.device, macs, layer.bytes[canvas]).batch
        device, per_unit = mining.device, mining.tops.k * macs
        block = max(1, int(device.task_seconds * device.macs_per_second / per_unit))
        for units in blocks(sorted(layer_hits), min(block, layer.channels)):
            chosen = tuple(hit for unit in units for hit in layer_hits[unit])
            tasks.append(
                BackprojectTask(
                    model=card.digest,
                    mining=mining,
                    fill=mean_colour(card.order, card.mean),
                    layer=layer.name,
                    units=units,
                    hits=chosen,
                    rules=rules,
                    batch=batch,
                    macs=macs * len(chosen),
                )
            )
    return tuple(tasks)


def layer_rules(plan: Plan, layer: LayerCard) -> tuple[str, ...]:
    """The rules by which the layer's best images are projected back."""
    mining = mining_of(plan)
    if mining is None:
        return ()
    return mining.tops.whole_image_rules if _sees_all(plan.card, layer) else mining.tops.rules


def _sees_all(card: NetworkCard, layer: LayerCard) -> bool:
    top, left, bottom, right = layer.window
    return (bottom - top) * (right - left) >= _NEARLY_WHOLE * card.height * card.width


def _bytes(plan: Plan, mining: MiningRecord) -> int:
    """An upper limit of the bytes of the hit images and of the back-projections."""
    (height, width), tops = plan.card.image, mining.tops
    units = {layer.name: len(top_units(plan, layer.name)) for layer in plan.layers()}
    hits = tops.k * sum(units.values())
    total = min(mining.dataset.images, 4 * hits) * height * width * 3 if tops.pixels == "stored" else 0
    for layer in plan.layers():
        rows, columns = (min(size, whole) for size, whole in zip(layer.window_size, plan.card.image, strict=True))
        total += tops.k * len(layer_rules(plan, layer)) * units[layer.name] * rows * columns * 3
    return int(total * DEFLATED_SHARE)
