"""Training the generator of a prior against a comparator and a discriminator."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.data.training_images import Pictures
from pipeline.errors import SettingsError, TrainingError
from pipeline.priors.generator import Generator
from pipeline.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from pipeline.training.comparator import Comparator, centre, shifted
from pipeline.training.course import epoch_rows, step_seed
from pipeline.training.discriminator import Balance, build_discriminator, realness_loss
from pipeline.training.gang import Gang
from pipeline.training.prior_losses import join_gradients, reconstruction_loss
from pipeline.training.prior_recipe import PriorRecipe
from pipeline.training.weights_file import autocast

_WON = 0.3  # share of all steps: a side that has not let the other learn for so long has won for good
_CHANCE = 2 * math.log(2)  # loss of a discriminator that cannot tell real from made
_SHARED_OVER = 0.98  # average of the error that images share, per step: one batch's mean is mostly chance


@dataclass(frozen=True)
class CodeFacts:
    """What is known of real images' codes before a training. mean, deviation : float32 (entry,). scale : root mean
    square. energies : mean square of each compared layer's values."""

    mean: np.ndarray
    deviation: np.ndarray
    scale: float
    energies: list[float]


class PriorTraining:
    """A generator in training, with all that changes with it."""

    def __init__(
        self,
        recipe: PriorRecipe,
        generator: Generator,
        encoder: Comparator,
        comparator: Comparator,
        facts: CodeFacts,
        train: Pictures,
        gang: Gang,
    ) -> None:
        """encoder : its single layer's value is the code. train : images of the size that the generator gives, or
        smaller ones of the network's size."""
        self.recipe, self.encoder, self.comparator = recipe, encoder, comparator
        self.facts, self.train, self.gang = facts, train, gang
        self.generator = generator.to(gang.device).to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.generator).eval()
        self.discriminator = build_discriminator(
            recipe.discriminator,
            int(np.prod(generator.shape.code)),
            channels=recipe.discriminator_channels,
            size=min(train.size),
            scale=facts.scale,
        ).to(gang.device).to(memory_format=torch.channels_last)  # fmt: skip
        adam = dict(betas=(recipe.beta1, 0.999), eps=1e-8, fused=True)
        self.improve = torch.optim.Adam(self.generator.parameters(), lr=recipe.rate, **adam)
        self.discern = torch.optim.Adam(
            self.discriminator.parameters(),
            lr=recipe.discriminator_rate,
            weight_decay=recipe.discriminator_decay,
            **adam,
        )
        self.balance = Balance(recipe.skip_below, recipe.resume_above)
        self.first_ratio: float | None = None
        self.waited = self.guessed = 0  # steps on end that the discriminator waited, or could not tell
        self.shared = torch.zeros(3, *train.size, device=gang.device)  # mean error of the last steps' images

    def state(self) -> dict[str, object]:
        """Everything that a step changes."""
        return {
            "generator": self.generator.state_dict(),
            "average": self.average.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "improve": self.improve.state_dict(),
            "discern": self.discern.state_dict(),
            "learns": self.balance.learns,
            "first_ratio": self.first_ratio,
            "waited": self.waited,
            "guessed": self.guessed,
            "shared": self.shared,
        }

    def load(self, state: Mapping[str, object]) -> None:
        """Take up such a state."""
        for name in ("generator", "average", "discriminator", "improve", "discern"):
            getattr(self, name).load_state_dict(state[name])
        self.balance.learns = state["learns"]
        self.first_ratio, self.waited, self.guessed = state["first_ratio"], state["waited"], state["guessed"]
        self.shared = state["shared"].to(self.gang.device)

    def learn(self, step: int) -> dict[str, float]:
        """One step; all that is random in it comes from (seed, step, rank). Returns what was measured on the way."""
        recipe, gang = self.recipe, self.gang
        seed = step_seed(recipe.seed, step) * 1009 + gang.rank
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)  # dropout knows only the global generator
        real = self._images(step, generator)
        self.generator.train()
        with autocast(gang.device.type, recipe.precision):
            with torch.no_grad():
                code = self.encoder.values(real)[0]
            made = centre(self.generator(code), real.shape[-2:])
            leaf = made.detach().float().requires_grad_()
            lead, moved = leaf, real
            if recipe.shift and float(torch.rand((), generator=generator)) < recipe.shift_share:
                lead, moved = shifted([leaf, real], recipe.shift, generator)
            rest = reconstruction_loss(recipe, self.comparator, self.facts.energies, (leaf, lead), (real, moved))
        (gradient,) = torch.autograd.grad(rest.total, leaf, retain_graph=True)  # the shift is used again
        measured = {"image": float(rest.image.detach()), "total": float(rest.total.detach())}
        measured |= {
            f"feature_{name}": float(loss.detach())
            for name, loss in zip(self.comparator.layers, rest.features, strict=True)
        }
        if step >= recipe.first_adversarial:
            alone = step < recipe.first_adversarial + recipe.adversary_alone
            measured |= self._discern(lead.detach(), moved, code, learns=alone or self.balance.learns)
            if not alone:
                gradient, more = self._against(leaf, lead, code, gradient)
                measured |= more
                self._watch(step, measured)
        if recipe.shared_weight:
            gradient = gradient + self._against_shared(leaf.detach() - real, step)
            measured["shared"] = float(self.shared.square().mean().sqrt()) * 127.5
        self._improve(made, gradient, step)
        return measured

    def _images(self, step: int, generator: torch.Generator) -> Tensor:
        """Photos of a step in (-1, 1), half of them mirrored; each process takes its own."""
        share = self.recipe.batch
        rows = epoch_rows(step, seed=self.recipe.seed, count=len(self.train), batch=share * self.gang.size)
        rows = rows[self.gang.rank :: self.gang.size]
        pixels = torch.from_numpy(self.train.pixels(rows)).permute(0, 3, 1, 2)
        mirrored = torch.rand(len(rows), generator=generator) < 0.5
        pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
        images = pixels.to(self.gang.device).float() / 127.5 - 1
        return images.contiguous(memory_format=torch.channels_last)

    def _discern(self, made: Tensor, real: Tensor, code: Tensor, *, learns: bool) -> dict[str, float]:
        """Let the discriminator learn from a real and a made batch, or only look."""
        with autocast(self.gang.device.type, self.recipe.precision):
            right = realness_loss(self.discriminator(self._noisy(real), code), True)
            wrong = realness_loss(self.discriminator(self._noisy(made), code), False)
        if learns:
            self.discern.zero_grad(set_to_none=True)
            (right + wrong).backward()
            self.gang.average_gradients(self.discriminator.parameters())
            self.discern.step()
        return {"real": float(right.detach()), "made": float(wrong.detach()), "learns": float(learns)}

    def _noisy(self, image: Tensor) -> Tensor:
        """What the discriminator is shown. Source: instance noise, Sønderby et al. 2016."""
        noise = torch.randn(image.shape, device=image.device)  # randn_like draws 8 times slower with channels last
        return image + self.recipe.discriminator_noise * noise

    def _against(self, leaf: Tensor, lead: Tensor, code: Tensor, rest: Tensor) -> tuple[Tensor, dict[str, float]]:
        """The images' gradient with the adversary's part in it."""
        with autocast(self.gang.device.type, self.recipe.precision):
            adversarial = realness_loss(self.discriminator(self._noisy(lead), code), True)
        (gradient,) = torch.autograd.grad(adversarial, leaf)
        joined, weight, ratio = join_gradients(self.recipe, rest, gradient, self.first_ratio)
        if self.first_ratio is None:
            self.first_ratio = ratio
        return joined, {"adversarial": float(adversarial.detach()), "weight": weight, "ratio": ratio}

    def _against_shared(self, error: Tensor, step: int) -> Tensor:
        """The images' gradient of shared_weight · ‖E[G(c) − x]‖², the mean square of what all images have wrong alike.

        A network likes some marks at places that its strides prefer, and takes them for what the images lack. The
        expectation is a running mean.
        """
        keep = min(_SHARED_OVER, (1 + step) / (10 + step))
        self.shared = self.shared.lerp(self.gang.mean(error.mean(0)), 1 - keep)
        return (2 * self.recipe.shared_weight / error.numel() * self.shared).expand_as(error)

    def _improve(self, made: Tensor, gradient: Tensor, step: int) -> None:
        self.improve.zero_grad(set_to_none=True)
        made.backward(gradient.to(made.dtype))
        self.gang.average_gradients(self.generator.parameters())
        for group in self.improve.param_groups:
            group["lr"] = self.recipe.rate_at(step)
        self.improve.step()
        keep = min(self.recipe.average, (1 + step) / (10 + step))
        with torch.no_grad():
            for kept, new in zip(self.average.parameters(), self.generator.parameters(), strict=True):
                kept.lerp_(new, 1 - keep)

    def _watch(self, step: int, measured: Mapping[str, float]) -> None:
        """Balance the two sides; raise TrainingError when one has won for good."""
        told = torch.tensor([measured["real"] + measured["made"], measured["adversarial"]], dtype=torch.float64)
        loss, adversarial = self.gang.mean(told.to(self.gang.device)).tolist()
        self.balance.note(loss, adversarial)
        self.waited = 0 if self.balance.learns else self.waited + 1
        self.guessed = self.guessed + 1 if loss > 0.995 * _CHANCE else 0
        patience = max(200, round(_WON * self.recipe.steps))
        if self.waited >= patience:
            raise TrainingError(
                f"step {step}: the discriminator has won, it was never wrong for {patience} steps; begin again with a "
                "lower recipe.discriminator_rate or a higher recipe.skip_below"
            )
        if self.guessed >= patience:
            raise TrainingError(
                f"step {step}: the generator has won, the discriminator has guessed for {patience} steps; begin again "
                "with a lower recipe.adversarial_weight or a higher recipe.discriminator_rate"
            )


def train_generator(
    training: PriorTraining,
    *,
    until: int,
    checkpoint: Path,
    settings: str,
    log: Callable[[str], None],
    metrics: Callable[[int, dict[str, float]], None],
    look: Callable[[int, Generator], None],
) -> nn.Module:
    """Run a training until so many steps, from its checkpoint where there is one; return the averaged generator.

    until : at most the recipe's steps, which the schedule goes by. settings : what decides the result, as text; a
    checkpoint of others is refused. metrics : told the means since it was last told, of the leader's share. look :
    shown the averaged generator from time to time.
    Raises TrainingError when the losses are no longer numbers, or one side has won; the last checkpoint stays.
    SettingsError for a checkpoint of more steps than are asked for.
    """
    recipe = training.recipe
    found = load_checkpoint(checkpoint, settings=settings)
    first = 0
    if found is not None:
        training.load(found.states)
        first = found.step
        log(f"going on from step {first}")
    if first > until:
        raise SettingsError(f"until: got {until}, but {checkpoint} is of step {first}; ask for as many or more")
    sums: dict[str, list[float]] = {}
    kept = first  # step of the last checkpoint
    for step in range(first, until):
        try:
            measured = training.learn(step)
            _check_numbers(step, measured)
        except TrainingError as error:
            rescue = f"; or make a prior of what was learned before, by until={kept}" if kept else ""
            raise TrainingError(f"{error}{rescue}") from None
        for name, value in measured.items():
            sums.setdefault(name, []).append(value)
        done = step + 1
        if done % recipe.show_every == 0 or done in (1, recipe.show_every // 4, until):
            if training.gang.leads:
                metrics(done, {name: float(np.mean(values)) for name, values in sums.items()})
                look(done, training.average)
            sums = {}
        if done % recipe.checkpoint_every == 0 or done == until:
            kept = done
            if training.gang.leads:
                save_checkpoint(checkpoint, Checkpoint(settings=settings, step=done, states=training.state()))
    return training.average


def _check_numbers(step: int, measured: Mapping[str, float]) -> None:
    if not all(math.isfinite(value) for value in measured.values()):
        raise TrainingError(f"step {step}: the losses are no longer numbers; begin again with a lower recipe.rate")


def recipe_text(recipe: PriorRecipe, facts: Mapping[str, object]) -> str:
    """What decides a training's result, as text."""
    return json.dumps(asdict(recipe) | dict(facts), indent=0)
