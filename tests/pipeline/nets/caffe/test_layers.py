"""Each of Caffe's layer types computes its definition, which is derived again here in float64 with plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from caffe_files import opencv_values, write_caffemodel
from hypothesis import given
from hypothesis import strategies as st
from single_layer import IMAGE, SHAPE, close, network_of, normal, one, run

from pipeline.errors import DefinitionError, WeightsError
from pipeline.nets.interval import Reach

# Slow and obvious ----------------------------------------------------------------------------------------


def windows(x: np.ndarray, kernel, stride, padding, outputs, dilation=(1, 1)):
    """(row, column, patch) of every output, for a map surrounded by NaN."""
    room = 100
    x = np.pad(x, ((0, 0), (room, room), (room, room)), constant_values=np.nan)
    for row in range(outputs[0]):
        for column in range(outputs[1]):
            top, left = (o * stride[a] - padding[a] + room for a, o in enumerate((row, column)))
            patch = x[:, top:, left:][
                :, : kernel[0] * dilation[0] : dilation[0], : kernel[1] * dilation[1] : dilation[1]
            ]
            yield row, column, patch


def convolved(x, weight, bias, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    kernel = weight.shape[2:]
    outputs = [(x.shape[1 + a] + 2 * padding[a] - dilation[a] * (kernel[a] - 1) - 1) // stride[a] + 1 for a in (0, 1)]
    out = np.zeros((len(weight), *outputs))
    inner, outer = len(x) // groups, len(weight) // groups
    for row, column, patch in windows(x, kernel, stride, padding, outputs, dilation):
        for unit in range(len(weight)):
            start = unit // outer * inner
            out[unit, row, column] = np.nansum(weight[unit] * patch[start : start + inner]) + bias[unit]
    return out


def transposed(x, weight, bias, stride, padding, groups=1):
    """Every input adds its kernel to the outputs."""
    kernel, per_group = weight.shape[2:], weight.shape[1]
    full = np.zeros((per_group * groups, *(stride[a] * (x.shape[1 + a] - 1) + kernel[a] for a in (0, 1))))
    for channel in range(len(x)):
        first = channel // (len(x) // groups) * per_group
        for row in range(x.shape[1]):
            for column in range(x.shape[2]):
                at = np.s_[first : first + per_group, row * stride[0] :, column * stride[1] :]
                full[at][:, : kernel[0], : kernel[1]] += x[channel, row, column] * weight[channel]
    rows, columns = (slice(padding[a], full.shape[1 + a] - padding[a]) for a in (0, 1))
    return full[:, rows, columns] + bias[:, None, None]


def pooled_size(size: int, kernel: int, stride: int, padding: int) -> int:
    count = math.ceil((size + 2 * padding - kernel) / stride) + 1
    if padding > 0 and (count - 1) * stride >= size + padding:
        count -= 1
    return count


def pooled(x, mode, kernel, stride, padding, outputs=None):
    axes = (0, 1)
    if outputs is None:
        outputs = [pooled_size(x.shape[1 + a], kernel[a], stride[a], padding[a]) for a in axes]
    out = np.zeros((len(x), *outputs))
    for row, column, patch in windows(x, kernel, stride, padding, outputs):
        if mode == "MAX":
            out[:, row, column] = np.nanmax(patch, axis=(1, 2))
            continue
        starts = [o * stride[a] - padding[a] for a, o in enumerate((row, column))]
        area = math.prod(min(starts[a] + kernel[a], x.shape[1 + a] + padding[a]) - starts[a] for a in axes)
        out[:, row, column] = np.nansum(patch, axis=(1, 2)) / area
    return out


def normalised_across(x, size, alpha, beta, k):
    out = np.empty_like(x)
    for channel in range(len(x)):
        near = x[max(0, channel - size // 2) : channel + size // 2 + 1]
        out[channel] = x[channel] * (k + alpha / size * (near**2).sum(axis=0)) ** -beta
    return out


def normalised_within(x, size, alpha, beta):
    half = (size - 1) // 2
    out = np.empty_like(x)
    for row, column, patch in windows(x, (size, size), (1, 1), (half, half), x.shape[1:]):
        mean = np.nansum(patch**2, axis=(1, 2)) / size**2
        out[:, row, column] = x[:, row, column] * (1 + alpha * mean) ** -beta
    return out


# One layer each ------------------------------------------------------------------------------------------

CONV, RECTANGULAR, GROUPED = (
    (normal(6, 4, 3, 3), normal(6)),
    (normal(3, 4, 2, 3), normal(3)),
    (normal(6, 2, 3, 3), normal(6)),
)
DECONV, DECONV_GROUPED = (normal(4, 3, 4, 4), normal(3)), (normal(4, 1, 3, 3), normal(2))
FC, FC_TURNED = (normal(5, math.prod(SHAPE)), normal(5)), (normal(math.prod(SHAPE), 5),)
STATISTICS = (normal(4) * 3, abs(normal(4)) * 3, np.array([3], np.float32))
SCALE = (normal(4), normal(4))
SLOPES = (abs(normal(4)),)

Case = tuple[str, str, tuple[np.ndarray, ...], Callable[[np.ndarray], np.ndarray]]

CASES: dict[str, Case] = {
    "convolution": (
        "Convolution",
        "convolution_param { num_output: 6 kernel_size: 3 stride: 2 pad: 1 }",
        CONV,
        lambda x: convolved(x, *CONV, (2, 2), (1, 1)),
    ),
    "dilated": (
        "Convolution",
        "convolution_param { num_output: 6 kernel_size: 3 dilation: 2 pad: 1 }",
        CONV,
        lambda x: convolved(x, *CONV, (1, 1), (1, 1), (2, 2)),
    ),
    "rectangular": (
        "Convolution",
        "convolution_param { num_output: 3 kernel_h: 2 kernel_w: 3 stride_h: 2 stride_w: 1 pad_h: 0 pad_w: 1 }",
        RECTANGULAR,
        lambda x: convolved(x, *RECTANGULAR, (2, 1), (0, 1)),
    ),
    "once an axis": (
        "Convolution",
        "convolution_param { num_output: 3 kernel_size: 2 kernel_size: 3 stride: 2 stride: 1 pad: 0 pad: 1 }",
        RECTANGULAR,
        lambda x: convolved(x, *RECTANGULAR, (2, 1), (0, 1)),
    ),
    "grouped": (
        "Convolution",
        "convolution_param { num_output: 6 kernel_size: 3 group: 2 }",
        GROUPED,
        lambda x: convolved(x, *GROUPED, groups=2),
    ),
    "no bias": (
        "Convolution",
        "convolution_param { num_output: 6 kernel_size: 3 bias_term: false }",
        CONV[:1],
        lambda x: convolved(x, CONV[0], np.zeros(6)),
    ),
    "deconvolution": (
        "Deconvolution",
        "convolution_param { num_output: 3 kernel_size: 4 stride: 2 pad: 1 }",
        DECONV,
        lambda x: transposed(x, *DECONV, (2, 2), (1, 1)),
    ),
    "inner product": ("InnerProduct", "inner_product_param { num_output: 5 }", FC, lambda x: FC[0] @ x.ravel() + FC[1]),
    "max pool": (
        "Pooling",
        "pooling_param { pool: MAX kernel_size: 3 stride: 2 }",
        (),
        lambda x: pooled(x, "MAX", (3, 3), (2, 2), (0, 0)),
    ),
    "max pool padded": (
        "Pooling",
        "pooling_param { kernel_h: 2 kernel_w: 4 stride_h: 3 stride_w: 2 pad_h: 1 pad_w: 2 }",
        (),
        lambda x: pooled(x, "MAX", (2, 4), (3, 2), (1, 2)),
    ),
    "mean pool": (
        "Pooling",
        "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }",
        (),
        lambda x: pooled(x, "AVE", (3, 3), (2, 2), (1, 1)),
    ),
    "global pool": (
        "Pooling",
        "pooling_param { pool: AVE global_pooling: true }",
        (),
        lambda x: x.mean(axis=(1, 2), keepdims=True),
    ),
    "relu": ("ReLU", "relu_param { negative_slope: 0.3 }", (), lambda x: np.where(x > 0, x, 0.3 * x)),
    "prelu": ("PReLU", "", SLOPES, lambda x: np.where(x > 0, x, SLOPES[0][:, None, None] * x)),
    "norm across": (
        "LRN",
        "lrn_param { local_size: 3 alpha: 2 beta: 0.6 }",
        (),
        lambda x: normalised_across(x, 3, 2, 0.6, 1),
    ),
    "batch norm": (
        "BatchNorm",
        "batch_norm_param { eps: 0.001 }",
        STATISTICS,
        lambda x: (x - STATISTICS[0][:, None, None] / 3) / np.sqrt(STATISTICS[1][:, None, None] / 3 + 0.001),
    ),
    "scale": (
        "Scale",
        "scale_param { bias_term: true }",
        SCALE,
        lambda x: x * SCALE[0][:, None, None] + SCALE[1][:, None, None],
    ),
    "softmax": ("Softmax", "", (), lambda x: np.exp(x) / np.exp(x).sum(axis=0)),
    "sigmoid": ("Sigmoid", "", (), lambda x: 1 / (1 + np.exp(-x))),
    "tanh": ("TanH", "", (), np.tanh),
    "absolute": ("AbsVal", "", (), np.abs),
    "elu": ("ELU", "", (), lambda x: np.where(x > 0, x, np.exp(x) - 1)),
    "power": ("Power", "power_param { power: 2 scale: -0.5 shift: 3 }", (), lambda x: (3 - 0.5 * x) ** 2),
    "flatten": ("Flatten", "", (), np.ravel),
    "reshape": (
        "Reshape",
        "reshape_param { shape { dim: 0 dim: -1 dim: 3 dim: 7 } }",
        (),
        lambda x: x.reshape(12, 3, 7),
    ),
    "dropout": ("Dropout", "dropout_param { dropout_ratio: 0.4 }", (), lambda x: x),
    "grouped deconvolution": (
        "Deconvolution",
        "convolution_param { num_output: 2 kernel_size: 3 stride: 2 group: 2 }",
        DECONV_GROUPED,
        lambda x: transposed(x, *DECONV_GROUPED, (2, 2), (0, 0), groups=2),
    ),
    "transposed inner product": (
        "InnerProduct",
        "inner_product_param { num_output: 5 transpose: true bias_term: false axis: -3 }",
        FC_TURNED,
        lambda x: x.ravel() @ FC_TURNED[0],
    ),
    "max pool floor": (
        "Pooling",
        "pooling_param { kernel_size: 3 stride: 4 round_mode: FLOOR }",
        (),
        lambda x: pooled(x, "MAX", (3, 3), (4, 4), (0, 0), (2, 2)),
    ),
    "max pool floor, other spelling": (
        "Pooling",
        "pooling_param { kernel_size: 3 stride: 4 ceil_mode: false }",
        (),
        lambda x: pooled(x, "MAX", (3, 3), (4, 4), (0, 0), (2, 2)),
    ),
    "mean pool that hangs over": (
        "Pooling",
        "pooling_param { pool: AVE kernel_size: 4 stride: 3 pad: 1 }",
        (),
        lambda x: pooled(x, "AVE", (4, 4), (3, 3), (1, 1)),
    ),
    "global maximum": (
        "Pooling",
        "pooling_param { pool: MAX global_pooling: true }",
        (),
        lambda x: x.max(axis=(1, 2), keepdims=True),
    ),
    "norm across with a k": (
        "LRN",
        "lrn_param { local_size: 3 alpha: 2 beta: 0.6 k: 1.5 }",
        (),
        lambda x: normalised_across(x, 3, 2, 0.6, 1.5),
    ),
    "norm within": (
        "LRN",
        "lrn_param { local_size: 3 alpha: 2 beta: 0.6 norm_region: WITHIN_CHANNEL }",
        (),
        lambda x: normalised_within(x, 3, 2, 0.6),
    ),
    "one slope for all": (
        "PReLU",
        "prelu_param { channel_shared: true }",
        (np.float32([0.2]),),
        lambda x: np.where(x > 0, x, 0.2 * x),
    ),
    "untrained batch norm": (
        "BatchNorm",
        "",
        (*STATISTICS[:2], np.zeros(1, np.float32)),
        lambda x: x / np.sqrt(1e-5),
    ),
    "one scale for all": ("Scale", "scale_param { num_axes: 0 }", (np.float32(2.5),), lambda x: 2.5 * x),
    "bias": ("Bias", "", SCALE[:1], lambda x: x + SCALE[0][:, None, None]),
    "two to the power": ("Exp", "exp_param { base: 2 scale: 0.5 shift: 1 }", (), lambda x: 2 ** (1 + 0.5 * x)),
    "e to the power": ("Exp", "", (), np.exp),
    "logarithm": ("Log", "log_param { base: 10 scale: 0.1 shift: 2 }", (), lambda x: np.log10(2 + 0.1 * x)),
    "softplus": ("BNLL", "", (), lambda x: np.log1p(np.exp(x))),
    "elu with its alpha": ("ELU", "elu_param { alpha: 0.7 }", (), lambda x: np.where(x > 0, x, 0.7 * (np.exp(x) - 1))),
    "reshape of a part": (
        "Reshape",
        "reshape_param { axis: 1 num_axes: 2 shape { dim: 12 dim: 3 } }",
        (),
        lambda x: x.reshape(12, 3, 7),
    ),
    "reshape that states a batch": ("Reshape", "reshape_param { shape { dim: 10 dim: 252 } }", (), np.ravel),
}

OPENCV_DIFFERS = {
    *("max pool floor", "one scale for all", "bias", "reshape that states a batch"),  # it cannot read them
    *("transposed inner product", "norm across with a k", "logarithm"),  # it ignores transpose, k and base
}


@pytest.mark.parametrize("name", CASES)
def test_layer_computes_what_plain_loops_compute(name, tmp_path):
    kind, settings, blobs, expected = CASES[name]
    network = network_of(tmp_path, one(kind, settings), {"layer": blobs})
    close(run(network)["layer"], expected(IMAGE))


@pytest.mark.parametrize("name", [name for name in CASES if name not in OPENCV_DIFFERS])
def test_layer_computes_what_opencv_computes(name, tmp_path):
    kind, settings, blobs, _ = CASES[name]
    text = one(kind, settings)
    network = network_of(tmp_path, text, {"layer": blobs})
    file = write_caffemodel(tmp_path / "w.caffemodel", {"layer": blobs}, tmp_path / "net.prototxt")
    image = IMAGE[None].astype(np.float32)
    theirs = opencv_values(tmp_path / "net.prototxt", file, image, ["layer"])["layer"]
    close(run(network)["layer"], theirs.reshape(run(network)["layer"].shape))


@pytest.mark.parametrize(
    ("kind", "settings", "expected"),
    [
        ("Eltwise", "", lambda x, y: x + y),
        ("Eltwise", "eltwise_param { operation: SUM coeff: 2 coeff: -0.5 }", lambda x, y: 2 * x - 0.5 * y),
        ("Eltwise", "eltwise_param { operation: PROD }", lambda x, y: x * y),
        ("Eltwise", "eltwise_param { operation: MAX }", np.maximum),
        ("Concat", "", lambda x, y: np.concatenate([x, y])),
        ("Concat", "concat_param { concat_dim: 1 }", lambda x, y: np.concatenate([x, y])),
        ("Concat", "concat_param { axis: -3 }", lambda x, y: np.concatenate([x, y])),
        ("Bias", "bias_param { axis: 0 }", lambda x, y: x + y),
        ("Scale", "scale_param { axis: 0 }", lambda x, y: x * y),
    ],
)
def test_layer_that_joins_computes_what_numpy_computes(kind, settings, expected, tmp_path):
    text = (
        'layer { name: "half" type: "Power" bottom: "data" top: "half" power_param { scale: 0.5 shift: 1 } } '
        f'layer {{ name: "layer" type: "{kind}" bottom: "data" bottom: "half" top: "layer" {settings} }}'
    )
    close(run(network_of(tmp_path, text))["layer"], expected(IMAGE, 0.5 * IMAGE + 1))


def test_one_factor_for_each_channel_scales_a_map(tmp_path):
    text = (
        'layer { name: "pool" type: "Pooling" bottom: "data" top: "pool" '
        "pooling_param { pool: AVE global_pooling: true } }"
        'layer { name: "flat" type: "Flatten" bottom: "pool" top: "flat" }'
        'layer { name: "layer" type: "Scale" bottom: "data" bottom: "flat" top: "layer" scale_param { axis: 0 } }'
    )
    close(run(network_of(tmp_path, text))["layer"], IMAGE * IMAGE.mean(axis=(1, 2), keepdims=True))


@pytest.mark.parametrize(
    ("settings", "edges"),
    [("slice_point: 1 slice_point: 3", (0, 1, 3, 4)), ("slice_dim: 1 slice_point: 2 slice_point: 3", (0, 2, 3, 4))],
)
def test_slice_gives_each_part_under_the_name_of_its_blob(settings, edges, tmp_path):
    text = (
        f'layer {{ name: "cut" type: "Slice" bottom: "data" top: "a" top: "b" top: "c" slice_param {{ {settings} }} }}'
    )
    found = run(network_of(tmp_path, text))
    for name, start, stop in zip("abc", edges, edges[1:], strict=False):
        close(found[name], IMAGE[start:stop])


def test_slice_without_points_cuts_evenly_and_split_copies(tmp_path):
    text = (
        'layer { name: "cut" type: "Slice" bottom: "data" top: "a" top: "b" }'
        'layer { name: "copy" type: "Split" bottom: "b" top: "c" top: "d" }'
        'layer { name: "sum" type: "Eltwise" bottom: "c" bottom: "d" top: "sum" }'
    )
    found = run(network_of(tmp_path, text))
    close(found["a"], IMAGE[:2])
    close(found["sum"], 2 * IMAGE[2:])


@given(
    size=st.integers(1, 40),
    kernel=st.integers(1, 7),
    stride=st.integers(1, 5),
    padding=st.integers(0, 6),
)
def test_pooling_gives_caffes_number_of_outputs(size, kernel, stride, padding):
    padding = min(padding, kernel - 1)
    if size + 2 * padding >= kernel:
        assert Reach(kernel, stride, padding).outputs(size, "caffe") == pooled_size(size, kernel, stride, padding)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("Convolutoin", "", "type 'Convolutoin', which cannot be computed here (nearest: Convolution"),
        ("Im2col", "", "type 'Im2col'"),
        ("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 }", "pools at random"),
        ("Pooling", "pooling_param { pool: MAX }", "has kernel (0, 0)"),
        (
            "Pooling",
            "pooling_param { kernel_size: 2 pad: 2 }",
            "has padding (2, 2), expected less than its kernel (2, 2)",
        ),
        ("Convolution", "convolution_param { num_output: 2 kernel_h: 3 }", "has kernel (3, 0)"),
        ("Convolution", "convolution_param { num_output: 6 kernel_size: 1 group: 3 }", "has 3 groups"),
        ("LRN", "lrn_param { local_size: 4 }", "has local_size 4, expected an odd number"),
        ("BatchNorm", "batch_norm_param { use_global_stats: false }", "expected use_global_stats: true"),
        ("Softmax", "softmax_param { axis: 2 }", "works along axis 2, expected axis 1"),
        ("Concat", "concat_param { axis: 0 }", "works along axis 0, expected axis 1"),
        ("InnerProduct", "inner_product_param { num_output: 3 axis: 2 }", "works along axis 2"),
        ("Scale", "scale_param { num_axes: 2 }", "expected num_axes: 1"),
        ("Reshape", "reshape_param { shape { dim: 0 dim: 5 dim: -1 } }", "which has another count"),
        ("Reshape", "reshape_param { shape { dim: 0 dim: 4 dim: 63 } }", "only reorders its input"),
        ("Slice", "slice_param { slice_point: 5 }", "cuts 4 channels"),
        ("Exp", "exp_param { base: -3 }", "has base -3.0"),
    ],
)
def test_what_cannot_be_computed_is_refused_by_name(kind, settings, message, tmp_path):
    with pytest.raises(DefinitionError) as caught:
        network_of(tmp_path, one(kind, settings))
    assert message in str(caught.value)
    assert "net.prototxt: " in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("blobs", "message"),
    [
        ((), "layer layer has 0 blobs, expected 2 of shapes (6, 4, 3, 3), (6,)"),
        (CONV[:1], "layer layer has 1 blobs, expected 2"),
        ((*CONV, CONV[1]), "layer layer has 3 blobs, expected 2"),
        ((CONV[0][:, :2], CONV[1]), "layer layer, blob 0 has shape (6, 2, 3, 3), expected (6, 4, 3, 3)"),
        ((CONV[0], CONV[1][:5]), "layer layer, blob 1 has shape (5,), expected (6,)"),
    ],
)
def test_blobs_that_do_not_fit_are_refused_with_both_shapes(blobs, message, tmp_path):
    with pytest.raises(WeightsError) as caught:
        network_of(tmp_path, one("Convolution", "convolution_param { num_output: 6 kernel_size: 3 }"), {"layer": blobs})
    assert message in str(caught.value)
