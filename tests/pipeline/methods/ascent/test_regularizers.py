from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline.methods.ascent import regularizers
from pipeline.methods.ascent.regularizers import blur

FEW_VALUES = st.sampled_from([0.0, -0.0, 0.1, 0.3, 1.0, 3e7])  # ties are the rule
ANY_VALUE = st.floats(-1e6, 1e6, allow_nan=False, width=32)
ROWS = st.one_of(st.lists(FEW_VALUES, min_size=1, max_size=30), st.lists(ANY_VALUE, min_size=1, max_size=30))
PERCENTILES = st.one_of(st.sampled_from([0.0, 20.0, 50.0, 90.0, 100 / 3, 99.999]), st.floats(0, 100))


def image_of(seed: int, shape=(4, 3, 6, 5)) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(seed).normal(0, 10, shape))


@hypothesis_settings(deadline=None)
@given(row=ROWS, percentile=PERCENTILES, dtype=st.sampled_from([np.float32, np.float64]))
def test_percentiles_are_those_of_numpy_bit_for_bit(row, percentile, dtype):
    values = np.array([row, row[::-1]], dtype)
    ours = regularizers.percentiles(torch.from_numpy(values), percentile).numpy()
    assert ours.dtype == dtype
    np.testing.assert_array_equal(ours, np.percentile(values, percentile, axis=1))


@hypothesis_settings(deadline=None)
@given(row=ROWS, index=st.integers(0, 29))
def test_selecting_agrees_with_sorting(row, index):
    values, index = torch.tensor([row]), min(index, len(row) - 1)
    low, high = regularizers._order_statistics(values, index)
    ordered = sorted(values[0].tolist())
    assert (low.item(), high.item()) == (ordered[index], ordered[min(index + 1, len(row) - 1)])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("percentile", [0.0, 20.0, 50.0, 90.0, 100.0])
def test_percentiles_on_a_gpu_are_those_of_numpy_bit_for_bit(dtype, percentile):
    values = image_of(1).flatten(1).to(dtype).round(decimals=0)
    ours = regularizers.percentiles(values.cuda(), percentile).cpu().numpy()
    np.testing.assert_array_equal(ours, np.percentile(values.numpy(), percentile, axis=1))


def test_percentiles_refuse_what_is_no_percentile():
    with pytest.raises(ValueError, match="percentile 101 is outside"):
        regularizers.percentiles(torch.zeros(1, 3), 101)


# Each clip, written a second time for one image with loops, near the words of the paper.


def slow_small_value(image, gradient, percentile):
    threshold = np.percentile(np.abs(image), percentile)
    out = image.copy()
    for at in np.ndindex(image.shape):
        if abs(image[at]) < threshold:
            out[at] = 0
    return out


def slow_pixels(measure):
    def clip(image, gradient, percentile):
        values = np.array(
            [[measure(image[:, y, x], gradient[:, y, x]) for x in range(image.shape[2])] for y in range(image.shape[1])]
        )
        out, threshold = image.copy(), np.percentile(values, percentile)
        for y, x in np.argwhere(values < threshold):
            out[:, y, x] = 0
        return out

    return clip


CLIPS = {
    "small_value": (lambda i, g, p: regularizers.clip_small_value(i, p), slow_small_value),
    "small_norm": (
        lambda i, g, p: regularizers.clip_small_norm(i, p),
        slow_pixels(lambda pixel, slope: (pixel**2).sum() ** 0.5),
    ),
    "signed_contribution": (
        regularizers.clip_signed_contribution,
        slow_pixels(lambda pixel, slope: (-slope * pixel).sum()),
    ),
    "contribution": (regularizers.clip_contribution, slow_pixels(lambda pixel, slope: abs((slope * pixel).sum()))),
}


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("percentile", [20.0, 50.0, 90.0, 97.3])
@pytest.mark.parametrize("ties", [False, True])
def test_clips_agree_with_loops_over_one_image_at_a_time(clip, percentile, ties):
    fast, slow = CLIPS[clip]
    image, gradient = image_of(1), image_of(2)
    if ties:
        image, gradient = image.div(10).round(), gradient.sign()
    expected = [slow(i, g, percentile) for i, g in zip(image.numpy(), gradient.numpy(), strict=True)]
    np.testing.assert_array_equal(fast(image, gradient, percentile).numpy(), np.stack(expected))


@pytest.mark.parametrize("clip", CLIPS)
def test_entries_equal_to_the_threshold_survive(clip):
    fast, _ = CLIPS[clip]
    image, gradient = torch.full((2, 3, 4, 4), 2.0), torch.ones(2, 3, 4, 4)
    assert torch.equal(fast(image, gradient, 90.0), image)


@pytest.mark.parametrize("clip", ["small_value", "small_norm", "contribution"])
def test_a_threshold_of_zero_clips_nothing(clip):
    fast, _ = CLIPS[clip]
    image = torch.zeros(1, 3, 5, 5)
    image[0, :, 0, 0] = -3.0
    assert torch.equal(fast(image, torch.ones_like(image), 50.0), image)


@pytest.mark.parametrize(("percentile", "zeroed"), [(20.0, 10306), (50.0, 25764), (90.0, 46376)])
def test_share_of_pixels_that_become_zero(percentile, zeroed):
    image = image_of(0, (1, 3, 227, 227))
    assert int((regularizers.clip_small_norm(image, percentile) == 0).all(dim=1).sum()) == zeroed


# Figures of the start image of 227 × 227 pixels, seed 0 and seed 1, computed once with numpy and scipy.


@pytest.mark.parametrize(
    ("seed", "radius", "norm", "first", "centre"),
    [
        (0, 1.0, 1118.5198063527, [8.796607192, 6.249483566, 6.000194246, 7.126456364], -2.07371521348),
        (1, 1.0, 1114.3629571346, [4.453671552, -0.9031266388, -3.833345933, -2.867936009], -2.30957856775),
        (0, 0.5, 2523.7344073391, [14.60628794, 4.929404028], None),
        (1, 0.5, 2523.4706940073, [12.1027375, -3.889152285], None),
    ],
)
def test_blurred_start_images(seed, radius, norm, first, centre):
    blurred = blur(image_of(seed, (1, 3, 227, 227)), radius)
    assert float(blurred.norm()) == pytest.approx(norm, rel=1e-12)
    assert blurred[0, 0, 0, : len(first)].tolist() == pytest.approx(first, rel=1e-9)
    if centre is not None:
        assert float(blurred[0, 1, 113, 113]) == pytest.approx(centre, rel=1e-10)


@pytest.mark.parametrize(
    ("seed", "percentile", "threshold", "norm"),
    [
        (0, 20.0, 9.945868342433, 3847.3158502065),
        (1, 20.0, 9.984574351028, 3849.4185523053),
        (0, 50.0, 15.330400282858, 3502.7811529480),
        (1, 50.0, 15.345726393984, 3503.8221030444),
    ],
)
def test_small_norm_of_start_images(seed, percentile, threshold, norm):
    image = image_of(seed, (1, 3, 227, 227))
    assert float(regularizers.percentiles(image.norm(dim=1).flatten(1), percentile)) == pytest.approx(
        threshold, rel=1e-12
    )
    assert float(regularizers.clip_small_norm(image, percentile).norm()) == pytest.approx(norm, rel=1e-12)


@pytest.mark.parametrize(("seed", "threshold"), [(0, 6.716761044671), (1, 6.725374984168)])
def test_small_values_of_start_images(seed, threshold):
    image = image_of(seed, (1, 3, 227, 227))
    assert float(regularizers.percentiles(image.abs().flatten(1), 50.0)) == pytest.approx(threshold, rel=1e-12)
    assert int((regularizers.clip_small_value(image, 50.0) == 0).sum()) == 77293


@pytest.mark.parametrize(
    ("seed", "threshold", "norm"), [(0, 28.353165434022, 1679.5970315160), (1, 28.164170492685, 1684.3448191886)]
)
def test_contributions_of_start_images(seed, threshold, norm):
    image = image_of(seed, (1, 3, 227, 227))
    gradient = torch.from_numpy(np.random.RandomState(12345).normal(0, 1, (1, 3, 227, 227)))
    contribution = (gradient * image).sum(dim=1).abs().flatten(1)
    assert float(regularizers.percentiles(contribution, 90.0)) == pytest.approx(threshold, rel=1e-12)
    assert float(regularizers.clip_contribution(image, gradient, 90.0).norm()) == pytest.approx(norm, rel=1e-12)


@pytest.mark.parametrize("levels", [[104.0, 117.0, 123.0], [94.2, 130.8, 0.0]])
def test_range_clip_agrees_with_its_definition(levels):
    mean = torch.tensor(levels, dtype=torch.float64)[:, None, None].expand(3, 6, 5)
    image = 20 * image_of(5)
    expected = (image + mean).clamp(0, 255) - mean
    torch.testing.assert_close(regularizers.clip_range(image, mean), expected, rtol=0, atol=1e-12)
    assert ((image + mean < 0) | (image + mean > 255)).any()


def test_regularizers_act_in_the_published_order(style):
    image, gradient = image_of(3), image_of(4)
    all_of_them = style(
        decay=0.1,
        blur_radius=0.7,
        blur_every=3,
        small_val_percentile=10,
        small_norm_percentile=20,
        px_benefit_percentile=15,
        px_abs_benefit_percentile=30,
    )
    by_hand = blur(image * 0.9, 0.7)
    by_hand = regularizers.clip_small_value(by_hand, 10)
    by_hand = regularizers.clip_small_norm(by_hand, 20)
    by_hand = regularizers.clip_signed_contribution(by_hand, gradient, 15)
    by_hand = regularizers.clip_contribution(by_hand, gradient, 30)
    assert torch.equal(regularizers.regularize(image, gradient, all_of_them, 0), by_hand)


@pytest.mark.parametrize("iteration", range(9))
def test_blur_comes_at_iteration_zero_and_then_every_so_often(style, iteration):
    image = image_of(3)
    smooth = regularizers.regularize(image, image, style(blur_radius=1.0, blur_every=4), iteration)
    assert torch.equal(smooth, blur(image, 1.0) if iteration % 4 == 0 else image)


@pytest.mark.parametrize("changes", [{"blur_radius": 1.0}, {"blur_every": 4}, {}])
def test_a_style_without_numbers_changes_nothing(style, changes):
    image = image_of(3)
    assert torch.equal(regularizers.regularize(image, image, style(**changes), 0), image)


def test_operators_leave_their_input_alone(style):
    image, gradient = image_of(3), image_of(4)
    before = image.clone()
    all_of_them = style(decay=0.1, blur_radius=0.7, blur_every=3, small_val_percentile=10, px_abs_benefit_percentile=30)
    regularizers.regularize(image, gradient, all_of_them, 0)
    assert torch.equal(image, before)
