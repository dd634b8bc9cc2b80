"""Hits of every place and image go back in batches as they do one at a time, and lie in their windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from atlas_viewer.evidence.tops import ZERO_BYTE
from pipeline.errors import SettingsError, UnitError
from pipeline.methods.tops import backproject
from pipeline.methods.tops.backproject import back_project, encode8
from pipeline.nets.cone import Cone, FullPass
from pipeline.nets.network import GraphBuilder, Network
from pipeline.nets.operators import GlobalPool, InnerProduct, Product, Relu
from pipeline.nets.preprocessing import Preprocessing
from pipeline.nets.sliding import AveragePool, ChannelNorm, Convolution, MaxPool
from pipeline.nets.window import window

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network() -> Network:
    """Local layers up to `conv3`; `gated` sees everything at every position; `fc` at one."""
    torch.manual_seed(4)
    mean = np.random.RandomState(0).uniform(90, 130, (3, 47, 43))
    b = GraphBuilder(Preprocessing(47, 43, "BGR", mean, np.full(3, 0.05)))
    at = b.add("conv1", Convolution(torch.randn(6, 3, 3, 3), torch.randn(6), (2, 2), (1, 1)), [b.input], "conv1")
    at = b.add("relu1", Relu(), [at], "relu1")
    at = b.add("norm1", ChannelNorm(3, 0.5, 0.75, 1.0), [at], "norm1")
    at = b.add("pool1", MaxPool((3, 3), (2, 2), (0, 0), "caffe"), [at], "pool1")
    at = b.add(
        "conv2", Convolution(torch.randn(8, 3, 3, 3) / 5, torch.randn(8), (1, 1), (1, 1), groups=2), [at], "conv2"
    )
    at = b.add("relu2", Relu(), [at], "relu2")
    at = b.add("mean2", AveragePool((2, 2), (1, 1), (1, 1), "torch", count_padding=False), [at], "mean2")
    at = b.add("conv3", Convolution(torch.randn(5, 8, 3, 3) / 5, None, (1, 1), (0, 0)), [at], "conv3")
    gate = b.add("gate", GlobalPool("max"), [at], "gate")
    gated = b.add("gated", Product(), [at, gate], "gated")
    return b.build("hits", b.add("fc", InnerProduct(torch.randn(4, 5 * 11 * 10) / 9, None), [gated], "fc"))


def pictures(count: int) -> np.ndarray:
    return np.random.RandomState(1).randint(0, 256, (count, 47, 43, 3), np.uint8)


def every_hit(network: Network, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """Units and positions: every position of the layer once."""
    there = network.layer(layer)
    positions = np.array(list(np.ndindex(there.height, there.width)))
    return np.arange(len(positions)) % there.channels, positions


def project(network, layer, images, units, positions, **changes):
    asked = {"lrn": "derivative", "batch": 7, "device": CPU} | changes
    return back_project(network, layer, images, units, positions, **asked)


@pytest.mark.parametrize("layer", ["conv1", "pool1", "relu2", "conv3", "gated", "fc"])
def test_hits_together_are_the_full_images_gradients_one_at_a_time(network, layer):
    units, positions = every_hit(network, layer)
    images = pictures(len(units))
    found = project(network, layer, images, units, positions)
    centred = network.preprocessing.centred(images)
    checked = range(0, len(units), 1 if len(units) < 50 else 17)
    for hit in {*checked, len(units) - 1}:
        (row, column), unit = positions[hit].tolist(), int(units[hit])
        seen = window(network, layer, row, column)
        assert tuple(found.windows[hit]) == (seen.top, seen.left, seen.bottom, seen.right)
        image = torch.from_numpy(centred[hit : hit + 1]).requires_grad_()
        value = FullPass(network, layer, (row, column)).activations(image, torch.tensor([unit]))
        np.testing.assert_allclose(found.activation[hit], value.item(), rtol=1e-4, atol=1e-5)
        framed = in_image(network, found, hit)
        if layer != "relu2" or value > 0:
            (expected,) = torch.autograd.grad(value.sum(), image)
            scale = float(expected.abs().max())
            np.testing.assert_allclose(framed[1], expected[0], rtol=1e-3, atol=1e-5 * scale)
        outside = framed.copy()
        outside[:, :, seen.top : seen.bottom, seen.left : seen.right] = 0
        assert not outside.any()


def in_image(network: Network, found, hit: int) -> np.ndarray:
    """A hit's signals (rule, channel, row, column) laid over the whole image; what sticks out must be zero."""
    size = network.preprocessing
    signals, (top, left) = found.signals[:, hit], found.frames[hit]
    wide = np.zeros((*signals.shape[:2], 3 * size.height, 3 * size.width), np.float32)
    y, x = size.height + top, size.width + left
    wide[:, :, y : y + signals.shape[2], x : x + signals.shape[3]] = signals
    inside = wide[:, :, size.height : 2 * size.height, size.width : 2 * size.width]
    assert np.count_nonzero(inside) == np.count_nonzero(wide)
    return inside.copy()


@pytest.mark.parametrize("layer", ["conv3", "gated"])
def test_batches_orders_and_rules_asked_for_do_not_matter(network, layer):
    units, positions = every_hit(network, layer)
    images, order = pictures(len(units)), np.random.RandomState(3).permutation(len(units))
    together = project(network, layer, images, units, positions, batch=64, lrn="ignore")
    scale = np.abs(together.signals).max()
    mixed = project(network, layer, images[order], units[order], positions[order], batch=3, lrn="ignore")
    np.testing.assert_allclose(mixed.signals, together.signals[:, order], rtol=1e-3, atol=1e-5 * scale)
    assert np.array_equal(mixed.frames, together.frames[order])
    alone = project(network, layer, images, units, positions, lrn="ignore", rules=["guided"])
    assert alone.rules == ("guided",)
    np.testing.assert_allclose(alone.signals[0], together.signals[2], rtol=1e-3, atol=1e-5 * scale)


def test_interior_hits_share_one_run_and_borders_need_few_more(network, monkeypatch):
    built = []
    monkeypatch.setattr(backproject, "Cone", lambda *args: built.append(args) or Cone(*args))
    units, positions = every_hit(network, "conv3")
    inside = (abs(positions - [5, 5]) <= 1).all(axis=1)
    project(network, "conv3", pictures(9), units[inside], positions[inside], batch=9)
    assert len(built) == 2  # one to weigh cones against the whole image
    built.clear()
    project(network, "conv3", pictures(len(units)), units, positions)
    assert len(built) - 1 < len(units) / 2


def test_whole_inputs_cut_windows_pixels_and_centred_images_say_the_same(network):
    units, positions = np.array([1, 2, 0]), np.array([[0, 0], [5, 4], [10, 9]])
    for layer in ("conv3", "gated"):
        images = pictures(3)
        whole = project(network, layer, images, units, positions)
        cuts = [(slice(None), slice(top, bottom), slice(left, right)) for top, left, bottom, right in whole.windows]
        centred = network.preprocessing.centred(images)
        for form in (
            [image[cut[1:]] for image, cut in zip(images, cuts, strict=True)],
            centred,
            [image[cut] for image, cut in zip(centred, cuts, strict=True)],
        ):
            again = project(network, layer, form, units, positions)
            assert np.array_equal(again.signals, whole.signals)
            assert np.array_equal(again.activation, whole.activation)


def test_frames_lie_where_the_window_would_if_the_image_did_not_end(network):
    found = project(network, "conv2", pictures(2), np.zeros(2), np.array([[0, 0], [6, 5]]))
    assert found.signals.shape[3:] == (15, 15)  # conv1 3 and pool1 3 by strides of 2, conv2 3: 1+2·(1+2·…)
    assert found.frames.tolist() == [[-5, -5], [19, 15]]
    assert found.windows.tolist() == [[0, 0, 10, 10], [19, 15, 34, 30]]


def test_the_rules_differ(network):
    units, positions = every_hit(network, "fc")
    found = project(network, "fc", pictures(1), units, positions)
    first, second, third = found.signals
    assert not np.allclose(first, second) and not np.allclose(first, third) and not np.allclose(second, third)


def test_the_network_is_left_as_it_was(network):
    image = torch.from_numpy(network.preprocessing.centred(pictures(1)))
    before = network.run(image, ["fc"])["fc"]
    units, positions = every_hit(network, "gated")
    project(network, "gated", pictures(len(units)), units, positions)
    assert torch.equal(network.run(image, ["fc"])["fc"], before)
    assert network._digest() == network.digest


def test_no_hits_give_empty_arrays(network):
    found = project(network, "conv3", [], np.zeros(0), np.zeros((0, 2)))
    assert found.signals.shape[:3] == (3, 0, 3) and found.windows.shape == (0, 4)


@pytest.mark.parametrize(
    ("layer", "unit", "position", "changes", "error", "words"),
    [
        ("conv9", 0, (0, 0), {}, UnitError, "nearest: conv"),
        ("conv3", 5, (0, 0), {}, UnitError, r"layer conv3: no unit 5 at 0, 0; its shape is \(5, 11, 10\)"),
        ("conv3", 0, (0, 10), {}, UnitError, "no unit 0 at 0, 10"),
        ("conv3", 0, (0, 0), {"rules": ["deconv"]}, SettingsError, "rule: got 'deconv', expected one of deconvnet"),
        ("conv3", 0, (0, 0), {"lrn": "skip"}, SettingsError, "lrn: got 'skip', expected one of derivative, ignore"),
    ],
)
def test_what_is_not_there_is_named(network, layer, unit, position, changes, error, words):
    with pytest.raises(error, match=words):
        project(network, layer, pictures(1), [unit], [position], **changes)


def test_images_of_another_size_are_refused(network):
    with pytest.raises(ValueError, match=r"got an image of \(46, 43\)"):
        project(network, "conv3", pictures(1)[:, 1:], [0], [(0, 0)])
    with pytest.raises(ValueError, match="got 2 images, 1 units and 1 positions"):
        project(network, "conv3", pictures(2), [0], [(0, 0)])


def test_a_full_device_halves_the_batch_and_says_so(network, monkeypatch):
    run = backproject._run

    def small(cone, images, *rest):
        if len(images) > 2:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return run(cone, images, *rest)

    units, positions = every_hit(network, "gated")
    plain = project(network, "gated", pictures(len(units)), units, positions, batch=2)
    monkeypatch.setattr(backproject, "_run", small)
    found = project(network, "gated", pictures(len(units)), units, positions, batch=8)
    assert (plain.halved, found.halved) == (0, 2)
    assert np.array_equal(found.signals, plain.signals)


def decode8(encoded, scale):
    """What a reader makes of the stored bytes (docs/format.md)."""
    scale = np.asarray(scale, np.float32).reshape(-1, *[1] * (encoded.ndim - 1))
    return (encoded.astype(np.float32) - ZERO_BYTE) * scale


FLOATS = st.floats(-(2.0**99), 2.0**99, width=32)


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.float32, st.tuples(st.integers(0, 4), st.integers(1, 3), st.integers(1, 5)), elements=FLOATS))
def test_eight_bits_lose_at_most_half_a_scale(array):
    encoded, scale = encode8(array)
    decoded = decode8(encoded, scale)
    assert encoded.dtype == np.uint8 and scale.shape == array.shape[:1] and decoded.shape == array.shape
    largest = np.abs(array).max(axis=(1, 2), initial=0).astype(np.float64)
    np.testing.assert_allclose(scale, largest / 127, rtol=1e-6, atol=1e-44)
    bound = scale.astype(np.float64) * (0.5 + 1e-4) + 1e-42
    assert (np.abs(decoded.astype(np.float64) - array) <= bound[:, None, None]).all()
    assert (decoded[array == 0] == 0).all()
    again, same = encode8(decoded)
    assert np.array_equal(again, encoded) or (largest < 1e-36).any()
    assert np.allclose(same, scale, rtol=1e-6)


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(np.float32, st.tuples(st.integers(0, 4), st.integers(1, 3), st.integers(1, 5)), elements=FLOATS))
def test_eight_bits_are_those_of_all_hits_at_once_in_any_memory_layout(array):
    values = array.astype(np.float64)
    scale = (np.abs(values).max(axis=(1, 2), initial=0.0) / 127).astype(np.float32)
    step = scale.astype(np.float64)[:, None, None]
    steps = np.divide(values, step, out=np.zeros_like(values), where=step > 0)
    want = (np.clip(np.rint(steps), -128, 127) + 128).astype(np.uint8)
    for turned, held in ((want, array), (want.transpose(0, 2, 1)[..., ::-1], array.transpose(0, 2, 1)[..., ::-1])):
        encoded, again = encode8(held)
        assert np.array_equal(encoded, turned) and np.array_equal(again, scale)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_eight_bits_refuse_what_is_no_number(bad):
    with pytest.raises(ValueError, match="not finite"):
        encode8(np.array([[1.0, bad]]))
