"""Items computed a micro-batch at a time, halved where the device has no room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

T = TypeVar("T")


def run_batches(
    items: Sequence[int],
    batch: int,
    run: Callable[[Sequence[int], int], T],
    keep: Callable[[Sequence[int], T], None],
) -> tuple[int, int]:
    """Hand the items to `run`, at most `batch` at a time, and each outcome to `keep`.

    run : (items, batch) → outcome. Returns the batch that fitted, and how often it was halved on the way.
    Raises torch.cuda.OutOfMemoryError when a single item does not fit.
    """
    done = halved = 0
    while done < len(items):
        chosen = items[done : done + batch]
        try:
            outcome = run(chosen, batch)
        except torch.cuda.OutOfMemoryError:
            if batch == 1:
                raise
            outcome = None  # the failed call's tensors live until this block is left
        if outcome is None:
            torch.cuda.empty_cache()
            batch, halved = batch // 2, halved + 1
            continue
        keep(chosen, outcome)
        done += len(chosen)
    return batch, halved
