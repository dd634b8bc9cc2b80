"""Runs what a GPU would run on `other_device`, part by part: python tests/pipeline/on_other_device.py PART …"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path[:0] = [str(Path(__file__).parent)]

from device_parts import PARTS, Place  # noqa: E402
from folder_prior import untrained  # noqa: E402
from other_device import DEVICE, Elsewhere, Misplaced, Watch  # noqa: E402
from tiny_prior import network  # noqa: E402

from pipeline.nets.sliding import AveragePool  # noqa: E402
from pipeline.resources import placed, placed_prior  # noqa: E402


def refusals() -> None:
    """The device refuses what a GPU refuses, so that the other parts can fail."""
    with Watch() as watch:
        there, here = torch.arange(6.0).view(2, 3).to(DEVICE), torch.ones(2, 3)
        assert there.device == DEVICE and isinstance(there, Elsewhere) and not isinstance(there.cpu(), Elsewhere)
        assert watch.crossings == {"_to_copy": 2}
        refused: dict[str, Callable[[], object]] = {
            "sum": lambda: there + here,
            "in place": lambda: there.add_(here),
            "out": lambda: torch.add(there, there, out=here),
            "condition": lambda: torch.where(here > 0, there, there),
            "index": lambda: there[:, torch.tensor([0, 2])],
            "index_select": lambda: there.index_select(1, torch.tensor([0, 2])),
            "matrix product": lambda: there @ here.T,
            "convolution": lambda: torch.nn.functional.conv2d(there[None, None], here[None, None]),
            "list": lambda: torch.cat([there, here]),
            "generator": lambda: torch.randn(2, device=DEVICE, generator=torch.Generator()),
        }
        for what, misplaced in refused.items():
            try:
                misplaced()
            except Misplaced:
                continue
            raise AssertionError(f"{what}: not refused")
        for read in (lambda: there.numpy(), lambda: np.asarray(there)):
            try:
                read()
            except (RuntimeError, TypeError):
                continue
            raise AssertionError("read as an array of NumPy without a copy to the CPU")
        assert float((there + torch.tensor(1.0)).sum()) == 21  # a single number may come from the CPU
        here.copy_(there)
        assert here.tolist() == there.tolist() == [[0, 1, 2], [3, 4, 5]]


def pools() -> None:
    """A second pass of average pooling copies nothing to the device."""
    pool = AveragePool((3, 3), (2, 2), (1, 1), "caffe")
    with Watch() as watch:
        x = torch.randn(1, 2, 9, 9).to(DEVICE)
        with torch.inference_mode():
            pool(x)
        before = sum(watch.crossings.values())
        leaf = x.requires_grad_()
        torch.autograd.grad(pool(leaf).sum(), leaf)
        assert sum(watch.crossings.values()) == before


def layout() -> None:
    """Networks and generators take the layout of a device's settings, in place of any that was placed before."""
    net, prior = network(), untrained()
    with Watch():
        for wanted in (True, None):
            weight = placed(net, DEVICE, wanted).operator("conv1").weight
            drawing = placed_prior(prior, DEVICE, channels_last=wanted).generator.last.weight
            for filters in (weight, drawing):
                assert filters.is_contiguous(memory_format=torch.channels_last) == bool(wanted)
                assert filters.device == DEVICE
    assert net.operator("conv1").weight.is_contiguous()


OF_THE_DEVICE = {"refusals": refusals, "pools": pools, "layout": layout}

if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in sys.argv[1:]:
        if name in OF_THE_DEVICE:
            OF_THE_DEVICE[name]()
        else:
            PARTS[name](Place(DEVICE, Watch))
        print(f"{name}: as on the CPU")
