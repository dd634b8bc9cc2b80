"""The tasks of the dataset side: mining a block of images, back-projections of best images, pixels of images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.card import LayerCard, NetworkCard, mean_colour
from pipeline.class_names import disagreement
from pipeline.costs import Pass, pass_seconds, read_seconds
from pipeline.dataset_settings import NETWORK, DatasetRecord, DatasetSettings
from pipeline.errors import MissingBlockError, SettingsError
from pipeline.methods.method import Estimate, Method
from pipeline.methods.tops.settings import MiningRecord, TopsSettings
from pipeline.plan import Plan
from pipeline.records import Record, to_record
from pipeline.request import Config, Request
from pipeline.task import Sizes, Task, blocks
from pipeline.work import Work

MINE_REVISION = 5  # raise it when the numbers that mining computes change
IMAGES_REVISION = 1
BACKPROJECT_REVISION = 1
IMAGES_PER_TASK = 256
# How blocks are folded while others are computed.
STEP = 16  # only a multiple of so many blocks is folded, so that what a dead run left can be found
WAITING_BYTES = 1e9  # bytes of blocks that wait before they are folded; at least those of what they are added to
# What estimates assume, measured on CaffeNet's shape and photos, and on doodlenet and drawings.
MINING_SHARE = 1.3  # time of forward pass and readings, as a share of the forward pass: 1.1 to 1.5
POSITIONS_SHARE = 1.0  # the same of an image whose positions are counted, besides
BLOCK_SECONDS = 0.3  # of a block, to begin and to store it
MINED_SECONDS = 5e-4  # of an image besides
IMAGE_PIXEL = 1.3e-7  # to deflate a pixel of a photo
PROJECTION_SECONDS, PROJECTION_PIXEL = 3e-4, 1.6e-7  # of a back-projection besides its passes; to deflate a pixel of it
PHOTO_SHARE, PROJECTION_SHARE = 0.78, 0.4  # sizes after deflate, as a share of the raw pixels
_NEARLY_WHOLE = 0.9  # share of the image above which a window counts as the whole image

# How skipped images were explained by versions that took a fault of the machine for one of the image.
_FAULTS = ("cannot be read: ", "damaged in its archive: ")

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
    seconds: float

    method, noun = "mine", "images"

    @property
    def count(self) -> int:
        return self.stop - self.start

    @property
    def words(self) -> str:
        return f"images {self.start}-{self.stop - 1}"

    def flaw(self, facts: Mapping[str, object]) -> str | None:
        """The first image that was left out because of a fault of the machine that computed the block."""
        return poisoned(facts["skipped"])  # type: ignore[arg-type]

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
    given_back = True
    needs_device = False

    @property
    def count(self) -> int:
        return len(self.numbers)

    @property
    def seconds(self) -> float:
        return _image_seconds(self.dataset.kind, self.image) * len(self.numbers)

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
    seconds: float

    method, noun = "backproject", "back-projections"
    given_back = True

    @property
    def count(self) -> int:
        return len(self.hits)

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
        source.index.sample(asked.kept.sample)  # once here; the index takes it to the workers
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
        stored, mined = self.part("result"), mine_tasks(work.plan)
        result = stored.read_tops(work.plan, mined, work.shards, work.problems)
        if result is None:
            result = self.part("held").held_result(work.plan, work.atlas)
        fault = None if result is None else poisoned(result.skipped)
        if fault is not None and work.with_images(mined):
            work.problems.append(f"best images: a fault of a machine was recorded ({fault}); they are computed again")
            result = None
        if result is None:
            yield from self._mined(work, mined)
            result = self._result(work, mined)
        work.results[self.name] = result
        if result is None:
            return
        work.images |= result.images()
        work.left_out += [f"{key}: {reason}" for key, reason in result.skipped]
        rules = {layer.name: layer_rules(work.plan, layer) for layer in work.plan.layers()}
        best = stored.best_hits(work.plan, result.layers)
        held = self.part("held").layer_backprojections(work.atlas, rules, best)
        hits = {
            layer: {unit: chosen for unit, chosen in units.items() if unit not in held[layer]}
            for layer, units in best.items()
        }
        yield work.with_images(work.stage("backproject", backproject_tasks(work.plan, hits)))

    def _mined(self, work: Work, mined: Sequence[Task]) -> Iterator[Sequence[Task]]:
        """The stage of the blocks that are not folded yet; meanwhile those that are stored are folded."""
        folding = self.part("folding").Folding(mined, work.shards)
        work.arriving[self.name], ended = folding, False
        try:
            yield work.with_images(work.stage(self.name, mined[folding.folded :]))
            ended = True
        finally:
            folding.close(stop=not ended)
            del work.arriving[self.name]

    def stored(self, work: Work) -> None:
        if self.name in work.arriving:
            work.arriving[self.name].stored()

    def _result(self, work: Work, mined: Sequence[Task]) -> Any:
        """Hits and statistics of all layers, assembled from the blocks; None if a block is missing."""
        if work.resources is None or work.resources.source is None:
            return None
        try:
            return self.part("reduction").put_together(work.plan, mined, work.shards, work.resources)
        except MissingBlockError as missing:
            work.notes.append(f"best images are incomplete: {missing} failed; the same command tries again")
            return None

    def estimate(self, plan: Plan, tasks: Sequence[Task]) -> Iterable[Estimate]:
        mining, blocks_left = mining_of(plan), [task for task in tasks if isinstance(task, MineTask)]
        if mining is None:
            return
        units, found = sum(len(top_units(plan, layer.name)) for layer in plan.layers()), tasks
        if blocks_left:
            yield Estimate(
                layer="all layers",
                name="best images",
                units=units,
                results=sum(task.count for task in blocks_left),
                tasks=len(blocks_left),
                seconds=sum(task.seconds for task in blocks_left),
                bytes=units * _unit_bytes(mining),
                beside=_beside(plan, mining),
            )
            number = expected_images(plan)
            if mining.tops.pixels == "stored":
                yield _image_estimate(plan, number, -(-number // IMAGES_PER_TASK))
            every = {layer.name: _any_hits(plan, layer) for layer in plan.layers()}
            found = backproject_tasks(plan, every)
        projections = [task for task in found if isinstance(task, BackprojectTask)]
        if projections:
            yield Estimate(
                layer="all layers",
                name="back-projections",
                units=sum(len(task.units) for task in projections),
                results=sum(task.count * len(task.rules) for task in projections),
                tasks=len(projections),
                seconds=sum(task.seconds for task in projections),
                bytes=int(sum(_projection_values(plan, task) for task in projections) * PROJECTION_SHARE),
            )


class Images(Method):
    """The pixels of the dataset images that results refer to."""

    name, setting, requested = "images", DatasetRecord, False
    after = ("tops", "memorisation")

    def stages(self, work: Work) -> Iterator[Sequence[Task]]:
        result = work.results.get(TOPS.name)
        if result is not None:
            held = self.part("held").held_pixels(work.atlas)
            hits, others = (sorted({*numbers} - held) for numbers in (result.numbers, work.images))
            yield work.with_images(work.stage(self.name, image_tasks(work.plan, hits, others)))

    def estimate(self, plan: Plan, tasks: Sequence[ImagesTask]) -> Iterable[Estimate]:
        if tasks:
            yield _image_estimate(plan, sum(task.count for task in tasks), len(tasks))


@dataclass(frozen=True)
class TopsRequest:
    """The request for the dataset side. dataset : None without a dataset."""

    kept: TopsSettings
    dataset: DatasetSettings | None


TOPS, IMAGES = Tops(), Images()


def mining_of(plan: Plan) -> MiningRecord | None:
    """The plan's mining record; None without a dataset."""
    return plan.settings.get(TOPS.name, {}).get(MiningRecord.name)


def poisoned(skipped: Iterable[Sequence[object]]) -> str | None:
    """The first image that was left out because of a fault of a machine, as "key: reason"; None if there is none.

    skipped : (…, key, reason) of each image that was left out.
    """
    for *_, key, reason in skipped:
        if str(reason).startswith(_FAULTS):
            return f"{key}: {reason}"
    return None


def without_refused(plan: Plan, before: Plan | None) -> Plan:
    """The plan of an atlas after its dataset was refused: without the dataset, so that another one can be given.

    before : the plan before this request; a dataset that it names stays.
    """
    if before is not None and mining_of(before) is not None:
        return plan
    return replace(
        plan,
        settings={method: named for method, named in plan.settings.items() if method != TOPS.name},
        parts={key: units for key, units in plan.parts.items() if key[0] != TOPS.name},
        order={method: names for method, names in plan.order.items() if method != TOPS.name},
    )


def top_units(plan: Plan, layer: str) -> tuple[int, ...]:
    """The units of a layer whose best images are requested, ascending."""
    return plan.layer_units(layer, TOPS.name)


def mine_tasks(plan: Plan) -> tuple[MineTask, ...]:
    """One pass over the dataset: a task for each block of images, with all layers, whatever units are requested."""
    mining, card = mining_of(plan), plan.card
    if mining is None:
        return ()
    layers = tuple(layer.name for layer in card.layers if layer.has_units)
    images, tops = mining.dataset.images, mining.tops
    counted = tops.position_images(images) / images if tops.positions else 0.0
    share = MINING_SHARE + POSITIONS_SHARE * counted
    reading = MINED_SECONDS + read_seconds(mining.dataset.kind, again=False)
    seconds = share * pass_seconds(mining.device.kind, Pass.whole(card)) + reading
    starts = range(0, images, mining.dataset.block)
    stops = [min(start + mining.dataset.block, images) for start in starts]
    return tuple(
        MineTask(card.digest, mining, layers, start, stop, tops.batch, BLOCK_SECONDS + seconds * (stop - start))
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
        rows, columns = _projection_size(card, layer)
        each = PROJECTION_SECONDS + PROJECTION_PIXEL * rows * columns
        seconds = (1 + len(rules)) * pass_seconds(device.kind, Pass.of(layer, canvas, card)) + each * len(rules)
        reading = read_seconds(mining.dataset.kind, again=True)
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
                    seconds=seconds * len(chosen) + reading * _distinct(len(chosen), mining.dataset.images),
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


def expected_images(plan: Plan) -> int:
    """About how many images of the dataset are hits, if hits fell on images at random; they fall on fewer."""
    mining = mining_of(plan)
    tops, images = mining.tops, mining.dataset.images
    kinds = 1 + tops.smallest + tops.quantiles
    hits = tops.k * kinds * sum(len(top_units(plan, layer.name)) for layer in plan.layers())
    return math.ceil(_distinct(hits, images))


def _distinct(hits: int, images: int) -> float:
    """How many of the images have hits, if hits fall on them at random."""
    return images * -math.expm1(-hits / images)


def _any_hits(plan: Plan, layer: LayerCard) -> dict[int, list[Hit]]:
    """As many hits as the requested units of a layer will have, of no image."""
    k = min(mining_of(plan).tops.k, mining_of(plan).dataset.images)
    return {unit: [(unit, 0, 0, 0, 0.0)] * k for unit in top_units(plan, layer.name)}


def _image_seconds(dataset: str, image: tuple[int, int]) -> float:
    """Estimated time to read an image once more and to deflate its pixels. image : height and width."""
    return read_seconds(dataset, again=True) + IMAGE_PIXEL * image[0] * image[1]


def _image_estimate(plan: Plan, images: int, tasks: int) -> Estimate:
    height, width = plan.card.image
    return Estimate(
        layer="all layers",
        name="dataset images",
        units=0,
        results=images,
        tasks=tasks,
        seconds=images * _image_seconds(mining_of(plan).dataset.kind, plan.card.image),
        bytes=int(images * height * width * 3 * PHOTO_SHARE),
    )


def _projection_values(plan: Plan, task: BackprojectTask) -> int:
    rows, columns = _projection_size(plan.card, plan.card.layer(task.layer))
    return task.count * len(task.rules) * rows * columns * 3


def _projection_size(card: NetworkCard, layer: LayerCard) -> tuple[int, int]:
    rows, columns = (min(size, whole) for size, whole in zip(layer.window_size, card.image, strict=True))
    return rows, columns


def _unit_bytes(mining: MiningRecord) -> int:
    """Bytes of a unit's hits and statistics: its means over classes, and what a unit of CaffeNet has besides."""
    return 4 * len(mining.dataset.classes) + 60 * mining.tops.k + 800


def _beside(plan: Plan, mining: MiningRecord) -> int:
    """The blocks of the pass that wait, what they are folded into, twice while it is written, and all layers' results.

    Images in folders come class by class, others perhaps in random order, and then many classes occur in a block.
    A block has, for each unit, about 4 bytes for each class that occurs in it and for each image of the sample, and 240
    bytes besides.
    """
    dataset = mining.dataset
    units = sum(layer.channels for layer in plan.card.layers if layer.has_units)
    count, classes = -(-dataset.images // dataset.block), len(dataset.classes)
    size = min(dataset.block, dataset.images)
    present = classes * -math.expm1(-size / classes) if classes else 0
    if dataset.kind in ("folder", "imagenet"):
        present = min(present, 1 + size * classes / dataset.images)
    sample = min(mining.tops.sample, dataset.images)
    block = units * (4 * present + 4 * sample / count + 240)
    folded = units * (8 * classes + 4 * sample + 240)
    blocks = min(count * block, max(WAITING_BYTES, STEP * block, folded) + 2 * folded)
    return int(blocks + units * _unit_bytes(mining))
