"""The published networks compute, layer by layer, the values that OpenCV computes from the same files."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from caffe_files import opencv_values, random_image, random_weights, values, worst, write_caffemodel
from PIL import Image

import pipeline.nets
from pipeline.nets.caffe import caffe_network, read_definition, weight_shapes

DEFINITIONS = Path(pipeline.nets.__file__).parent / "definitions"
MEAN = (104.0, 117.0, 123.0)

RESNET_STAGES = ((1, 2), (2, 2))  # stride and blocks


def test_squeezenet_agrees_on_photos_with_its_own_weights(test_data):
    definition, weights = test_data / "squeezenet_v1.1.prototxt", test_data / "squeezenet_v1.1.caffemodel"
    network = caffe_network("squeezenet", definition, weights, order="BGR", mean=MEAN)
    for photo in photos(test_data, (0, 400, 900), network.preprocessing.height):
        image = network.preprocessing.centred(photo)[None]
        expected = opencv_values(definition, weights, image, list(network.layers))
        share, layer = worst(values(network, image), expected)
        assert share < 1e-4, layer


def test_the_definition_of_squeezenet_here_is_the_published_one(test_data):
    ours = read_definition(DEFINITIONS / "squeezenet_v1_1.prototxt").layers
    theirs = read_definition(test_data / "squeezenet_v1.1.prototxt").layers
    assert [layer.name for layer in ours] == [layer.name for layer in theirs]
    networks = [
        caffe_network("squeezenet", path, test_data / "squeezenet_v1.1.caffemodel", order="BGR", mean=MEAN)
        for path in (DEFINITIONS / "squeezenet_v1_1.prototxt", test_data / "squeezenet_v1.1.prototxt")
    ]
    assert networks[0].digest == networks[1].digest


def test_alexnet_and_caffenet_agree(tmp_path):
    """One weights file serves both, because they differ only in the order of pooling and normalisation."""
    weights = random_weights(DEFINITIONS / "caffenet.prototxt")
    file = write_caffemodel(tmp_path / "w.caffemodel", weights, DEFINITIONS / "caffenet.prototxt")
    for name in ("caffenet", "alexnet"):
        definition = DEFINITIONS / f"{name}.prototxt"
        network = caffe_network(name, definition, file, order="BGR", mean=MEAN)
        image = random_image(network)
        share, layer = worst(values(network, image), opencv_values(definition, file, image, list(network.layers)))
        assert share < 1e-4, (name, layer)
        assert network.class_layer == "fc8"
    file.unlink()


@pytest.mark.parametrize(
    ("name", "class_layer"),
    [
        ("googlenet", "loss3/classifier"),
        ("squeezenet_v1_0", "pool10"),
        ("resnet50", "fc1000"),
        ("places205", "fc8"),
    ],
)
def test_published_network_agrees(name, class_layer, tmp_path):
    definition = DEFINITIONS / f"{name}.prototxt"
    file = write_caffemodel(tmp_path / "w.caffemodel", random_weights(definition), definition)
    network = caffe_network(name, definition, file, order="BGR", mean=MEAN)
    image = random_image(network)
    share, layer = worst(values(network, image), opencv_values(definition, file, image, list(network.layers)))
    assert share < 1e-4, layer
    assert network.class_layer == class_layer


def test_residual_network_agrees(tmp_path):
    definition = tmp_path / "resnet.prototxt"
    definition.write_text(residual_network())
    file = write_caffemodel(tmp_path / "w.caffemodel", random_weights(definition), definition)
    network = caffe_network("resnet", definition, file, order="BGR", mean=MEAN)
    image = random_image(network)
    share, layer = worst(values(network, image), opencv_values(definition, file, image, list(network.layers)))
    assert share < 1e-4, layer
    assert network.layers["eltwise_stage1_block1"].channels == 64


@pytest.mark.parametrize(
    ("name", "layer", "shape"),
    [
        ("caffenet", "conv1", (96, 55, 55)),
        ("caffenet", "conv2", (256, 27, 27)),
        ("caffenet", "conv5", (256, 13, 13)),
        ("caffenet", "pool5", (256, 6, 6)),
        ("alexnet", "norm1", (96, 55, 55)),
        ("googlenet", "inception_3b/output", (480, 28, 28)),
        ("googlenet", "inception_4e/output", (832, 14, 14)),
        ("googlenet", "pool5/7x7_s1", (1024, 1, 1)),
        ("squeezenet_v1_0", "conv10", (1000, 15, 15)),
        ("squeezenet_v1_1", "conv10", (1000, 14, 14)),
    ],
)
def test_published_layer_has_its_published_size(name, layer, shape):
    found = caffe_network(name, DEFINITIONS / f"{name}.prototxt", None, order="BGR", mean=None).layer(layer)
    assert (found.channels, found.height, found.width) == shape


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("caffenet", 60_965_224),
        ("alexnet", 60_965_224),
        ("googlenet", 6_998_552),
        ("squeezenet_v1_0", 1_248_424),
        ("squeezenet_v1_1", 1_235_496),
    ],
)
def test_published_network_has_its_published_number_of_weights(name, count):
    shapes = weight_shapes(DEFINITIONS / f"{name}.prototxt")
    assert sum(int(np.prod(shape)) for blobs in shapes.values() for shape in blobs) == count


def photos(folder: Path, which: tuple[int, ...], side: int) -> list[np.ndarray]:
    """Photos of the archive by number, RGB, resized to a square."""
    with tarfile.open(folder / "photos-1000.tar") as archive:
        members = archive.getmembers()
        files = [archive.extractfile(members[number]).read() for number in which]
    return [np.asarray(Image.open(io.BytesIO(file)).convert("RGB").resize((side, side))) for file in files]


def residual_network() -> str:
    """A bottleneck network with in-place BatchNorm and Scale after every convolution, as in open_nsfw."""
    lines = ['input: "data"', "input_shape { dim: 1 dim: 3 dim: 64 dim: 64 }"]
    lines += [*convolution("conv_1", "data", 16, 7, 2, 3, "1"), relu("relu_1", "conv_1")]
    lines.append(
        'layer { name: "pool1" type: "Pooling" bottom: "conv_1" top: "pool1" '
        "pooling_param { pool: MAX kernel_size: 3 stride: 2 } }"
    )
    bottom = "pool1"
    for stage, (stride, blocks) in enumerate(RESNET_STAGES):
        width = 8 * 2**stage
        for block in range(blocks):
            tag, step = f"stage{stage}_block{block}", stride if block == 0 else 1
            shortcut = bottom
            if block == 0:
                shortcut = f"conv_{tag}_proj_shortcut"
                lines += convolution(shortcut, bottom, 4 * width, 1, step, 0, f"{tag}_proj_shortcut")
            inner = [(f"conv_{tag}_branch2{letter}", letter) for letter in "abc"]
            for name, letter in inner:
                kernel = 3 if letter == "b" else 1
                outputs = 4 * width if letter == "c" else width
                lines += convolution(
                    name, bottom, outputs, kernel, step if letter == "a" else 1, kernel // 2, f"{tag}_branch2{letter}"
                )
                if letter != "c":
                    lines.append(relu(f"relu_{tag}_branch2{letter}", name))
                bottom = name
            lines.append(
                f'layer {{ name: "eltwise_{tag}" type: "Eltwise" bottom: "{shortcut}" bottom: "{bottom}" '
                f'top: "eltwise_{tag}" eltwise_param {{ operation: SUM }} }}'
            )
            lines.append(relu(f"relu_{tag}", f"eltwise_{tag}"))
            bottom = f"eltwise_{tag}"
    lines.append(
        f'layer {{ name: "pool" type: "Pooling" bottom: "{bottom}" top: "pool" '
        "pooling_param { pool: AVE kernel_size: 8 stride: 1 } }"
    )
    lines.append(
        'layer { name: "fc_nsfw" type: "InnerProduct" bottom: "pool" top: "fc_nsfw" '
        "inner_product_param { num_output: 2 weight_filler { type: 'xavier' } } }"
    )
    lines.append('layer { name: "prob" type: "Softmax" bottom: "fc_nsfw" top: "prob" }')
    return "\n".join(lines)


def convolution(name: str, bottom: str, outputs: int, kernel: int, stride: int, pad: int, tag: str) -> list[str]:
    return [
        f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" convolution_param '
        f"{{ num_output: {outputs} kernel_size: {kernel} stride: {stride} pad: {pad} }} }}",
        f'layer {{ name: "bn_{tag}" type: "BatchNorm" bottom: "{name}" top: "{name}" '
        "batch_norm_param { use_global_stats: true } param { lr_mult: 0 } }",
        f'layer {{ name: "scale_{tag}" type: "Scale" bottom: "{name}" top: "{name}" '
        "scale_param { bias_term: true } }",
    ]


def relu(name: str, blob: str) -> str:
    return f'layer {{ name: "{name}" type: "ReLU" bottom: "{blob}" top: "{blob}" }}'
