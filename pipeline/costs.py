"""What work takes, in seconds: a static table for each kind of device. Estimates read it; it cuts no tasks.

A step of a micro-batch takes a fixed time, and for each item a time for its multiply-accumulates, one for the bytes of
its maps, and one for the pixels of its image. Small cones are bound by the first, maps of few channels by the last two.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.card import LayerCard, NetworkCard
from pipeline.processor import instructions

PASSES_PER_STEP = 3  # a step of ascent is a forward pass and about two more for the gradient; it cuts tasks
_DECODED = 4.5e-3  # seconds of a photo of ImageNet's size
_DRAWN, _DRAWN_AGAIN = 3.2e-3, 5e-4  # of a drawing, which a process keeps; others of a machine draw it once more
_FORWARD = 0.5  # of the time of a step, because weights have no gradient
# Of the start and the last measurements of a micro-batch, besides a step in float32.
_ENDS, _END_PIXEL = 6e-3, 3.5e-7  # seconds of a micro-batch, and of a pixel of each item
_PICTURE, _PICTURE_PIXEL = 1e-3, 2.3e-7  # to store a picture, and to deflate a pixel of it

# The share of a map's bytes that counts, by the kind of its operator; 1 for all others. An operator that passes over
# each value once costs less than one that also gathers or reduces; one that gives the same values in another shape
# costs nothing. Without this, a network with batch normalization seems slower than it is, because it has more maps.
_COUNTED = {"relu": 0.5, "relu6": 0.5, "affine": 0.5, "sum": 0.5, "identity": 0.0, "reshape": 0.0}


@dataclass(frozen=True)
class Pass:
    """A forward pass of one item: multiply-accumulates, bytes of the maps that count, pixels of its image."""

    macs: float
    bytes: float
    pixels: float

    @classmethod
    def of(cls, layer: LayerCard, canvas: str, card: NetworkCard) -> Pass:
        """That of an item of a layer's unit."""
        height, width = layer.picture(canvas, card.image)
        return cls(max(1, layer.macs[canvas]), layer.bytes[canvas] * _counted(layer, card), height * width)

    @classmethod
    def whole(cls, card: NetworkCard) -> Pass:
        """That of an image, with all layers."""
        every = [cls.of(layer, "image", card) for layer in card.layers]
        return cls(max(one.macs for one in every), max(one.bytes for one in every), card.height * card.width)


@dataclass(frozen=True)
class Rates:
    """Seconds of a step of climbing, with its gradient, on one place of a device.

    step : of a micro-batch, however large it is.
    mac, byte, pixel : of one of a forward pass; the regularizers are in `pixel`.
    any_window, window_side : of a generator's multiply-accumulates, the share that any window needs, and what grows
        with the window's side.
    """

    step: float
    mac: float
    byte: float
    pixel: float
    any_window: float = 0.15
    window_side: float = 0.85


# Kinds of device. Those of a CPU are of one thread, fitted by least squares over layers of networks of all kinds
# (docs/benchmarks/climbing.md): "amx" and "avx512" on an Intel Xeon, "avx2" on an AMD EPYC. "cuda" is assumed.
RATES = {
    "amx": {"float32": Rates(1.1e-3, 4.4e-11, 1.04e-9, 5.5e-8), "bf16": Rates(5e-3, 1.05e-11, 9.9e-10, 7e-8)},
    "avx512": {"float32": Rates(1.1e-3, 4.4e-11, 1.04e-9, 5.5e-8), "bf16": Rates(1.5e-3, 6.2e-11, 1.46e-9, 7.7e-8)},
    "avx2": {"float32": Rates(1.9e-3, 5.1e-11, 9.5e-10, 4e-8, 0.45, 0.8)},
    "cuda": {"float32": Rates(1e-3, 6e-13, 2e-12, 3e-10), "bf16": Rates(1e-3, 2e-13, 2e-12, 3e-10)},
}
_STATED = {"amx_bf16": "amx", "avx512f": "avx512"}  # instruction that a CPU states → its kind; else it is "avx2"


def rates(kind: str, precision: str) -> Rates:
    """The row of the table for a device, by what this machine's CPU states.

    kind : of the device, "cpu" or "cuda".
    precision : "float32" or "bf16". A CPU without bf16 plans for machines of a cluster that have it, with AMX.
    """
    if kind == "cpu":
        kind = next((each for flag, each in _STATED.items() if flag in instructions()), "avx2")
    return RATES[kind if precision in RATES[kind] else "amx"][precision]


def climb_seconds(
    kind: str, precision: str, one: Pass, *, items: int, batch: int, iterations: int, kept: int = 1
) -> float:
    """Seconds that climbs of so many items take, in micro-batches that are padded to `batch`; without fresh starts.

    kind : of the device, "cpu" or "cuda".
    precision : "float32" or "bf16".
    kept : pictures that are stored of an item.
    """
    batches = -(-items // batch)
    step, exact = (_step_seconds(rates(kind, each), one, batch) for each in (precision, "float32"))
    stored = items * kept * (_PICTURE + one.pixels * _PICTURE_PIXEL)
    return batches * (iterations * step + exact + _ENDS + batch * one.pixels * _END_PIXEL) + stored


def pass_seconds(kind: str, one: Pass) -> float:
    """Seconds of a forward pass of one of many images, in float32."""
    row = rates(kind, "float32")
    return (one.macs * row.mac + one.bytes * row.byte) * _FORWARD


def read_seconds(dataset: str, *, again: bool) -> float:
    """Seconds to read an image. dataset : its kind; again : whether an earlier pass has read the images."""
    if dataset == "doodles":
        return _DRAWN_AGAIN if again else _DRAWN
    return _DECODED


def _counted(layer: LayerCard, card: NetworkCard) -> float:
    """The share of the bytes of a layer's pass that counts, from the sizes of whole maps below the layer."""
    below = card.below.get(layer.same_as or layer.name, frozenset())
    every = counted = float(card.height * card.width * len(card.gain))
    for one in card.layers:
        if one.name in below:
            size = one.channels * one.height * one.width
            every += size
            counted += size * _COUNTED.get(one.kind, 1.0)
    return counted / every


def _step_seconds(row: Rates, one: Pass, batch: int) -> float:
    return row.step + batch * (one.macs * row.mac + one.bytes * row.byte + one.pixels * row.pixel)
