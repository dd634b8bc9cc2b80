"""What work takes, in seconds: a static table for each kind of device. Estimates read it; it cuts no tasks.

A step of a micro-batch takes a fixed time, and for each item a time for its multiply-accumulates, one for the bytes of
its maps, and one for the pixels of its image. Small cones are bound by the first, maps of few channels by the last two.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.card import LayerCard, NetworkCard

PASSES_PER_STEP = 3  # a step of ascent is a forward pass and about two more for the gradient; it cuts tasks
READ_SECONDS = 4.5e-3  # of an image: to draw it, or to decode a photo of ImageNet's size
_FORWARD = 0.5  # of the time of a step, because weights have no gradient
# Of the start and the last measurements of a micro-batch, besides a step in float32.
_ENDS, _END_PIXEL = 6e-3, 3.5e-7  # seconds of a micro-batch, and of a pixel of each item
_PICTURE, _PICTURE_PIXEL = 1e-3, 2.3e-7  # to store a picture, and to deflate a pixel of it


@dataclass(frozen=True)
class Pass:
    """A forward pass of one item: multiply-accumulates, bytes of its maps, pixels of its image."""

    macs: float
    bytes: float
    pixels: float

    @classmethod
    def of(cls, layer: LayerCard, canvas: str, card: NetworkCard) -> Pass:
        """That of an item of a layer's unit."""
        height, width = layer.picture(canvas, card.image)
        return cls(max(1, layer.macs[canvas]), layer.bytes[canvas], height * width)

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
    """

    step: float
    mac: float
    byte: float
    pixel: float


# cpu: one thread of a Xeon with AMX, least squares over layers of CaffeNet, GoogLeNet, SqueezeNet, tinynet and
# doodlenet (docs/benchmarks/climbing.md). cuda: assumed.
RATES = {
    "cpu": {"float32": Rates(1.1e-3, 4.4e-11, 8.4e-10, 5.5e-8), "bf16": Rates(5e-3, 1.05e-11, 8e-10, 7e-8)},
    "cuda": {"float32": Rates(1e-3, 6e-13, 2e-12, 3e-10), "bf16": Rates(1e-3, 2e-13, 2e-12, 3e-10)},
}


def climb_seconds(
    kind: str, precision: str, one: Pass, *, items: int, batch: int, iterations: int, kept: int = 1
) -> float:
    """Seconds that climbs of so many items take, in micro-batches that are padded to `batch`; without fresh starts.

    kind : of the device, "cpu" or "cuda".
    precision : "float32" or "bf16".
    kept : pictures that are stored of an item.
    """
    batches = -(-items // batch)
    step, exact = (_step_seconds(RATES[kind][each], one, batch) for each in (precision, "float32"))
    stored = items * kept * (_PICTURE + one.pixels * _PICTURE_PIXEL)
    return batches * (iterations * step + exact + _ENDS + batch * one.pixels * _END_PIXEL) + stored


def pass_seconds(kind: str, one: Pass) -> float:
    """Seconds of a forward pass of one of many images, in float32."""
    rates = RATES[kind]["float32"]
    return (one.macs * rates.mac + one.bytes * rates.byte) * _FORWARD


def _step_seconds(rates: Rates, one: Pass, batch: int) -> float:
    return rates.step + batch * (one.macs * rates.mac + one.bytes * rates.byte + one.pixels * rates.pixel)
