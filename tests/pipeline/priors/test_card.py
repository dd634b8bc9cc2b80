"""What a prior's card says of the cost of a code."""

from __future__ import annotations

import torch
from folder_prior import untrained
from torch.utils.flop_counter import FlopCounterMode

from pipeline.priors.card import prior_card


def test_operations_are_those_that_torch_counts():
    prior = untrained()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        prior.generator(torch.zeros(1, *prior.code_shape))
    assert prior_card(prior).macs == counter.get_total_flops() // 2 > 0
