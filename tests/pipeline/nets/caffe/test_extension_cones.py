"""Windows and cones through the layers of Caffe's forks: a part computes what the full image computes, and no less."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from caffe_files import random_weights
from test_cone import relative
from test_window import positions, support

from pipeline.nets.backward import RULES, BackwardPass
from pipeline.nets.caffe import caffe_network
from pipeline.nets.cone import Cone, FullPass, cone_pattern
from pipeline.nets.window import window

DATA = 'input: "data" input_shape { dim: 1 dim: 3 dim: 29 dim: 34 }'


def conv(name: str, bottom: str, outputs: int, rest: str = "kernel_size: 3 pad: 1", kind: str = "Convolution") -> str:
    return (
        f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{name}" '
        f"convolution_param {{ num_output: {outputs} {rest} }} }}"
    )


def layer(kind: str, name: str, *bottoms: str, rest: str = "", top: str = "") -> str:
    read = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
    made = " ".join(f'top: "{one}"' for one in (top if top else name).split())
    return f'layer {{ name: "{name}" type: "{kind}" {read} {made} {rest} }}'


SEGNET = [
    conv("conv1", "data", 4),
    layer("ReLU", "relu1", "conv1", top="conv1"),
    layer("Pooling", "pool1", "conv1", top="pool1 mask1", rest="pooling_param { kernel_size: 2 stride: 2 }"),
    conv("conv2", "pool1", 5),
    layer("Pooling", "pool2", "conv2", top="pool2 mask2", rest="pooling_param { kernel_size: 2 stride: 3 pad: 1 }"),
    conv("conv3", "pool2", 5),
    layer("Upsample", "up2", "conv3", "mask2", rest="upsample_param { upsample_h: 15 upsample_w: 17 }"),
    conv("conv4", "up2", 4),
    layer("Upsample", "up1", "conv4", "mask1", rest="upsample_param { scale: 2 pad_out_h: true }"),
    conv("conv5", "up1", 3),
]
FCN = [
    conv("conv1", "data", 4, "kernel_size: 3 pad: 2 stride: 2"),
    layer("Normalize", "norm", "conv1", rest="norm_param { across_spatial: false channel_shared: false }"),
    layer("ReLU6", "relu", "norm", top="norm"),
    conv("wide", "norm", 4, "kernel_size: 3 pad: 3 hole: 3"),
    conv("deep", "wide", 4, "kernel_size: 3", kind="DepthwiseConvolution"),
    layer("ShuffleChannel", "shuffle", "deep", rest="shuffle_channel_param { group: 2 }"),
    conv("score", "shuffle", 2, "kernel_size: 1"),
    conv("up", "score", 2, "kernel_size: 4 stride: 2 group: 2 bias_term: false", kind="Deconvolution"),
    layer("Crop", "crop", "up", "data", rest="crop_param { axis: 2 offset: 1 offset: 0 }"),
    conv("last", "crop", 2),
]
PSPNET = [
    conv("conv1", "data", 4, "kernel_size: 3 pad: 1 stride: 2"),
    layer("Pooling", "mean", "conv1", rest="pooling_param { pool: AVE kernel_size: 5 stride: 5 }"),
    layer("Interp", "wide", "mean", rest="interp_param { height: 15 width: 17 }"),
    layer("Concat", "both", "conv1", "wide"),
    conv("conv2", "both", 3),
    layer("Interp", "half", "conv2", rest="interp_param { shrink_factor: 2 }"),
    layer("Upsample", "twice", "half", rest="upsample_param { scale: 2 }"),
    layer("Interp", "inside", "twice", rest="interp_param { zoom_factor: 2 pad_beg: -1 pad_end: -2 }"),
    layer("Interp", "full", "conv2", rest="interp_param { height: 29 width: 34 }"),
    conv("conv3", "full", 3),
]
GLOBAL = [
    conv("conv1", "data", 4, "kernel_size: 3 stride: 2"),
    layer("Pooling", "pool", "conv1", rest="pooling_param { pool: AVE global_pooling: true }"),
    layer("Axpy", "axpy", "pool", "conv1", "conv1"),
    conv("conv2", "axpy", 4),
    layer("MVN", "mvn", "conv2"),
    conv("conv3", "mvn", 4),
    layer("Tile", "tile", "pool", rest="tile_param { axis: 2 tiles: 14 }"),
    layer("Tile", "tiled", "tile", rest="tile_param { axis: 3 tiles: 16 }"),
    layer("Concat", "both", "conv3", "tiled"),
    conv("conv4", "both", 3),
    layer("Permute", "turned", "conv4", rest="permute_param { order: 0 order: 1 order: 3 order: 2 }"),
    conv("conv5", "turned", 2),
    layer("Reshape", "reshaped", "conv5", rest="reshape_param { shape { dim: 0 dim: 4 dim: 8 dim: 14 } }"),
    conv("conv6", "reshaped", 2),
    layer("Normalize", "norm", "conv6", rest="norm_param { across_spatial: true }"),
    layer("Reduction", "sum", "norm", rest="reduction_param { axis: 2 operation: MEAN }"),
]
NETWORKS = {"segnet": SEGNET, "fcn": FCN, "pspnet": PSPNET, "global": GLOBAL}


@pytest.fixture(params=NETWORKS)
def network(request, tmp_path):
    return opened(tmp_path, NETWORKS[request.param])


def opened(folder, layers, positive: bool = False):
    path = folder / "net.prototxt"
    path.write_text(DATA + "\n".join(layers))
    weights = random_weights(path)
    if positive:
        weights = {name: tuple(abs(blob) for blob in blobs) for name, blobs in weights.items()}
    return caffe_network("net", path, weights, order="RGB", mean=None).to(dtype=torch.float64)


def random_images(network, count: int) -> torch.Tensor:
    size = network.preprocessing
    return torch.randn(count, 3, size.height, size.width, dtype=torch.float64) * 30


def test_cone_gives_the_full_images_activation_and_gradient(network):
    torch.manual_seed(1)
    images = random_images(network, 3)
    for one in network.layers.values():
        units = torch.tensor([0, one.channels - 1, one.channels // 2])
        for position in positions(one.height, one.width):
            whole = images.clone().requires_grad_()
            expected = FullPass(network, one.name, position).activations(whole, units)
            (gradient,) = torch.autograd.grad(expected.sum(), whole)

            cone = Cone(network, one.name, position)
            at = cone.window
            part = images[:, :, at.top : at.bottom, at.left : at.right].clone().requires_grad_()
            found = cone.activations(part, units)
            (own,) = torch.autograd.grad(found.sum(), part)

            assert relative(found, expected) < 1e-10 or expected.abs().max() < 1e-12, (one.name, position)
            inside = gradient[:, :, at.top : at.bottom, at.left : at.right]
            assert relative(own, inside) < 1e-10 or gradient.abs().max() < 1e-12, (one.name, position)
            assert torch.isclose(gradient.abs().sum(), inside.abs().sum(), rtol=1e-12), "mass outside the window"


def test_pixels_outside_the_window_do_not_change_the_value(network):
    torch.manual_seed(2)
    images = random_images(network, 4)
    for one in network.layers.values():
        for position in positions(one.height, one.width):
            at = window(network, one.name, *position)
            others = images.clone() + 100
            others[:, :, at.top : at.bottom, at.left : at.right] = images[:, :, at.top : at.bottom, at.left : at.right]
            full = FullPass(network, one.name, position)
            assert relative(full.values(others), full.values(images)) < 1e-12, (one.name, position)


def test_signals_of_back_projection_are_the_gradient(network):
    torch.manual_seed(3)
    images = random_images(network, 2)
    units, at = torch.tensor([0, 1]), torch.zeros(2, 2, dtype=torch.int64)
    for name in ("conv5", "last", "conv3"):
        if name not in network.layers:
            continue
        cone = Cone(network, name)
        box = cone.window
        part = images[:, :, box.top : box.bottom, box.left : box.right]
        signals = BackwardPass(cone, part, ignore_norms=False).signals(units, at, RULES)
        leaf = part.clone().requires_grad_()
        (expected,) = torch.autograd.grad(cone.activations(leaf, units).sum(), leaf)
        assert relative(signals[RULES.index("gradient")], expected) < 1e-10, name
        assert all(torch.isfinite(signal).all() for signal in signals)


LINEAR = [  # FCN without what is not linear and without the layer that leaves positions out
    conv("conv1", "data", 4, "kernel_size: 3 pad: 2 stride: 2"),
    conv("wide", "conv1", 4, "kernel_size: 3 pad: 3 hole: 3"),
    conv("deep", "wide", 4, "kernel_size: 3", kind="DepthwiseConvolution"),
    *FCN[5:],
]


@pytest.mark.parametrize("layers", [PSPNET, LINEAR], ids=["pspnet", "fcn"])
def test_window_is_the_support_of_the_gradient(layers, tmp_path):
    network = opened(tmp_path, layers, positive=True)
    for name, one in network.layers.items():
        for row, column in positions(one.height, one.width):
            assert window(network, name, row, column) == support(network, name, row, column), (name, row, column)


def test_every_position_of_an_interpolation_has_the_window_of_its_two_rows(tmp_path):
    network = opened(tmp_path, [layer("Interp", "half", "data", rest="interp_param { height: 15 width: 100 }")])
    rows = [window(network, "half", row, 0) for row in range(15)]
    assert [(at.top, at.bottom) for at in rows] == [(2 * row, 2 * row + 1) for row in range(15)]
    columns = [window(network, "half", 0, column) for column in range(100)]
    assert [at.width for at in columns] == [1 if column % 3 == 0 else 2 for column in range(100)]


def test_a_unit_that_an_unpooling_leaves_empty_is_zero_and_has_no_gradient(tmp_path):
    network = opened(tmp_path, SEGNET[:7])
    image = random_images(network, 1).requires_grad_()
    values = network.run(image, ["up2"])["up2"]
    assert 0.5 < float((values == 0).double().mean()) < 1
    row, column = (int(at) for at in (values[0, 0] == 0).nonzero()[0])
    cone = Cone(network, "up2", (row, column))
    box = cone.window
    part = image[:, :, box.top : box.bottom, box.left : box.right].detach().requires_grad_()
    (gradient,) = torch.autograd.grad(cone.activations(part, torch.tensor([0])).sum(), part)
    assert not gradient.any()
    assert np.isfinite(gradient.numpy()).all()


def test_positions_of_equal_patterns_share_a_cone(network):
    """One cone computes the windows of all positions that run alike, as mining does in batches."""
    torch.manual_seed(4)
    image = random_images(network, 1)
    for one in network.layers.values():
        if not one.spatial:
            continue
        whole = network.run(image, [one.name])[one.name]
        alike: dict[object, list[int]] = {}
        for column in range(one.width):
            alike.setdefault(cone_pattern(network, one.name, column, 1), []).append(column)
        for columns in alike.values():
            cone = Cone(network, one.name, (one.height // 2, columns[0]))
            for column in columns:
                at = window(network, one.name, one.height // 2, column)
                found = cone.values(image[:, :, at.top : at.bottom, at.left : at.right])
                expected = whole[:, :, one.height // 2, column]
                assert relative(found, expected) < 1e-10 or expected.abs().max() < 1e-12, (one.name, column)
