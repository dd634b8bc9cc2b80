"""Counts of the values of a tensor that are not finite."""

from __future__ import annotations

from torch import Tensor


def not_finite(values: Tensor, *, may_be_infinite: bool = False) -> str:
    """How many values are not finite, such as "3 NaN and 1 infinite of 512"; "" if all are finite.

    may_be_infinite : count only what is not a number.
    """
    if not values.is_floating_point():
        return ""
    counts = {"NaN": int(values.isnan().sum()), "infinite": 0 if may_be_infinite else int(values.isinf().sum())}
    words = " and ".join(f"{count} {word}" for word, count in counts.items() if count)
    return f"{words} of {values.numel()}" if words else ""
