"""Generators: codes and images of every form, and the two layers that double a map."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from pipeline.errors import SettingsError
from pipeline.priors.generator import (
    LARGEST_GRID,
    SMALLEST_GRID,
    DoublingConvolution,
    Generator,
    GeneratorShape,
    RepeatingConvolution,
    without_checkerboard,
)

Layer = DoublingConvolution | RepeatingConvolution

SHAPE = GeneratorShape(
    code=(10,), image=(64, 64), hidden=12, grid_channels=16, least_channels=4, twice_up_to=8, slope=0.2, scale=2.0
)


@given(rows=st.integers(8, 300), columns=st.integers(8, 300))
def test_the_grid_is_small_and_the_image_large_enough(rows, columns):
    shape = replace(SHAPE, image=(rows, columns))
    assert max(shape.grid) <= LARGEST_GRID
    assert max(shape.grid) >= SMALLEST_GRID
    for side, wanted in zip(shape.size, (rows, columns), strict=True):
        assert wanted <= side < wanted + 2**shape.doublings


@pytest.mark.parametrize(
    ("image", "grid", "doublings"), [(64, 4, 4), (96, 6, 4), (128, 4, 5), (224, 7, 5), (227, 4, 6)]
)
def test_known_sizes(image, grid, doublings):
    shape = replace(SHAPE, image=(image, image))
    assert (shape.grid, shape.doublings) == ((grid, grid), doublings)


@settings(deadline=None, max_examples=20)
@given(code=st.sampled_from([(10,), (3, 6, 6), (5, 13, 13), (4, 1, 1)]), image=st.sampled_from([(16, 16), (40, 24)]))
def test_codes_of_any_form_become_images(code, image):
    shape = replace(SHAPE, code=code, image=image)
    made = Generator(shape)(torch.randn(2, *code)).detach()
    assert tuple(made.shape) == (2, 3, *shape.size)
    assert float(made.abs().max()) < 1


@settings(deadline=None)
@given(rows=st.integers(1, 6), columns=st.integers(1, 6), seed=st.integers(0, 9))
def test_a_repeating_convolution_is_repetition_and_convolution(rows, columns, seed):
    layer, value = filled(RepeatingConvolution(3, 2), seed, rows, columns)
    repeated = value.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    expected = functional.conv2d(repeated, layer.weight, layer.bias, padding=2)
    torch.testing.assert_close(layer(value), expected, rtol=1e-10, atol=1e-10)


@settings(deadline=None)
@given(rows=st.integers(1, 6), columns=st.integers(1, 6), seed=st.integers(0, 9))
def test_a_doubling_convolution_is_the_mean_of_four_convolutions_side_by_side(rows, columns, seed):
    layer, value = filled(DoublingConvolution(3, 2), seed, rows, columns)
    places = torch.zeros(2, 2, 2 * rows, 2 * columns, dtype=torch.float64)
    for down in range(2):
        for right in range(2):
            kernels = layer.weight.unflatten(0, (2, 4))[:, 2 * down + right]
            places[:, :, down::2, right::2] = functional.conv2d(value, kernels, layer.bias, padding=1)
    above = torch.cat([places[:, :, :1], places[:, :, :-1]], 2)
    both = (places + above) / 2
    expected = (both + torch.cat([both[..., :1], both[..., :-1]], 3)) / 2
    torch.testing.assert_close(layer(value), expected, rtol=1e-10, atol=1e-10)


def test_a_doubling_convolution_draws_no_checkerboard_whatever_its_kernels_are():
    layer, _ = filled(DoublingConvolution(3, 2), 0, 1, 1)
    flat = layer(torch.randn(1, 3, 1, 1, dtype=torch.float64).expand(1, 3, 6, 6))[..., 3:-2, 3:-2]
    torch.testing.assert_close(flat, flat[..., :1, :1].expand_as(flat))


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 99), form=st.sampled_from([DoublingConvolution, RepeatingConvolution]))
def test_even_doublings_add_no_mesh_to_a_slow_wave(seed, form):
    """Doubling repeats a wave's frequency, mirrored at half the new resolution; next to nothing of it is left."""
    layer, _ = filled(form(1, 1), seed, 1, 1)
    with torch.no_grad():
        layer.weight.abs_()  # which lets slow waves through
    layer.even()
    wave = torch.cos(2 * torch.pi / 32 * torch.arange(72.0, dtype=torch.float64)).expand(1, 1, 9, 72)
    amplitude = torch.fft.rfft(layer(wave).detach()[0, 0, 9, 8:136]).abs()  # two periods, away from the border
    assert float(amplitude[64 - 2]) <= 0.02 * float(amplitude[2])


def test_even_kernels_stay_as_they_are():
    once = Generator(SHAPE)
    once.even()
    twice = Generator(SHAPE)
    twice.load_state_dict(once.state_dict())
    twice.even()
    for name, value in twice.state_dict().items():
        torch.testing.assert_close(value, once.state_dict()[name])


@given(down=st.integers(0, 16), right=st.integers(0, 16))
def test_the_notch_keeps_what_its_formula_says_of_every_frequency(down, right):
    row, column = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    wave = torch.cos(2 * torch.pi / 32 * (down * row + right * column)).double()
    kept = without_checkerboard(wave[None, None])[0, 0]
    share = 1 - (torch.sin(torch.tensor(torch.pi * down / 32)) * torch.sin(torch.tensor(torch.pi * right / 32))) ** 2
    torch.testing.assert_close(kept[1:-1, 1:-1], share.double() * wave[1:-1, 1:-1], rtol=1e-5, atol=1e-5)


def test_the_notch_works_in_evaluation_alone_and_at_the_borders_too():
    torch.manual_seed(0)
    plain, notched = Generator(SHAPE), Generator(replace(SHAPE, notch=True))
    notched.load_state_dict(plain.state_dict())
    code = torch.randn(2, 10)
    torch.testing.assert_close(notched.train()(code), plain(code))
    image = torch.atanh(plain.eval()(code))
    torch.testing.assert_close(notched.eval()(code), torch.tanh(without_checkerboard(image)))
    alternating = (-1.0) ** torch.arange(6)
    board = (alternating[:, None] * alternating).expand(1, 3, 6, 6)
    assert float(without_checkerboard(board)[..., 1:-1, 1:-1].abs().max()) == 0
    torch.testing.assert_close(without_checkerboard(torch.ones(1, 3, 6, 6)), torch.ones(1, 3, 6, 6))


def filled(layer: Layer, seed: int, rows: int, columns: int) -> tuple[Layer, torch.Tensor]:
    torch.manual_seed(seed)
    layer = layer.double()
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    return layer, torch.randn(2, 3, rows, columns, dtype=torch.float64)


@pytest.mark.parametrize("form", [DoublingConvolution, RepeatingConvolution])
def test_a_flat_map_stays_flat_before_training(form):
    """No checkerboard is built in: where all pixels are alike, so are those of the doubled map, but at its border."""
    layer = form(3, 2).double()
    layer.initialise(0.2)
    flat = layer(torch.randn(1, 3, 1, 1, dtype=torch.float64).expand(1, 3, 6, 6))[..., 3:-3, 3:-3]
    torch.testing.assert_close(flat, flat[..., :1, :1].expand_as(flat))
    assert float(flat.detach().abs().max()) > 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"code": (3, 4)}, "expected \\(entry"), ({"image": (3, 64)}, "at least 8"), ({"scale": 0.0}, "all codes zero")],
)
def test_invalid_shapes_are_refused(changes, said):
    with pytest.raises(SettingsError, match=said):
        replace(SHAPE, **changes)


@pytest.mark.parametrize("wrong", [{"hidden": 0}, {"grid_channels": -1}, {"least_channels": 0}, {"slope": 1e308}])
def test_a_shape_that_no_generator_has_is_refused(wrong):
    numbers = {"hidden": 6, "grid_channels": 4, "least_channels": 2, "twice_up_to": 0, "slope": 0.2, "scale": 1.0}
    with pytest.raises(SettingsError, match="generator"):
        GeneratorShape((4,), (8, 8), **(numbers | wrong))
