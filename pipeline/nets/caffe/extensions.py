"""The layer types of Caffe's less common layers and of its forks, translated into operators.

Sources: Caffe's layer catalogue; the forks of SSD (Normalize, Permute), DeepLab and PSPNet (Interp, BN), SegNet and
DeconvNet (BN, Upsample, Unpooling), SENet (Axpy), ShuffleNet (ShuffleChannel), MobileNet and YOLO (depthwise
convolution, ReLU6, HSwish, Mish).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.nets.caffe.layer import (
    Applied,
    CaffeLayer,
    Chain,
    Rearranged,
    choice,
    decimal,
    dilation,
    kernel,
    pair,
    steps,
    weight_and_bias,
)
from pipeline.nets.operators import (
    Affine,
    ChannelOrder,
    Operator,
    Pointwise,
    Product,
    Reduction,
    ScaledSum,
    Slice,
    Standardized,
    Tiled,
    UnitNorm,
)
from pipeline.nets.sliding import Convolution, Crop, Enlarged, Interpolation, Pair


def _depthwise(layer: CaffeLayer) -> Operator:
    """One filter a channel; the groups need not be stated."""
    settings = layer.message.convolution_param
    rows, columns = kernel(layer, settings)
    groups = settings.group if settings.HasField("group") and settings.group > 1 else layer.channels
    outputs = settings.num_output if settings.num_output else layer.channels
    if layer.channels % groups or outputs % groups:
        raise layer.refuse(f"has {groups} groups, expected a divisor of {layer.channels} inputs and {outputs} outputs")
    shape = (outputs, layer.channels // groups, rows, columns)
    weight, bias = weight_and_bias(layer, shape, settings, bias_shape=(outputs,))
    return Convolution(weight, bias, *steps(settings), dilation(settings), groups)


# Layers that change the size of a map --------------------------------------------------------------------


def _crop(layer: CaffeLayer) -> Chain:
    """The first blob, cut to the size of the second from an axis on."""
    settings = layer.message.crop_param
    if len(layer.shapes) != 2:
        raise layer.uncomputable(f"reads {len(layer.shapes)} blobs, expected 2: what to crop, and one of that size")
    layer.expect_map()
    first, stated = layer.axis(settings.axis), list(settings.offset)
    if not layer.message.HasField("crop_param") and layer.aligned is not None:
        stated = list(layer.aligned)
    if not 0 <= first <= 3 or len(stated) not in (0, 1, 4 - first):
        raise layer.refuse(f"crops from axis {settings.axis} on with {len(stated)} offsets, expected one an axis")
    offsets = {axis: stated[min(axis - first, len(stated) - 1)] if stated else 0 for axis in range(max(first, 1), 4)}
    old, new = layer.shapes
    if len(new) != 3 or (first == 0 and stated and stated[0]):
        raise layer.uncomputable(f"crops to shape {new}, expected (channels, rows, columns) and the whole batch")
    for axis, offset in offsets.items():
        if offset < 0 or offset + new[axis - 1] > old[axis - 1]:
            raise layer.refuse(
                f"crops {new[axis - 1]} of {old[axis - 1]} along axis {axis} at offset {offset}, which lies outside"
            )
    start = tuple(offsets.get(axis, 0) for axis in (2, 3))
    size = tuple(new[axis - 1] if axis in offsets else old[axis - 1] for axis in (2, 3))
    cut = Applied(Crop(start, size), (0,))
    channels = offsets.get(1)
    return [cut] if channels is None else [cut, Slice(channels, channels + new[0])]


def _interpolation(layer: CaffeLayer) -> Chain:
    """Bilinear, with the corners of the two maps on each other."""
    settings = layer.message.interp_param
    layer.expect_map()
    if settings.interp_type != "bilinear":
        raise layer.uncomputable(f"interpolates by {settings.interp_type!r}, expected 'bilinear'")
    before, after = settings.pad_beg, settings.pad_end
    inner = tuple(size + before + after for size in layer.shapes[0][1:])
    if before > 0 or after > 0 or min(inner) < 1:
        raise layer.refuse(f"pads by {before} and {after}, expected 0 or the negative number of rows to leave out")
    return [Applied(Interpolation(_interpolated(layer, inner), -before, -after), (0,))]


def _interpolated(layer: CaffeLayer, inner: Pair) -> Pair:
    """The size of the result, by the first rule whose settings are stated."""
    settings = layer.message.interp_param
    shrink, zoom = settings.HasField("shrink_factor"), settings.HasField("zoom_factor")
    if min(settings.shrink_factor, settings.zoom_factor) < 1:
        raise layer.refuse("has a factor below 1, expected a whole number; set zoom_factor or shrink_factor")
    if shrink == zoom and settings.HasField("height") and settings.HasField("width"):
        size = (settings.height, settings.width)
    elif shrink or zoom:
        size = tuple(((side - 1) // settings.shrink_factor) * settings.zoom_factor + 1 for side in inner)
    elif len(layer.shapes) == 2 and len(layer.shapes[1]) == 3:
        size = layer.shapes[1][1:]
    else:
        raise layer.refuse("states no size; set height and width, zoom_factor or shrink_factor")
    if min(size) < 1:
        raise layer.refuse(f"makes a map of {size}, expected 1 or more")
    return size


def _upsample(layer: CaffeLayer) -> Chain:
    """SegNet's inverse of a max pooling with its mask; without a mask, every value repeated (YOLO)."""
    settings = layer.message.upsample_param
    layer.expect_map()
    if len(layer.shapes) == 1:
        if settings.scale_h or settings.scale_w or settings.HasField("upsample_h") or settings.HasField("upsample_w"):
            raise layer.uncomputable("enlarges without a mask to a size of each axis, expected scale alone")
        scale = settings.scale if settings.HasField("scale") else 1
        return [Enlarged((scale, scale))]
    scale = settings.scale if settings.HasField("scale") else 2
    each = (settings.scale_h, settings.scale_w) if settings.HasField("scale_h") else (scale, scale)
    size = tuple(
        side * factor - int(less)
        for side, factor, less in zip(layer.shapes[0][1:], each, (settings.pad_out_h, settings.pad_out_w), strict=True)
    )
    if settings.HasField("upsample_h") and settings.HasField("upsample_w"):
        size = (settings.upsample_h, settings.upsample_w)
    return _switched(layer, size)


def _unpooling(layer: CaffeLayer) -> Chain:
    """DeconvNet's inverse of a max pooling with its mask."""
    settings = layer.message.unpooling_param
    layer.expect_map()
    if choice(settings, "unpool") != "MAX" or len(layer.shapes) != 2:
        raise layer.uncomputable("unpools without a mask, expected unpool: MAX and the mask of a pooling")
    size = pair(settings, "unpool_size", 0)
    if size == (0, 0):
        size = tuple(
            max((side - 1) * stride + length, side * stride + 1)
            for side, stride, length in zip(
                layer.shapes[0][1:], pair(settings, "stride", 1), pair(settings, "kernel_size", 1), strict=True
            )
        )
    return _switched(layer, size)


def _switched(layer: CaffeLayer, size: Pair) -> Chain:
    """Each value at the position that the mask of a pooling names for it, zeros elsewhere."""
    mask = layer.switched[1]
    if mask is None:
        raise layer.uncomputable("reads a second blob that is not the mask of a pooling")
    if layer.shapes[0] != layer.shapes[1]:
        raise layer.refuse(f"reads shapes {layer.shapes[0]} and {layer.shapes[1]}, expected a mask of equal shape")
    if tuple(size) != mask.size:
        raise layer.uncomputable(f"makes a map of {tuple(size)}, but its mask points into one of {mask.size}")
    return [Applied(Enlarged(mask.stride, mask.padding, mask.size), (0,)), Applied(Product(), (1,))]


def _tile(layer: CaffeLayer) -> Operator:
    settings = layer.message.tile_param
    axis, tiles = layer.axis(settings.axis), settings.tiles
    if tiles < 1:
        raise layer.refuse(f"has {tiles} tiles, expected 1 or more")
    if axis == 1:
        return ChannelOrder(list(range(layer.channels)) * tiles)
    if axis not in (2, 3) or len(layer.shapes[0]) != 3:
        raise layer.uncomputable(f"repeats along axis {settings.axis}, expected channels, rows or columns")
    return Tiled(tiles if axis == 2 else 1, tiles if axis == 3 else 1)


# Layers that normalise -----------------------------------------------------------------------------------


def _normalize(layer: CaffeLayer) -> Operator:
    settings = layer.message.norm_param
    (scale,) = layer.blobs((1,) if settings.channel_shared else (layer.channels,))
    return UnitNorm(scale.reshape(-1).expand(layer.channels).clone(), decimal(settings.eps), settings.across_spatial)


def _standardized(layer: CaffeLayer) -> Operator:
    settings = layer.message.mvn_param
    if len(layer.shapes[0]) not in (1, 3):
        raise layer.uncomputable(f"reads shape {layer.shapes[0]}, expected (channels, rows, columns)")
    return Standardized(settings.across_channels, settings.normalize_variance, decimal(settings.eps))


def _bn(layer: CaffeLayer) -> Operator:
    """SegNet's form has a scale and a shift for use after training; PSPNet's also keeps the statistics."""
    settings, each = layer.message.bn_param, (layer.channels,)
    layer.expect_channels(settings.axis)
    if settings.HasField("bn_mode") or layer.weights.count(layer.message.name) == 2:
        if choice(settings, "bn_mode") != "INFERENCE":
            raise layer.uncomputable("takes its statistics from the batch, expected bn_mode: INFERENCE")
        return Affine(*layer.blobs(each, each))
    older = any(settings.HasField(name) for name in ("moving_average", "var_eps", "decay", "shift_filler"))
    if older and not settings.moving_average:
        raise layer.uncomputable("takes its statistics from the batch, expected moving_average: true")
    scale, shift, mean, variance = (blob.double() for blob in layer.blobs(each, each, each, each))
    scale = scale * (variance + decimal(settings.var_eps if older else settings.eps)).rsqrt()
    return Affine(scale.float(), (shift - mean * scale).float())


# Other layers --------------------------------------------------------------------------------------------


def _permute(layer: CaffeLayer) -> Rearranged:
    order, count = list(layer.message.permute_param.order), len(layer.shapes[0]) + 1
    order += [axis for axis in range(count) if axis not in order]
    if sorted(order) != list(range(count)):
        raise layer.refuse(f"orders {count} axes as {order}, expected each of them once")
    if order[0] != 0:
        raise layer.uncomputable(f"orders the axes as {order}, expected axis 0, the batch, first")
    return Rearranged(axes=tuple(axis - 1 for axis in order[1:]))


def _shuffle(layer: CaffeLayer) -> Operator:
    """Channel i of group g becomes channel g of group i."""
    groups = layer.message.shuffle_channel_param.group
    if groups < 1 or layer.channels % groups:
        raise layer.refuse(f"has {groups} groups, expected a divisor of {layer.channels} channels")
    each = layer.channels // groups
    return ChannelOrder([group * each + channel for channel in range(each) for group in range(groups)])


def _axpy(layer: CaffeLayer) -> Chain:
    """scale · x + y, where the scale has one number a channel."""
    if len(layer.shapes) != 3 or layer.shapes[1] != layer.shapes[2]:
        raise layer.uncomputable(
            f"reads shapes {', '.join(map(str, layer.shapes))}, expected a scale and two equal blobs"
        )
    given, wanted = layer.shapes[:2]
    if given[0] != wanted[0] or math.prod(given[1:]) != 1:
        raise layer.refuse(f"scales by shape {given}, expected one factor for each of {wanted[0]} channels")
    return [Applied(ScaledSum(), (1, 2, 0))]


def _reduction(layer: CaffeLayer) -> Operator:
    settings = layer.message.reduction_param
    axis = layer.axis(settings.axis)
    if axis not in (1, 2) or len(layer.shapes[0]) not in (1, 3) or axis > len(layer.shapes[0]):
        raise layer.uncomputable(f"reduces the axes from {settings.axis} on, expected 1 (all) or 2 (positions)")
    return Reduction(choice(settings, "operation"), axis, decimal(settings.coeff))


def _relu6(layer: CaffeLayer) -> Operator:
    if layer.message.relu6_param.negative_slope:
        raise layer.uncomputable("has a negative_slope, expected 0")
    return Pointwise(nn.ReLU6(), "relu6")


def _swish(layer: CaffeLayer) -> Operator:
    beta = decimal(layer.message.swish_param.beta)
    return Pointwise(nn.SiLU() if beta == 1 else _Swish(beta), "swish")


class _Swish(nn.Module):
    """x · sigmoid(β · x)."""

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def extra_repr(self) -> str:
        return f"beta={self.beta}"

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.beta * x)


def _clip(layer: CaffeLayer) -> Operator:
    settings = layer.message.clip_param
    if not (settings.HasField("min") and settings.HasField("max")):
        raise layer.refuse("states no limits; set min and max")
    return Pointwise(nn.Hardtanh(decimal(settings.min), decimal(settings.max)), "clip")


EXTENSIONS: dict[str, Callable[[CaffeLayer], Any]] = {
    "Axpy": _axpy,
    "BN": _bn,
    "Clip": _clip,
    "ConvolutionDepthwise": _depthwise,
    "Crop": _crop,
    "DepthwiseConvolution": _depthwise,
    "HardSwish": lambda layer: Pointwise(nn.Hardswish(), "hardswish"),
    "HSwish": lambda layer: Pointwise(nn.Hardswish(), "hardswish"),
    "Interp": _interpolation,
    "Mish": lambda layer: Pointwise(nn.Mish(), "mish"),
    "MVN": _standardized,
    "Normalize": _normalize,
    "Permute": _permute,
    "Reduction": _reduction,
    "ReLU6": _relu6,
    "ShuffleChannel": _shuffle,
    "Swish": _swish,
    "Tile": _tile,
    "Unpooling": _unpooling,
    "Upsample": _upsample,
}
SEVERAL_INPUTS = frozenset({"Axpy", "Crop", "Interp", "Unpooling", "Upsample"})
