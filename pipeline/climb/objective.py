"""The objective: one unit's activation, or a weighted sum of several units with a penalty on their differences."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.nets.cone import Cone
from pipeline.units import Members

NO_UNIT = -1  # unit beyond an item's last member


class Objective:
    """± (Σ w·Φ − γ Σ|Φ_i − Φ_j|) over an item's members and their pairs, units of one layer at the cone's position.

    Source: Nguyen et al. 2016, Eq. 1 (one unit) and Eq. 2 (two, with the penalty on their difference).
    """

    def __init__(
        self,
        cone: Cone,
        items: Sequence[Members],
        signs: Sequence[int],
        *,
        balance: float,
        log_odds: bool,
        device: torch.device,
    ) -> None:
        """
        items : members of each item.
        signs : of each item, 1 to maximize and −1 to minimize.
        balance : γ of the penalty on the differences.
        log_odds : for a softmax layer, Φ is the logarithm of the probability p or, for a single unit, of the odds
            p / (1 − p). This gradient has the direction of the gradient of p, and does not vanish where p is nearly
            0 or 1. False takes p itself.
        """
        most = max(len(members) for members in items)
        padded = [(*members, *[(NO_UNIT, 0.0)] * (most - len(members))) for members in items]
        self._cone = cone
        self._units = torch.tensor([[unit for unit, _ in members] for members in padded], device=device)
        self._weights = torch.tensor([[weight for _, weight in members] for members in padded], device=device)
        self._signs = None if all(sign == 1 for sign in signs) else torch.tensor(signs, device=device)
        self._balance = balance
        self._logs = log_odds and cone.normalized
        self._single = most == 1 and not self._logs and bool((self._weights == 1).all())

    def __call__(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(activations (item, member), objective (item,)) of centred images; NaN for NO_UNIT."""
        shown, total = self._values(image)
        return shown, total if self._signs is None else total * self._signs.to(total.dtype)

    def _values(self, image: Tensor) -> tuple[Tensor, Tensor]:
        if self._single:
            value = self._cone.activations(image, self._units[:, 0])
            return value[:, None], value
        value = self._cone.log_values(image) if self._logs else self._cone.values(image)
        real = self._units != NO_UNIT
        phi = value.gather(1, self._units.clamp(min=0))
        if self._logs and phi.shape[1] == 1:
            rest = value.scatter(1, self._units, -torch.inf)
            phi, shown = phi - rest.logsumexp(dim=1, keepdim=True), phi.exp()
            return shown, (phi * self._weights.to(phi.dtype))[:, 0]
        total = (phi * self._weights.to(phi.dtype)).masked_fill(~real, 0).sum(dim=1)
        if self._balance:
            total = total - self._balance * self._differences(phi, real)
        shown = phi.exp() if self._logs else phi
        return shown.masked_fill(~real, torch.nan), total

    def _differences(self, phi: Tensor, real: Tensor) -> Tensor:
        """The sum of |Φ_i − Φ_j| over all pairs of members, (item,)."""
        first, second = torch.triu_indices(phi.shape[1], phi.shape[1], 1, device=phi.device)
        pairs = (phi[:, first] - phi[:, second]).abs()
        return pairs.masked_fill(~(real[:, first] & real[:, second]), 0).sum(dim=1)
