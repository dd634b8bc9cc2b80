"""The published generators' definitions, with generated weights, against OpenCV's importer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from caffe_files import opencv_values, random_weights, worst, write_caffemodel

import pipeline.nets
from pipeline.nets.caffe import caffe_function, weight_shapes

DEFINITIONS = Path(pipeline.nets.__file__).parent / "definitions"


LAST = {"fc6": "deconv0", "fc7": "deconv0", "pool5": "deconv0", "conv3": "conv1_1_tanh"}  # the layer of the images


@pytest.mark.parametrize(
    ("layer", "code"), [("fc6", (4096,)), ("fc7", (4096,)), ("pool5", (256, 6, 6)), ("conv3", (384, 13, 13))]
)
def test_published_generator_agrees_with_opencv(tmp_path, layer, code):
    definition = DEFINITIONS / f"deepsim_{layer}.prototxt"
    file = write_caffemodel(tmp_path / "w.caffemodel", random_weights(definition), definition)
    generator, shape, nodes = caffe_function(definition, file)
    assert shape == code
    drawn = np.abs(np.random.RandomState(0).normal(0, 3, (1, *code))).astype(np.float32)
    with torch.no_grad():
        image = generator(torch.from_numpy(drawn)).numpy()
    assert image.shape == (1, 3, 256, 256)
    last = list(nodes)[-1]
    share, _ = worst({last: image}, opencv_values(definition, file, drawn, [last]))
    assert share < 1e-4
    assert last == LAST[layer]


@pytest.mark.parametrize("layer", ["fc6", "fc7", "pool5"])
def test_published_generator_has_its_published_shapes(layer):
    """Nine up-convolutional layers, stored as (in, out, rows, columns), and three layers of another kind below them."""
    shapes = weight_shapes(DEFINITIONS / f"deepsim_{layer}.prototxt")
    first = 512 if layer == "pool5" else 256
    up = [(first, 256, 4, 4), (256, 512, 3, 3), (512, 256, 4, 4), (256, 256, 3, 3), (256, 128, 4, 4), (128, 128, 3, 3),
          (128, 64, 4, 4), (64, 32, 4, 4), (32, 3, 4, 4)]  # fmt: skip
    assert [weight for weight, _ in shapes.values()][3:] == up
    below = [weight for weight, _ in shapes.values()][:3]
    assert below == ([(512, 256, 3, 3), (512, 512, 3, 3), (512, 512, 3, 3)] if layer == "pool5" else [(4096, 4096)] * 3)


def test_the_generator_of_conv3_has_its_published_shapes():
    """As listed by those who converted it: three convolutions below, and two between the up-convolutions."""
    shapes = weight_shapes(DEFINITIONS / "deepsim_conv3.prototxt")
    assert [(name, weight) for name, (weight, _) in shapes.items()] == [
        ("Rconv6", (384, 384, 3, 3)), ("Rconv7", (512, 384, 3, 3)), ("Rconv8", (512, 512, 2, 2)),
        ("deconv5", (512, 256, 4, 4)), ("conv5_1", (256, 256, 3, 3)), ("deconv4", (256, 128, 4, 4)),
        ("conv4_1", (128, 128, 3, 3)), ("deconv3", (128, 128, 4, 4)), ("conv3_1", (128, 128, 3, 3)),
        ("deconv2", (128, 64, 4, 4)), ("conv2_1", (32, 64, 3, 3)), ("deconv1", (32, 16, 4, 4)),
        ("conv1_1", (3, 16, 3, 3)),
    ]  # fmt: skip
