"""The layers of Caffe's forks compute their definitions, which are derived again here with plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from caffe_files import opencv_values, write_caffemodel
from single_layer import IMAGE, SHAPE, close, network_of, normal, one, run
from test_layers import convolved

from pipeline.errors import DefinitionError

DEPTHWISE = (normal(4, 1, 3, 3), normal(4))
WIDER = (normal(8, 1, 3, 3), normal(8))
FILTERS = (normal(6, 4, 3, 3), normal(6))
SCALES = (abs(normal(4)) * 10,)
SHIFTS = (normal(4), normal(4))
FOUR = (normal(4), normal(4), normal(4), abs(normal(4)))
FIVE = (normal(4), abs(normal(4)), np.float32([7]), normal(4), normal(4))


def bilinear(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Every output by its four neighbours; the corner pixels of both maps lie on each other."""
    out = np.empty((len(x), height, width))
    for row, column in np.ndindex(height, width):
        down = row * (x.shape[1] - 1) / max(1, height - 1)
        across = column * (x.shape[2] - 1) / max(1, width - 1)
        y, z = int(down + 1e-9), int(across + 1e-9)
        below, right = min(y + 1, x.shape[1] - 1), min(z + 1, x.shape[2] - 1)
        upper = x[:, y, z] + (across - z) * (x[:, y, right] - x[:, y, z])
        lower = x[:, below, z] + (across - z) * (x[:, below, right] - x[:, below, z])
        out[:, row, column] = upper + (down - y) * (lower - upper)
    return out


def unit(x: np.ndarray, eps: float) -> np.ndarray:
    out = np.empty_like(x)
    for row, column in np.ndindex(*x.shape[1:]):
        out[:, row, column] = x[:, row, column] / math.sqrt(sum(x[:, row, column] ** 2) + eps)
    return out


def standardized(x: np.ndarray, eps: float) -> np.ndarray:
    return np.stack([(plane - plane.mean()) / (plane.std() + eps) for plane in x])


def tall(values: np.ndarray) -> np.ndarray:
    return values[:, None, None]


Case = tuple[str, str, tuple[np.ndarray, ...], Callable[[np.ndarray], np.ndarray]]

CASES: dict[str, Case] = {
    "depthwise": (
        "DepthwiseConvolution",
        "convolution_param { num_output: 4 group: 4 kernel_size: 3 pad: 1 }",
        DEPTHWISE,
        lambda x: convolved(x, *DEPTHWISE, padding=(1, 1), groups=4),
    ),
    "depthwise without groups": (
        "ConvolutionDepthwise",
        "convolution_param { num_output: 4 kernel_size: 3 stride: 2 }",
        DEPTHWISE,
        lambda x: convolved(x, *DEPTHWISE, stride=(2, 2), groups=4),
    ),
    "depthwise without outputs": (
        "ConvolutionDepthwise",
        "convolution_param { kernel_h: 3 kernel_w: 3 bias_term: false dilation: 2 }",
        DEPTHWISE[:1],
        lambda x: convolved(x, DEPTHWISE[0], np.zeros(4), dilation=(2, 2), groups=4),
    ),
    "depthwise with two filters a channel": (
        "DepthwiseConvolution",
        "convolution_param { num_output: 8 group: 4 kernel_size: 3 }",
        WIDER,
        lambda x: convolved(x, *WIDER, groups=4),
    ),
    "holes": (
        "Convolution",
        "convolution_param { num_output: 6 kernel_size: 3 pad: 2 hole: 2 }",
        FILTERS,
        lambda x: convolved(x, *FILTERS, padding=(2, 2), dilation=(2, 2)),
    ),
    "holes of each axis": (
        "Convolution",
        "convolution_param { num_output: 6 kernel_size: 3 pad: 2 hole_h: 3 hole_w: 1 }",
        FILTERS,
        lambda x: convolved(x, *FILTERS, padding=(2, 2), dilation=(3, 1)),
    ),
    "relu6": ("ReLU6", "", (), lambda x: np.clip(x, 0, 6)),
    "dropout that scales in the test phase": (
        "Dropout",
        "dropout_param { dropout_ratio: 0.3 scale_train: false }",
        (),
        lambda x: 0.7 * x,
    ),
    "sigmoid with an engine": ("Sigmoid", "sigmoid_param { engine: CUDNN }", (), lambda x: 1 / (1 + np.exp(-x))),
    "swish": ("Swish", "", (), lambda x: x / (1 + np.exp(-x))),
    "swish with its beta": ("Swish", "swish_param { beta: 0.7 }", (), lambda x: x / (1 + np.exp(-0.7 * x))),
    "clip": ("Clip", "clip_param { min: -0.5 max: 0.25 }", (), lambda x: np.clip(x, -0.5, 0.25)),
    "hswish": ("HSwish", "", (), lambda x: x * np.clip(x + 3, 0, 6) / 6),
    "mish": ("Mish", "", (), lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    "shuffle": (
        "ShuffleChannel",
        "shuffle_channel_param { group: 2 }",
        (),
        lambda x: x[[0, 2, 1, 3]],
    ),
    "norm of each position": (
        "Normalize",
        "norm_param { across_spatial: false channel_shared: false scale_filler { type: 'constant' value: 20 } }",
        SCALES,
        lambda x: unit(x, 1e-10) * tall(SCALES[0]),
    ),
    "norm of each position, one scale": (
        "Normalize",
        "norm_param { across_spatial: false eps: 0.5 }",
        (np.float32([3]),),
        lambda x: 3 * unit(x, 0.5),
    ),
    "norm of everything": (
        "Normalize",
        "norm_param { across_spatial: true channel_shared: false eps: 2 }",
        SCALES,
        lambda x: x / math.sqrt((x**2).sum() + 2) * tall(SCALES[0]),
    ),
    "standardized": ("MVN", "", (), lambda x: standardized(x, 1e-9)),
    "standardized with its eps": ("MVN", "mvn_param { eps: 0.3 }", (), lambda x: standardized(x, 0.3)),
    "standardized together": (
        "MVN",
        "mvn_param { across_channels: true }",
        (),
        lambda x: (x - x.mean()) / x.std(),
    ),
    "only centred": (
        "MVN",
        "mvn_param { normalize_variance: false }",
        (),
        lambda x: x - x.mean(axis=(1, 2), keepdims=True),
    ),
    "nvidia's batch norm": (
        "BatchNorm",
        "batch_norm_param { scale_bias: true eps: 0.0000001 engine: CUDNN }",
        FIVE,
        lambda x: (x - tall(FIVE[0])) / np.sqrt(tall(FIVE[1]) + 1e-5) * tall(FIVE[3]) + tall(FIVE[4]),
    ),
    "nvidia's batch norm by its fillers": (
        "BatchNorm",
        "batch_norm_param { eps: 0.01 scale_filler { value: 1 } bias_filler { value: 0 } }",
        FIVE,
        lambda x: (x - tall(FIVE[0])) / np.sqrt(tall(FIVE[1]) + 0.01) * tall(FIVE[3]) + tall(FIVE[4]),
    ),
    "segnet's bn": (
        "BN",
        "bn_param { scale_filler { type: 'constant' value: 1 } shift_filler { value: 0.001 } bn_mode: INFERENCE }",
        SHIFTS,
        lambda x: x * tall(SHIFTS[0]) + tall(SHIFTS[1]),
    ),
    "pspnet's bn": (
        "BN",
        "bn_param { slope_filler { value: 1 } bias_filler { value: 0 } frozen: true momentum: 0.95 eps: 0.001 }",
        FOUR,
        lambda x: (x - tall(FOUR[2])) / np.sqrt(tall(FOUR[3]) + 0.001) * tall(FOUR[0]) + tall(FOUR[1]),
    ),
    "pspnet's bn with a moving average": (
        "BN",
        "bn_param { moving_average: true var_eps: 0.01 }",
        FOUR,
        lambda x: (x - tall(FOUR[2])) / np.sqrt(tall(FOUR[3]) + 0.01) * tall(FOUR[0]) + tall(FOUR[1]),
    ),
    "interpolated to a size": (
        "Interp",
        "interp_param { height: 20 width: 11 }",
        (),
        lambda x: bilinear(x, 20, 11),
    ),
    "interpolated to a smaller size": (
        "Interp",
        "interp_param { height: 4 width: 3 }",
        (),
        lambda x: bilinear(x, 4, 3),
    ),
    "interpolated to one pixel": ("Interp", "interp_param { height: 1 width: 3 }", (), lambda x: bilinear(x, 1, 3)),
    "zoomed": ("Interp", "interp_param { zoom_factor: 3 }", (), lambda x: bilinear(x, 25, 19)),
    "shrunk": ("Interp", "interp_param { shrink_factor: 3 }", (), lambda x: bilinear(x, 3, 3)),
    "shrunk and zoomed": (
        "Interp",
        "interp_param { shrink_factor: 4 zoom_factor: 2 }",
        (),
        lambda x: bilinear(x, 5, 3),
    ),
    "a zoom before a size": (
        "Interp",
        "interp_param { zoom_factor: 2 height: 5 width: 5 }",
        (),
        lambda x: bilinear(x, 17, 13),
    ),
    "a size before both factors": (
        "Interp",
        "interp_param { zoom_factor: 2 shrink_factor: 2 height: 5 width: 6 }",
        (),
        lambda x: bilinear(x, 5, 6),
    ),
    "interpolated inside": (
        "Interp",
        "interp_param { zoom_factor: 2 pad_beg: -1 pad_end: -2 }",
        (),
        lambda x: bilinear(x[:, 1:-2, 1:-2], 11, 7),
    ),
    "enlarged": (
        "Upsample",
        "upsample_param { scale: 2 }",
        (),
        lambda x: x.repeat(2, axis=1).repeat(2, axis=2),
    ),
    "tiled channels": ("Tile", "tile_param { tiles: 3 }", (), lambda x: np.concatenate([x, x, x])),
    "tiled rows": ("Tile", "tile_param { axis: 2 tiles: 2 }", (), lambda x: np.concatenate([x, x], axis=1)),
    "tiled columns": ("Tile", "tile_param { axis: -1 tiles: 2 }", (), lambda x: np.concatenate([x, x], axis=2)),
    "sum": ("Reduction", "reduction_param { axis: 1 }", (), lambda x: x.sum(keepdims=True)[0, 0]),
    "mean of positions": (
        "Reduction",
        "reduction_param { operation: MEAN axis: 2 coeff: 3 }",
        (),
        lambda x: 3 * x.mean(axis=(1, 2)),
    ),
    "sum of absolute values": (
        "Reduction",
        "reduction_param { operation: ASUM axis: -2 }",
        (),
        lambda x: abs(x).sum(axis=(1, 2)),
    ),
    "sum of squares": (
        "Reduction",
        "reduction_param { operation: SUMSQ axis: 1 }",
        (),
        lambda x: (x**2).sum(keepdims=True)[0, 0],
    ),
    "permute of nothing": ("Permute", "permute_param { order: 0 order: 1 order: 2 order: 3 }", (), lambda x: x),
    "permute that leaves the rest": ("Permute", "permute_param { order: 0 order: 1 }", (), lambda x: x),
}

OPENCV_READS = [  # and computes by the same definition
    *("shuffle", "norm of each position", "standardized", "standardized together", "only centred", "relu6"),
    *("interpolated to a size", "zoomed", "depthwise without groups"),
]


@pytest.mark.parametrize("name", CASES)
def test_layer_computes_what_plain_loops_compute(name, tmp_path):
    kind, settings, blobs, expected = CASES[name]
    network = network_of(tmp_path, one(kind, settings), {"layer": blobs} if blobs else {})
    close(run(network)["layer"], expected(IMAGE))


@pytest.mark.parametrize("name", OPENCV_READS)
def test_layer_computes_what_opencv_computes(name, tmp_path):
    kind, settings, blobs, _ = CASES[name]
    network = network_of(tmp_path, one(kind, settings), {"layer": blobs})
    file = write_caffemodel(tmp_path / "w.caffemodel", {"layer": blobs}, tmp_path / "net.prototxt")
    theirs = opencv_values(tmp_path / "net.prototxt", file, IMAGE[None].astype(np.float32), ["layer"])["layer"]
    close(run(network)["layer"], theirs.reshape(run(network)["layer"].shape))


# Layers that read several blobs ---------------------------------------------------------------------------

HALF = 'layer { name: "half" type: "Pooling" bottom: "data" top: "half" top: "mask" pooling_param { %s } }'
LESS = (
    'layer { name: "less" type: "Power" bottom: "half" top: "less" power_param { scale: -0.5 shift: 1 } }'
    'layer { name: "layer" type: "%s" bottom: "less" bottom: "mask" top: "layer" %s }'
)


def unpooled(x: np.ndarray, kernel: int, stride: int, pad: int, sizes: tuple[int, int]) -> np.ndarray:
    """1 − half of the largest value of each window at the place of the first such value, and zeros."""
    out = np.zeros_like(x)
    for channel, row, column in np.ndindex(len(x), *sizes):
        top, left = row * stride - pad, column * stride - pad
        best = None
        for y in range(max(top, 0), min(top + kernel, x.shape[1])):
            for z in range(max(left, 0), min(left + kernel, x.shape[2])):
                if best is None or x[channel, y, z] > x[channel][best]:
                    best = y, z
        out[channel][best] = 1 - 0.5 * x[channel][best]
    return out


@pytest.mark.parametrize(
    ("pooling", "kind", "settings", "expected"),
    [
        ("kernel_size: 2 stride: 2", "Upsample", "upsample_param { upsample_h: 9 upsample_w: 7 }", (2, 2, 0, (5, 4))),
        (
            "kernel_size: 2 stride: 2",
            "Upsample",
            "upsample_param { scale: 2 pad_out_h: true pad_out_w: true }",
            (2, 2, 0, (5, 4)),
        ),
        (
            "kernel_size: 3 stride: 3",
            "Upsample",
            "upsample_param { scale_h: 3 scale_w: 3 upsample_h: 9 upsample_w: 7 }",
            (3, 3, 0, (3, 3)),
        ),
        (
            "kernel_size: 2 stride: 2 pad: 1",
            "Upsample",
            "upsample_param { upsample_h: 9 upsample_w: 7 }",
            (2, 2, 1, (5, 4)),
        ),
        (
            "kernel_size: 2 stride: 3",
            "Unpooling",
            "unpooling_param { unpool: MAX kernel_size: 2 stride: 3 unpool_h: 9 unpool_w: 7 }",
            (2, 3, 0, (4, 3)),
        ),
        (
            "kernel_size: 2 stride: 2 round_mode: FLOOR",
            "Upsample",
            "upsample_param { upsample_h: 9 upsample_w: 7 }",
            (2, 2, 0, (4, 3)),
        ),
    ],
)
def test_unpooling_puts_each_value_where_its_mask_says(pooling, kind, settings, expected, tmp_path):
    if kind == "Unpooling":  # a last window that would begin beyond the map does not exist
        expected = (*expected[:3], (3, 3))
    text = HALF % pooling + LESS % (kind, settings)
    found = run(network_of(tmp_path, text))
    close(found["layer"], unpooled(IMAGE, *expected))
    assert set(found) == {"half", "less", "layer"}, "the mask is no layer"


def test_a_tie_goes_to_the_first_value(tmp_path, monkeypatch):
    monkeypatch.setitem(run.__globals__, "IMAGE", np.ones(SHAPE))
    text = HALF % "kernel_size: 2 stride: 2" + LESS % ("Upsample", "upsample_param { upsample_h: 9 upsample_w: 7 }")
    expected = np.zeros(SHAPE)
    expected[:, ::2, ::2] = 0.5
    close(run(network_of(tmp_path, text))["layer"], expected)


CROPS = {
    "crop_param { axis: 2 offset: 1 }": lambda x: x[:, 1:7, 1:5],
    "crop_param { axis: 2 offset: 3 offset: 2 }": lambda x: x[:, 3:9, 2:6],
    "crop_param { axis: -1 offset: 2 }": lambda x: x[:, :, 2:6],
    "crop_param { axis: 3 }": lambda x: x[:, :, :4],
    "crop_param { axis: 1 offset: 2 offset: 0 offset: 3 }": lambda x: x[2:4, 0:6, 3:7],
    "crop_param { }": lambda x: x[:, :6, :4],
    "": lambda x: x[:, 2:8, 1:5],  # as FCN's Caffe: where the two lie on each other
}


@pytest.mark.parametrize("settings", CROPS)
def test_crop_cuts_the_first_blob_to_the_size_of_the_second(settings, tmp_path):
    text = (
        'layer { name: "small" type: "Convolution" bottom: "data" top: "small" '
        "convolution_param { num_output: 2 kernel_h: 6 kernel_w: 4 pad_h: 1 pad_w: 0 } }"
        f'layer {{ name: "layer" type: "Crop" bottom: "data" bottom: "small" top: "layer" {settings} }}'
    )
    weights = {"small": (normal(2, 4, 6, 4), normal(2))}
    if not settings:  # 6 rows that begin at −1 + 2.5: no whole number
        text = text.replace("kernel_h: 6 kernel_w: 4 pad_h: 1", "kernel_h: 5 kernel_w: 3 pad_h: 0")
        weights = {"small": (normal(2, 4, 5, 3), normal(2))}
    found = run(network_of(tmp_path, text, weights))["layer"]
    if not settings:
        close(found, IMAGE[:, 2:7, 1:6])
    else:
        close(found, CROPS[settings](IMAGE))


def test_interpolation_takes_its_size_from_a_second_blob(tmp_path):
    text = (
        'layer { name: "small" type: "Pooling" bottom: "data" top: "small" pooling_param { kernel_size: 3 stride: 2 } }'
        'layer { name: "layer" type: "Interp" bottom: "small" bottom: "data" top: "layer" interp_param { } }'
    )
    found = run(network_of(tmp_path, text))
    close(found["layer"], bilinear(found["small"].astype(float), *SHAPE[1:]))


@pytest.mark.parametrize("flat", [False, True])
def test_axpy_scales_and_adds(flat, tmp_path):
    text = (
        'layer { name: "pool" type: "Pooling" bottom: "data" top: "pool" '
        "pooling_param { pool: AVE global_pooling: true } }"
        'layer { name: "flat" type: "Flatten" bottom: "pool" top: "flat" }'
        'layer { name: "other" type: "Power" bottom: "data" top: "other" power_param { power: 2 } }'
        f'layer {{ name: "layer" type: "Axpy" bottom: "{"flat" if flat else "pool"}" bottom: "other" bottom: "data" '
        'top: "layer" }'
    )
    close(
        run(network_of(tmp_path, text))["layer"],
        IMAGE.mean(axis=(1, 2), keepdims=True) * IMAGE**2 + IMAGE,
    )


# Values in another order ----------------------------------------------------------------------------------


def shape(*dims: int) -> str:
    return "shape { " + " ".join(f"dim: {dim}" for dim in dims) + " }"


@pytest.mark.parametrize("grouped", [shape(0, 2, 2, 9, 7), shape(0, 2, 2, -1, 7), "axis: 1 num_axes: 1 " + shape(2, 2)])
def test_a_shuffle_of_reshapes_is_a_shuffle_of_channels(grouped, tmp_path):
    text = (
        f'layer {{ name: "a" type: "Reshape" bottom: "data" top: "a" reshape_param {{ {grouped} }} }}'
        'layer { name: "b" type: "Permute" bottom: "a" top: "b" permute_param { order: 0 order: 2 order: 1 } }'
        f'layer {{ name: "layer" type: "Reshape" bottom: "b" top: "layer" reshape_param {{ {shape(0, 4, 9, 7)} }} }}'
    )
    graph, names = network_of(tmp_path, text)
    close(run((graph, names))["layer"], IMAGE[[0, 2, 1, 3]])
    assert list(names) == ["layer"]
    assert [type(module).__name__ for module in graph.children()] == ["ChannelOrder"], "a local operator"


def test_a_flattened_permute_has_the_values_in_its_order(tmp_path):
    text = (
        'layer { name: "perm" type: "Permute" bottom: "data" top: "perm" '
        "  permute_param { order: 0 order: 2 order: 3 order: 1 } }"
        'layer { name: "flat" type: "Flatten" bottom: "perm" top: "flat" flatten_param { axis: 1 } }'
        'layer { name: "both" type: "Concat" bottom: "flat" bottom: "flat" top: "both" }'
    )
    found = run(network_of(tmp_path, text))
    close(found["flat"], IMAGE.transpose(1, 2, 0).ravel())
    assert set(found) == {"flat", "both"}


def test_a_permute_that_a_layer_reads_as_a_map_is_one(tmp_path):
    weight, bias = normal(2, 4, 3, 3), normal(2)
    text = (
        'layer { name: "turn" type: "Permute" bottom: "data" top: "turn" '
        "  permute_param { order: 0 order: 1 order: 3 order: 2 } }"
        'layer { name: "conv" type: "Convolution" bottom: "turn" top: "conv" '
        "  convolution_param { num_output: 2 kernel_size: 3 } }"
        'layer { name: "back" type: "Permute" bottom: "turn" top: "back" '
        "  permute_param { order: 0 order: 1 order: 3 order: 2 } }"
        'layer { name: "sum" type: "Eltwise" bottom: "back" bottom: "data" top: "sum" }'
    )
    found = run(network_of(tmp_path, text, {"conv": (weight, bias)}))
    close(found["conv"], convolved(IMAGE.transpose(0, 2, 1), weight, bias))
    close(found["sum"], 2 * IMAGE)


# What cannot be computed ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("BN", "bn_param { bn_mode: LEARN }", "takes its statistics from the batch"),
        ("BN", "bn_param { var_eps: 0.1 }", "takes its statistics from the batch"),
        ("Interp", "", "states no size"),
        ("Interp", "interp_param { zoom_factor: 0 }", "has a factor below 1"),
        ("Interp", "interp_param { height: 5 width: 5 pad_beg: 2 }", "pads by 2 and 0"),
        ("Interp", "interp_param { height: 5 width: 5 interp_type: 'nearest_neighbor' }", "interpolates by 'nearest"),
        ("Permute", "permute_param { order: 1 order: 0 }", "the batch, first"),
        ("Permute", "permute_param { order: 0 order: 0 }", "each of them once"),
        ("ShuffleChannel", "shuffle_channel_param { group: 3 }", "has 3 groups, expected a divisor of 4"),
        ("Reduction", "", "reduces the axes from 0 on"),
        ("Tile", "tile_param { axis: 0 tiles: 2 }", "repeats along axis 0"),
        ("Clip", "clip_param { min: 0 }", "states no limits"),
        ("Crop", "", "reads 1 blobs, expected 2"),
        ("Axpy", "", "expected a scale and two equal blobs"),
        ("Upsample", "upsample_param { scale_h: 2 scale_w: 3 }", "enlarges without a mask"),
        ("Unpooling", "unpooling_param { unpool: TILE kernel_size: 2 stride: 2 }", "unpools without a mask"),
        ("ReLU6", "relu6_param { negative_slope: 0.1 }", "has a negative_slope"),
        ("ArgMax", "argmax_param { axis: 1 }", "no activations"),
        ("Threshold", "threshold_param { threshold: 1 }", "no activations"),
        ("HSwish", "hswish_param { slope: 2 }", "has an unknown setting: hswish_param in line 1"),
        ("ReLU", "relu_param { slope: 2 }", "has an unknown setting: slope in line 1"),
    ],
)
def test_what_cannot_be_computed_is_refused_by_name(kind, settings, message, tmp_path):
    with pytest.raises(DefinitionError) as caught:
        network_of(tmp_path, one(kind, settings))
    assert message in str(caught.value)
    assert "layer layer" in str(caught.value) and "\n" not in str(caught.value)
