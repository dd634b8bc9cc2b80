"""The default units of networks with normalization: the preferred image switches a unit on, never off."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import nn

from atlas_viewer.field import Status
from atlas_viewer.visualization import UnitPictures
from jobs.notebook import visualize
from pipeline.nets.caffe import caffe_network, weight_shapes
from pipeline.nets.network import Network
from pipeline.nets.network_card import network_card
from pipeline.nets.preprocessing import Preprocessing
from pipeline.nets.torch_modules import torch_network

SIDE, MEAN, GAIN = 20, np.array([120.0, 115.0, 105.0]), np.full(3, 0.02)
SCALES = [1.0, -1.2, 0.8, -0.9, 1.1, -1.0]


class Plain(nn.Module):
    """Two convolutions, each with normalization and ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 5, 2, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        x = torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))
        return self.fc(x.mean((2, 3)))


class Residual(Plain):
    """The second normalization is added to the first block's output before the last ReLU."""

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)) + x)
        return self.fc(x.mean((2, 3)))


CAFFE = """
name: "normalized"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 20 dim: 20 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
        convolution_param { num_output: 6 kernel_size: 5 stride: 2 } }
layer { name: "bn1" type: "BatchNorm" bottom: "conv1" top: "bn1" }
layer { name: "scale1" type: "Scale" bottom: "bn1" top: "scale1" scale_param { bias_term: true } }
layer { name: "relu1" type: "ReLU" bottom: "scale1" top: "relu1" }
layer { name: "conv2" type: "Convolution" bottom: "relu1" top: "conv2"
        convolution_param { num_output: 6 kernel_size: 3 pad: 1 } }
layer { name: "bn2" type: "BatchNorm" bottom: "conv2" top: "bn2" }
layer { name: "scale2" type: "Scale" bottom: "bn2" top: "scale2" scale_param { bias_term: true } }
layer { name: "relu2" type: "ReLU" bottom: "scale2" top: "relu2" }
layer { name: "pool" type: "Pooling" bottom: "relu2" top: "pool" pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 4 } }
"""


def photos(count: int) -> torch.Tensor:
    """Smooth random pictures, centred."""
    draw = torch.Generator().manual_seed(3)
    noise = torch.randn(count, 3, 5, 5, generator=draw) * 60
    return nn.functional.interpolate(noise, (SIDE, SIDE), mode="bicubic").clamp(-100, 130)


def torch_form(build: type[nn.Module]) -> Network:
    """Half of the scales are negative; the statistics are those of pictures."""
    torch.manual_seed(2)
    module = build()
    with torch.no_grad():
        for part in (module.bn1, module.bn2):
            part.momentum = None
            part.weight.copy_(torch.tensor(SCALES))
            part.bias.copy_(torch.linspace(-0.5, 0.3, 6))
        module.train()(photos(200) * GAIN[0])
    return torch_network("net", module, Preprocessing(SIDE, SIDE, "RGB", MEAN, GAIN))


def caffe_form(folder) -> Network:
    """The weights of the plain network in Caffe's layers."""
    plain = torch_form(Plain)
    arrays: dict[str, tuple[np.ndarray, ...]] = {}
    (folder / "net.prototxt").write_text(CAFFE)
    draw = np.random.default_rng(0)
    for name, shapes in weight_shapes(folder / "net.prototxt").items():
        arrays[name] = tuple(draw.normal(0, 0.2, shape).astype(np.float32) for shape in shapes)
    for number in ("1", "2"):
        weight = plain.operator(plain.layer(f"conv{number}").node).weight.numpy()
        arrays[f"conv{number}"] = (weight, arrays[f"conv{number}"][1])
        arrays[f"bn{number}"] = (np.zeros(6, np.float32), np.full(6, 0.5, np.float32), np.ones(1, np.float32))
        arrays[f"scale{number}"] = (np.array(SCALES, np.float32), np.linspace(-0.5, 0.3, 6).astype(np.float32))
    blobs = {
        f"{name}.{at}": np.ascontiguousarray(blob) for name, each in arrays.items() for at, blob in enumerate(each)
    }
    save_file(blobs, folder / "net.safetensors")
    return caffe_network(
        "net", folder / "net.prototxt", folder / "net.safetensors", order="BGR", mean=MEAN, gain=GAIN, labels=(),
        class_layer=None, size=None,
    )  # fmt: skip


@pytest.fixture(params=["plain", "residual", "caffe"])
def network(request, tmp_path) -> Network:
    if request.param == "caffe":
        return caffe_form(tmp_path)
    return torch_form({"plain": Plain, "residual": Residual}[request.param])


def climbed(network: Network, layer: str) -> list[UnitPictures]:
    return list(
        visualize(
            network, f"{layer}:0-5", styles=["low_frequency"], samples=1, max_iter=30, canvas="image", device="cpu"
        )
    )


def after_relu(network: Network, layer: str, pictures: torch.Tensor) -> torch.Tensor:
    """(picture, unit): the values at the layer's centre after a ReLU."""
    row, column = network.layer(layer).centre
    with torch.no_grad():
        return torch.relu(network.run(pictures, [layer])[layer][:, :, row, column])


def test_the_preferred_image_of_a_default_unit_survives_its_normalization_and_nonlinearity(network):
    card = network_card(network)
    shown = [layer.name for layer in card.layers if layer.shown]
    assert not [name for name in shown if name.startswith(("conv", "relu"))]
    assert {"conv1", "conv2"} <= {layer.name for layer in card.layers if layer.has_units}, "reachable by name"
    compared = 0
    for name in shown[:-1]:  # the class layer has neither
        usual = after_relu(network, name, photos(9))
        for unit, one in enumerate(climbed(network, name)):
            assert one.address == f"{name}:{unit}" and card.layer(name).measure == one.measure
            if one.status[0] is not Status.ok:
                continue
            picture = torch.from_numpy(one.pixels.astype(np.float32)).permute(0, 3, 1, 2)
            if network.preprocessing.order == "BGR":
                picture = picture.flip(1)
            own = after_relu(network, name, picture - torch.from_numpy(MEAN).float().view(1, 3, 1, 1))[0, unit]
            assert own > usual[:, unit].max(), (name, unit)
            compared += 1
    assert compared >= 10


def test_the_convolution_itself_would_be_switched_off_by_a_negative_scale():
    """What the default layers are for: the image that the convolution prefers gives 0 after BN and ReLU."""
    network = torch_form(Plain)
    (one,) = visualize(
        network, "conv1:1", styles=["low_frequency"], samples=1, max_iter=30, canvas="image", device="cpu"
    )
    picture = torch.from_numpy(one.pixels.astype(np.float32)).permute(0, 3, 1, 2)
    centred = picture - torch.from_numpy(MEAN).float().view(1, 3, 1, 1)
    assert after_relu(network, "bn1", centred)[0, 1] == 0
