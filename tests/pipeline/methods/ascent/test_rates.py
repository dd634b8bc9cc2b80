from __future__ import annotations

import pytest
import torch

from pipeline.methods.ascent.rates import step_rates, step_size

GRADIENT = torch.stack([torch.full((3, 2, 2), 0.5), torch.full((3, 2, 2), -2.0)]).double()  # ‖g‖² = 3 and 48
OBJECTIVE = torch.tensor([0.25, 0.999], dtype=torch.float64)


def rates(style, iteration=0, objective=OBJECTIVE):
    return step_rates(style, GRADIENT, objective, iteration).tolist()


def test_constant(style):
    assert rates(style(policy="constant", rate=7.0)) == [7.0, 7.0]


def test_progress_is_capped_for_each_item_alone(style):
    assert rates(style(policy="progress", desired_progress=2.4, max_rate=0.5)) == pytest.approx([0.5, 0.05])


def test_progress01_slows_as_the_unit_nears_one(style):
    policy = style(policy="progress01", early_progress=0.1, late_progress_factor=0.5, max_rate=9.0)
    assert rates(policy) == pytest.approx([0.1 / 3, 0.0005 / 48])


def test_progress01_slows_as_a_minimized_unit_nears_zero(style):
    policy = style(
        policy="progress01", early_progress=0.1, late_progress_factor=0.5, max_rate=9.0, direction="minimize"
    )
    assert rates(policy, objective=-OBJECTIVE) == pytest.approx([0.1 / 3, 0.1 / 48])


def test_scale_free_moves_entries_by_pixel_levels_whatever_the_gradient(style):
    policy = style(policy="scale_free", step_start=4.0, step_end=0.4, max_iter=5)
    assert rates(policy, 0) == pytest.approx([8.0, 2.0])
    assert rates(policy, 3) == pytest.approx([0.8, 0.2])  # the last of four updates


def test_steps_fall_linearly(style):
    policy = style(step_start=4.0, step_end=1.0, max_iter=5)
    assert [step_size(policy, ii) for ii in range(4)] == pytest.approx([4, 3, 2, 1])
    assert step_size(style(step_start=4.0, max_iter=2), 0) == 4.0


@pytest.mark.parametrize("policy", ["progress", "progress01", "scale_free"])
def test_a_zero_gradient_has_rate_zero(style, policy):
    rate = step_rates(style(policy=policy), torch.zeros(1, 3, 2, 2), torch.zeros(1), 0)
    assert rate.tolist() == [0.0]
