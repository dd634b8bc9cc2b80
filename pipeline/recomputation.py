"""Recompute a sample of what an atlas states, from the pixels that it stores, its network and its dataset's images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from atlas_viewer.atlas import Atlas
from atlas_viewer.evidence.climb import Climb
from atlas_viewer.evidence.tops import Tops
from atlas_viewer.layer import Layer
from pipeline.card import mean_colour
from pipeline.data.batches import batches
from pipeline.data.source import ImageSource
from pipeline.methods.tops.backproject import back_project
from pipeline.nets.cone import layer_cone
from pipeline.nets.network import Network
from pipeline.nets.preprocessing import ORDERS

ACTIVATION, STEP, LEVEL = "of the layer's largest activation", "steps of its 8 bits", "pixel levels"
ALLOWED = {ACTIVATION: 1e-3, STEP: 1.0, LEVEL: 3.0}
REASONS = {
    ACTIVATION: "sums of float32 depend on their order, which other batches, processors and versions change; measured "
    "deviations are near 1e-6",
    STEP: "rounding to 8 bits is half a step, and the order of the sums of float32 is allowed as much",
    LEVEL: "the same decoder gives the same pixels, and another version of it may differ by a level or two",
}
_FLOOR = 1e-6  # the least activation that deviations are a share of


@dataclass(frozen=True)
class Compared:
    """A number, or a picture's numbers, computed again.

    place : its path in the file, with its index.
    about : what it is, in words.
    deviation : the largest difference from what is stored, in the measure of its kind.
    """

    place: str
    about: str
    deviation: float


@dataclass(frozen=True)
class Recomputed:
    """What was computed again of one kind.

    kind : in words.
    measure : of the deviations, one of those in ALLOWED.
    stored : how many the atlas has.
    """

    kind: str
    measure: str
    stored: int
    compared: tuple[Compared, ...]

    @property
    def allowed(self) -> float:
        return ALLOWED[self.measure]

    @property
    def largest(self) -> float:
        """The largest deviation; 0 for none."""
        return max((one.deviation for one in self.compared), default=0.0)

    @property
    def faults(self) -> tuple[Compared, ...]:
        """Those that deviate by more than is allowed."""
        return tuple(one for one in self.compared if not one.deviation <= self.allowed)


def recompute(
    atlas: Atlas, network: Network, source: ImageSource | None, count: int, seed: int
) -> Iterator[Recomputed]:
    """Yield, for each kind, `count` of what the atlas has of it, drawn from the seed and computed again on the CPU.

    Kinds: activations of pictures by ascent, and of those through priors; activations of hits; back-projections; and
    the pixels of the dataset's images. A kind that the atlas lacks, or that needs images that are nowhere, is left out.

    network : the atlas's own, on the CPU, float32.
    source : the images of the atlas's dataset; None if they are not at hand.
    """
    layers = [layer for layer in atlas if layer.name in network.layers]
    climbs = {
        "pictures by ascent": [_Pictures(layer, climb, "") for layer in layers for climb in layer.ascent.values()],
        "pictures through priors": [
            _Pictures(layer, climb, iterate) for layer in layers for climb in layer.dgn.values()
            for iterate in ("", "best_")
        ],
    }  # fmt: skip
    for kind, parts in climbs.items():
        yield from _drawn(
            f"activations of {kind}", ACTIVATION, parts, count, seed, lambda part, at: part.compared(network, at)
        )
    dataset = atlas.dataset
    if dataset is None or not (dataset.has_pixels or source is not None):
        return
    images = _Images(atlas, network, source)
    hits = [_Hits(layer, layer.tops(kind)) for layer in layers for kind in layer.kinds]
    yield from _drawn(
        "activations of hits", ACTIVATION, hits, count, seed, lambda part, at: part.compared(network, images, at)
    )
    projections = [_Projections(layer, layer.tops("largest"), rule) for layer in layers if "largest" in layer.kinds
                   for rule in layer.tops("largest").rules]  # fmt: skip
    yield from _drawn(
        "back-projections", STEP, projections, count, seed, lambda part, at: part.compared(network, images, at)
    )
    if source is not None and dataset.has_pixels:
        yield from _drawn("images of the dataset", LEVEL, [images], count, seed, lambda part, at: part.compared(at))


@dataclass(frozen=True)
class _Pictures:
    """The pictures of one setting of a layer. iterate : "", or "best_" for a run's best iterate."""

    layer: Layer
    climb: Climb
    iterate: str

    def places(self) -> np.ndarray:
        """(picture, 2) row and sample of every picture."""
        return np.argwhere(self.climb.there)

    def compared(self, network: Network, at: np.ndarray) -> Iterator[Compared]:
        group = self.climb.group
        cone = layer_cone(network, self.layer.name, str(group.attrs.get("canvas", "window")))
        pixels = np.stack([group[f"{self.iterate}pixels"][row, sample] for row, sample in at.tolist()])
        units = self.layer.units[at[:, 0]]
        with torch.no_grad():
            centred = torch.from_numpy(network.preprocessing.centred(pixels, cone.mean))
            again = cone.activations(centred, torch.from_numpy(units.astype(np.int64))).numpy()
        path = f"{group.name}/{self.iterate}activation"
        yield from _activations(self.layer, path, group[f"{self.iterate}activation"][...], at, units, again)


@dataclass(frozen=True)
class _Hits:
    """The hits of one kind of a layer."""

    layer: Layer
    tops: Tops

    def places(self) -> np.ndarray:
        """(hit, 2) row and rank of every hit."""
        return np.argwhere(self.tops.there)

    def compared(self, network: Network, images: _Images, at: np.ndarray) -> Iterator[Compared]:
        hits, name, units = tuple(at.T), self.layer.name, self.layer.units[at[:, 0]]
        pixels = np.stack([images.pixels(row) for row in self.tops.image[hits].tolist()])
        with torch.no_grad():
            values = network.run(torch.from_numpy(network.preprocessing.centred(pixels)), [name])[name].numpy()
        rows, columns = self.tops.position[hits].T
        again = values[np.arange(len(at)), units]
        again = again if again.ndim == 1 else again[np.arange(len(at)), rows, columns]
        path = f"{self.tops.group.name}/activation"
        yield from _activations(self.layer, path, self.tops.activation, at, units, again)


@dataclass(frozen=True)
class _Projections:
    """The back-projections of a layer's best images by one rule."""

    layer: Layer
    tops: Tops
    rule: str

    def places(self) -> np.ndarray:
        """(hit, 2) row and rank of every back-projection."""
        return np.argwhere(np.isfinite(self.tops.scale(self.rule)) & self.tops.there)

    def compared(self, network: Network, images: _Images, at: np.ndarray) -> Iterator[Compared]:
        hits, units = tuple(at.T), self.layer.units[at[:, 0]]
        signals = back_project(
            network,
            self.layer.name,
            [images.pixels(row) for row in self.tops.image[hits].tolist()],
            units,
            self.tops.position[hits],
            rules=(self.rule,),
            lrn=self.tops.lrn or "derivative",
            batch=len(at),
            device=torch.device("cpu"),
        ).signals[0]
        order = list(ORDERS[network.preprocessing.order])
        signals = np.moveaxis(signals[:, order if len(order) == 3 else [0, 0, 0]], 1, -1)  # (hit, y, x, rgb)
        for (row, rank), unit, signal in zip(at.tolist(), units.tolist(), signals, strict=True):
            scale = float(self.tops.scale(self.rule)[row, rank])
            stored = self.tops.at(row).back_projection(self.rule)[rank]
            deviation = float(np.abs(signal - stored).max()) / scale if scale > 0 else float(np.abs(signal).max())
            place = f"{self.tops.group.name}/{self.rule}[{row}, {rank}]"
            yield Compared(
                place, f"the {self.rule} back-projection of hit {rank} of {self.layer.name}:{unit}", deviation
            )


@dataclass(frozen=True)
class _Images:
    """The images that hits refer to."""

    atlas: Atlas
    network: Network
    source: ImageSource | None

    def places(self) -> np.ndarray:
        """(image, 1) row of every image."""
        return np.arange(len(self.atlas.dataset.number))[:, None]

    def pixels(self, row: int) -> np.ndarray:
        """The network's input for an image, from the atlas or, where that has only pointers, from the dataset."""
        dataset = self.atlas.dataset
        return dataset.pixels(row) if dataset.has_pixels else self._read(int(dataset.number[row]))

    def compared(self, at: np.ndarray) -> Iterator[Compared]:
        dataset = self.atlas.dataset
        for row in at[:, 0].tolist():
            read = self._read(int(dataset.number[row])).astype(int)
            deviation = float(np.abs(read - dataset.pixels(row)).max())
            yield Compared(f"/dataset/images/pixels[{row}]", f"the image {dataset.key[row]}", deviation)

    def _read(self, number: int) -> np.ndarray:
        size, dataset = self.network.preprocessing, self.atlas.dataset
        (batch,) = batches(
            self.source, number, number + 1, height=size.height, width=size.width, preprocess=dataset.preprocess,
            fill=mean_colour(size.order, size.mean), reduced=dataset.reduced_decoding, batch=1, threads=0, skipped=[],
            interpolation=size.interpolation,
        )  # fmt: skip
        return batch.pixels[0]


def _drawn(
    kind: str,
    measure: str,
    parts: Sequence[_Pictures | _Hits | _Projections | _Images],
    count: int,
    seed: int,
    compare: Callable[..., Iterator[Compared]],
) -> Iterator[Recomputed]:
    """Draw from all places of the parts, each as likely as any other, and compare them; nothing without places."""
    places = [part.places() for part in parts]
    ends = np.cumsum([len(each) for each in places])
    total = int(ends[-1]) if len(ends) else 0
    if not total:
        return
    chosen = np.sort(np.random.default_rng(seed).choice(total, min(count, total), replace=False))
    compared: list[Compared] = []
    for part, where, end in zip(parts, places, ends.tolist(), strict=True):
        within = chosen[(chosen >= end - len(where)) & (chosen < end)] - (end - len(where))
        if len(within):
            compared += compare(part, where[within])
    yield Recomputed(kind, measure, total, tuple(compared))


def _activations(
    layer: Layer, path: str, stored: np.ndarray, at: np.ndarray, units: np.ndarray, again: np.ndarray
) -> Iterator[Compared]:
    """Compare activations with the stored ones (unit, …), as a share of the largest of these."""
    scale = max(float(np.nanmax(np.abs(stored))), _FLOOR)
    for place, unit, now in zip(at.tolist(), units.tolist(), again.tolist(), strict=True):
        before = float(stored[tuple(place)])
        about = f"{layer.name}:{unit} has {now:.6g} there, and {before:.6g} is stored"
        yield Compared(f"{path}{place}", about, abs(now - before) / scale)
