"""The losses of a prior (images, features, adversary), and the limit on the adversary's share of the gradient."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.training.priors.comparator import Comparator
from pipeline.training.priors.recipe import PriorRecipe

_LEVELS = 127.5  # pixel levels of one unit of an image in (-1, 1)


@dataclass(frozen=True)
class Reconstruction:
    """Losses of a batch."""

    image: Tensor  # of the pixels
    features: tuple[Tensor, ...]  # of each compared layer
    total: Tensor  # their weighted sum: what is minimized without the adversary


def reconstruction_loss(
    recipe: PriorRecipe,
    comparator: Comparator,
    energies: list[float],
    made: tuple[Tensor, Tensor],
    real: tuple[Tensor, Tensor],
) -> Reconstruction:
    """Return the losses of generated images against the real ones.

    energies : mean square of each layer's values over real images.
    made, real : images in (-1, 1), (batch, 3, row, column): unshifted, for the pixels; and shifted, for the comparator.
    Source: Dosovitskiy & Brox 2016, Eq. 2 to 4.
    Departure: the relative form divides each layer's error by its mean square over real images.
    """
    with torch.no_grad():
        targets = comparator.values(real[1])
    values = comparator.values(made[1])
    if recipe.loss == "relative":
        image = functional.mse_loss(made[0], real[0])
        features = tuple(
            relative_error(value, target, energy)
            for value, target, energy in zip(values, targets, energies, strict=True)
        )
    else:
        image = half_squares(made[0] * _LEVELS, real[0] * _LEVELS)
        features = tuple(half_squares(value, target) for value, target in zip(values, targets, strict=True))
    total = recipe.image_weight * image + recipe.feature_weight * torch.stack(features).sum()
    return Reconstruction(image, features, total)


def relative_error(made: Tensor, real: Tensor, energy: Tensor | float) -> Tensor:
    """Return the mean square of the difference, divided by the mean square of real images' values."""
    return functional.mse_loss(made, real) / energy


def half_squares(made: Tensor, real: Tensor) -> Tensor:
    """Return half the sum of squares of the difference, per image. Source: Caffe's EuclideanLoss, as published."""
    return (made - real).square().sum() / (2 * len(made))


def realness_loss(logits: tuple[Tensor, Tensor], real: bool) -> Tensor:
    """Return the mean cross-entropy of a discriminator's logits; patches and whole images count half each.

    logits : of patches, (batch, row, column), and of whole images, (batch,).
    real : the class that the logits should give.
    """
    sign = -1.0 if real else 1.0
    patches, whole = (functional.softplus(sign * part.float()).mean() for part in logits)
    return (patches + whole) / 2


def join_gradients(
    recipe: PriorRecipe, reconstruction: Tensor, adversarial: Tensor, first_ratio: float | None
) -> tuple[Tensor, float, float]:
    """Return the sum of two gradients at the images, the adversary's weight in it, and the ratio of their norms.

    published: the adversarial gradient is multiplied by `adversarial_weight`; the ratio is 0.
    relative: it is scaled to `adversarial_weight` of the other gradient's norm, but by at most `adversarial_cap` times
    the factor that this took when the adversary began. Once the discriminator is beaten its gradient fades, and a
    larger factor would only add noise.

    reconstruction, adversarial : gradients of the two losses at the images.
    first_ratio : ratio of the norms when the adversary began; None at that step.
    """
    if recipe.loss == "published":
        return reconstruction + recipe.adversarial_weight * adversarial, recipe.adversarial_weight, 0.0
    ratio = float(reconstruction.norm() / adversarial.norm().clamp_min(1e-20))
    cap = ratio if first_ratio is None else min(ratio, recipe.adversarial_cap * first_ratio)
    weight = recipe.adversarial_weight * cap
    return reconstruction + weight * adversarial, weight, ratio
