"""Where a blob of a Caffe definition lies on another, from the strides and paddings of the layers between them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from pipeline.nets.caffe.layer import dilation, pair
from pipeline.nets.sliding import Pair

Line = tuple[Fraction, Fraction]  # position o of a blob has its centre at first · o + second of the blob below
_IN_PLACE = frozenset(
    {
        *("AbsVal", "BatchNorm", "Bias", "BN", "BNLL", "Clip", "Dropout", "Eltwise", "ELU", "Exp", "Log", "LRN"),
        *("MVN", "Normalize", "Power", "PReLU", "ReLU", "ReLU6", "Scale", "Sigmoid", "Softmax", "Split", "Swish"),
        *("TanH", "Concat", "Slice"),
    }
)


def aligned_offset(layers: Sequence[Any], first: str, second: str) -> Pair | None:
    """(rows, columns) to leave out of the blob `first` so that its positions lie on those of the blob `second`.

    layers : LayerParameters, those that make the two blobs among them.
    Returns None if the two do not meet in a common blob, or if their positions cannot lie on each other.
    Source: the Crop layer of Long et al. 2015 (FCN), also used by HED, which has no settings.
    """
    makers: dict[str, Any] = {}
    for layer in layers:
        for top in layer.top:
            makers.setdefault(top, layer)  # layers that work in place come later, and move nothing
    above = _lines_below(makers, first)
    below = _lines_below(makers, second)
    meeting = next((blob for blob in below if blob in above), None)
    if meeting is None:
        return None
    offsets = []
    for (scale, shift), (other_scale, other_shift) in zip(above[meeting], below[meeting], strict=True):
        offset = (other_shift - shift) / scale
        if scale != other_scale or offset.denominator != 1 or offset < 0:
            return None
        offsets.append(int(offset))
    return offsets[0], offsets[1]


def _lines_below(makers: dict[str, Any], blob: str) -> dict[str, tuple[Line, Line]]:
    """Blob → where positions of `blob` lie in it, (rows, columns), along the first bottoms; the nearest blob first."""
    here: tuple[Line, Line] = ((Fraction(1), Fraction(0)), (Fraction(1), Fraction(0)))
    lines = {blob: here}
    while blob in makers and makers[blob].bottom:
        layer = makers[blob]
        step = _line(layer)
        blob = layer.bottom[0]
        if step is None or blob in lines:
            break
        here = tuple((a * scale, a * shift + b) for (scale, shift), (a, b) in zip(here, step, strict=True))  # type: ignore[assignment]
        lines[blob] = here
    return lines


def _line(layer: Any) -> tuple[Line, Line] | None:
    """Where positions of a layer's output lie in its first bottom; None for a layer without such a place."""
    if layer.type in ("Convolution", "ConvolutionDepthwise", "DepthwiseConvolution", "Deconvolution"):
        settings, spread = layer.convolution_param, dilation(layer.convolution_param)
    elif layer.type == "Pooling" and not layer.pooling_param.global_pooling:
        settings, spread = layer.pooling_param, (1, 1)
    elif layer.type == "Crop" and layer.HasField("crop_param") and layer.crop_param.axis == 2:
        offset = list(layer.crop_param.offset)
        return tuple((Fraction(1), Fraction((offset or [0])[at])) for at in (0, -1))  # type: ignore[return-value]
    elif layer.type in _IN_PLACE:
        return ((Fraction(1), Fraction(0)), (Fraction(1), Fraction(0)))
    else:
        return None
    lines = []
    for axis in (0, 1):
        size, stride, padding = (
            pair(settings, name, default)[axis] for name, default in (("kernel_size", 1), ("stride", 1), ("pad", 0))
        )
        centre = Fraction(spread[axis] * (size - 1), 2) - padding
        down = layer.type != "Deconvolution"
        lines.append((Fraction(stride), centre) if down else (Fraction(1, stride), -centre / stride))
    return lines[0], lines[1]
