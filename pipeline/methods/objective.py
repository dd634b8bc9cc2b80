"""What a search maximizes: one unit's activation, or a weighted sum of several, kept in balance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.nets.cone import Cone

NOBODY = -1  # unit beyond an item's last member


class Objective:
    """Σ w·Φ − γ Σ|Φ_i − Φ_j| over an item's members and their pairs, of units of one layer at the cone's position.

    Of a softmax layer Φ is the logarithm of the probability, and for a single unit that of the odds, p / (1 − p): its
    gradient has the direction of the probability's, and does not vanish where that is nearly 0 or 1.
    Source: Nguyen et al. 2016, Eq. 1 (one unit) and Eq. 2 (two, with the penalty on their difference).
    """

    def __init__(
        self, cone: Cone, units: Sequence[Sequence[int]], weights: Sequence[Sequence[float]], balance: float,
        device: torch.device,
    ) -> None:  # fmt: skip
        """units, weights : (item, member); NOBODY with weight 0 beyond an item's last."""
        self._cone = cone
        self._units = torch.tensor(units, device=device).reshape(len(units), -1)
        self._weights = torch.tensor(weights, device=device).reshape(len(units), -1)
        self._balance = balance
        self._single = self._units.shape[1] == 1 and not cone.normalized and bool((self._weights == 1).all())

    def __call__(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(activations (item, member), objective (item,)) of centred images; NaN for NOBODY."""
        if self._single:
            value = self._cone.activations(image, self._units[:, 0])
            return value[:, None], value
        value = self._cone.log_values(image) if self._cone.normalized else self._cone.values(image)
        there = self._units != NOBODY
        own = value.gather(1, self._units.clamp(min=0))
        if self._cone.normalized and own.shape[1] == 1:
            rest = value.scatter(1, self._units, -torch.inf)
            own, shown = own - rest.logsumexp(dim=1, keepdim=True), own.exp()
            return shown, (own * self._weights.to(own.dtype))[:, 0]
        total = (own * self._weights.to(own.dtype)).masked_fill(~there, 0).sum(dim=1)
        if self._balance:
            total = total - self._balance * self._differences(own, there)
        shown = own.exp() if self._cone.normalized else own
        return shown.masked_fill(~there, torch.nan), total

    def _differences(self, own: Tensor, there: Tensor) -> Tensor:
        """The sum of |Φ_i − Φ_j| over all pairs of members, (item,)."""
        first, second = torch.triu_indices(own.shape[1], own.shape[1], 1, device=own.device)
        pairs = (own[:, first] - own[:, second]).abs()
        return pairs.masked_fill(~(there[:, first] & there[:, second]), 0).sum(dim=1)
