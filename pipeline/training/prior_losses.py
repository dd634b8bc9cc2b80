"""The three losses of a prior: image, features, adversary; and how the adversary's share is kept in bounds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.training.comparator import Comparator, half_squares, relative_error
from pipeline.training.prior_recipe import PriorRecipe

_LEVELS = 127.5  # pixel levels of one unit of an image in (-1, 1)


@dataclass(frozen=True)
class Reconstruction:
    """Losses of a batch: image, and each compared layer's; total is what is minimised without the adversary."""

    image: Tensor
    features: tuple[Tensor, ...]
    total: Tensor


def reconstruction_loss(
    recipe: PriorRecipe,
    comparator: Comparator,
    energies: list[float],
    made: tuple[Tensor, Tensor],
    real: tuple[Tensor, Tensor],
) -> Reconstruction:
    """How far the made images are from the real ones.

    made, real : images (batch, 3, row, column) in (-1, 1), as they are, and as they are shown to the comparator
    (shifted). energies : mean square of each layer's values over real images.
    Source: Dosovitskiy & Brox 2016, Eq. 2 to 4; the relative form divides each by what a real image has of it.
    """
    with torch.no_grad():
        wanted = comparator.values(real[1])
    found = comparator.values(made[1])
    if recipe.loss == "relative":
        image = functional.mse_loss(made[0], real[0])
        features = tuple(
            relative_error(one, other, energy) for one, other, energy in zip(found, wanted, energies, strict=True)
        )
    else:
        image = half_squares(made[0] * _LEVELS, real[0] * _LEVELS)
        features = tuple(half_squares(one, other) for one, other in zip(found, wanted, strict=True))
    total = recipe.image_weight * image + recipe.feature_weight * torch.stack(features).sum()
    return Reconstruction(image, features, total)


def join_gradients(
    recipe: PriorRecipe, reconstruction: Tensor, adversarial: Tensor, first_ratio: float | None
) -> tuple[Tensor, float, float]:
    """The gradient at the images that both losses ask for; the adversary's weight in it, and the ratio of the norms.

    reconstruction, adversarial : gradients of the two losses at the images. first_ratio : of their norms when the
    adversary began, or None before.
    published: the sum, the adversary's times its weight. relative: the adversary's is made `adversarial_weight` of
    the other's norm, but enlarged by at most `adversarial_cap` times what that took at first: as the discriminator
    loses hold its gradient fades, and enlarging what is left would only add noise.
    """
    if recipe.loss == "published":
        return reconstruction + recipe.adversarial_weight * adversarial, recipe.adversarial_weight, 0.0
    ratio = float(reconstruction.norm() / adversarial.norm().clamp_min(1e-20))
    cap = ratio if first_ratio is None else min(ratio, recipe.adversarial_cap * first_ratio)
    weight = recipe.adversarial_weight * cap
    return reconstruction + weight * adversarial, weight, ratio
