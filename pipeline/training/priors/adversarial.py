"""Adversarial training of a generator: one step against comparator and discriminator, and the loop over steps."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.data.training_images import Pictures
from pipeline.errors import SettingsError, TrainingError
from pipeline.priors.generator import Generator
from pipeline.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from pipeline.training.priors.comparator import CodeStatistics, Comparator, centre, shifted
from pipeline.training.priors.discriminator import Balance, build_discriminator
from pipeline.training.priors.losses import join_gradients, realness_loss, reconstruction_loss
from pipeline.training.priors.process_group import ProcessGroup
from pipeline.training.priors.recipe import PriorRecipe
from pipeline.training.schedule import autocast, epoch_rows, step_seed

_WON = 0.3  # share of all steps after which a training run ends in which one side always wins
_GUESS = 2 * math.log(2)  # loss of a discriminator that guesses
_SHARED_DECAY = 0.98  # of the running mean of the shared error, per step: one batch's mean is mostly noise


class GeneratorTraining:
    """A generator in training, with everything that a step changes."""

    def __init__(
        self,
        recipe: PriorRecipe,
        generator: Generator,
        encoder: Comparator,
        comparator: Comparator,
        statistics: CodeStatistics,
        train: Pictures,
        group: ProcessGroup,
    ) -> None:
        """
        encoder : the value of its single layer is the code.
        comparator : the layers whose values are compared.
        statistics : of real images' codes and of the compared layers.
        train : images of the network's input size, which may be smaller than the generator's images.
        group : the processes that train together.
        """
        self.recipe, self.encoder, self.comparator = recipe, encoder, comparator
        self.statistics, self.train, self.group = statistics, train, group
        self.generator = generator.to(group.device).to(memory_format=torch.channels_last)
        if recipe.even:
            self.generator.even()
        self.average = copy.deepcopy(self.generator).eval()
        self.discriminator = build_discriminator(
            recipe.discriminator,
            int(np.prod(generator.shape.code)),
            channels=recipe.discriminator_channels,
            size=min(train.size),
            scale=statistics.scale,
        ).to(group.device).to(memory_format=torch.channels_last)  # fmt: skip
        adam = dict(betas=(recipe.beta1, 0.999), eps=1e-8, fused=True)
        self.generator_optimizer = torch.optim.Adam(self.generator.parameters(), lr=recipe.rate, **adam)
        self.discriminator_optimizer = torch.optim.Adam(
            self.discriminator.parameters(),
            lr=recipe.discriminator_rate,
            weight_decay=recipe.discriminator_decay,
            **adam,
        )
        self.balance = Balance(recipe.skip_below, recipe.resume_above)
        self.first_ratio: float | None = None
        self.waited = self.guessed = 0  # consecutive steps in which the discriminator was not trained, or guessed
        self.shared = torch.zeros(3, *train.size, device=group.device)  # running mean of the images' error

    def state(self) -> dict[str, object]:
        """Return everything that a step changes, for a checkpoint."""
        modules = {name: part.state_dict() for name, part in self._parts().items()}
        return modules | {
            "learns": self.balance.learns,
            "first_ratio": self.first_ratio,
            "waited": self.waited,
            "guessed": self.guessed,
            "shared": self.shared,
        }

    def load(self, state: Mapping[str, object]) -> None:
        """Continue from what state() returned."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.balance.learns = state["learns"]
        self.first_ratio, self.waited, self.guessed = state["first_ratio"], state["waited"], state["guessed"]
        self.shared = state["shared"].to(self.group.device)

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """Networks and optimizers by their names in a checkpoint."""
        return {
            "generator": self.generator,
            "average": self.average,
            "discriminator": self.discriminator,
            "improve": self.generator_optimizer,
            "discern": self.discriminator_optimizer,
        }

    def step(self, step: int) -> dict[str, float]:
        """Train with one batch, and return the losses and other measurements by name.

        Everything random in a step is drawn from generators seeded with (seed, step, rank).
        """
        recipe, group = self.recipe, self.group
        seed = step_seed(recipe.seed, step) * 1009 + group.rank
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)  # dropout uses the global generator
        real = self._images(step, generator)
        self.generator.train()
        with autocast(group.device.type, recipe.precision):
            with torch.no_grad():
                code = self.encoder.values(real)[0]
            made = centre(self.generator(code), real.shape[-2:])
            leaf = made.detach().float().requires_grad_()
            compared, target = leaf, real
            if recipe.shift and float(torch.rand((), generator=generator)) < recipe.shift_share:
                compared, target = shifted([leaf, real], recipe.shift, generator)
            rest = reconstruction_loss(
                recipe, self.comparator, self.statistics.energies, (leaf, compared), (real, target)
            )
        # The graph is retained because the adversarial gradient passes through the same shift.
        (gradient,) = torch.autograd.grad(rest.total, leaf, retain_graph=True)
        measured = {"image": float(rest.image.detach()), "total": float(rest.total.detach())}
        measured |= {
            f"feature_{name}": float(loss.detach())
            for name, loss in zip(self.comparator.layers, rest.features, strict=True)
        }
        if step >= recipe.first_adversarial:
            alone = step < recipe.first_adversarial + recipe.adversary_alone
            measured |= self._train_discriminator(compared.detach(), target, code, learns=alone or self.balance.learns)
            if not alone:
                gradient, more = self._with_adversary(leaf, compared, code, gradient)
                measured |= more
                self._check_balance(step, measured)
        if recipe.shared_weight:
            gradient = gradient + self._shared_gradient(leaf.detach() - real, step)
            measured["shared"] = float(self.shared.square().mean().sqrt()) * 127.5
        self._train_generator(made, gradient, step)
        return measured

    def _images(self, step: int, generator: torch.Generator) -> Tensor:
        """This process's share of a step's images, in (-1, 1), (batch, 3, row, column), half of them mirrored."""
        share = self.recipe.batch
        rows = epoch_rows(step, seed=self.recipe.seed, count=len(self.train), batch=share * self.group.size)
        rows = rows[self.group.rank :: self.group.size]
        pixels = torch.from_numpy(self.train.pixels(rows)).permute(0, 3, 1, 2)
        mirrored = torch.rand(len(rows), generator=generator) < 0.5
        pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
        images = pixels.to(self.group.device).float() / 127.5 - 1
        return images.contiguous(memory_format=torch.channels_last)

    def _train_discriminator(self, made: Tensor, real: Tensor, code: Tensor, *, learns: bool) -> dict[str, float]:
        """Measure the discriminator's losses on a real and a generated batch; train it with them if `learns`."""
        with autocast(self.group.device.type, self.recipe.precision):
            right = realness_loss(self.discriminator(self._noisy(real), code), True)
            wrong = realness_loss(self.discriminator(self._noisy(made), code), False)
        if learns:
            self.discriminator_optimizer.zero_grad(set_to_none=True)
            (right + wrong).backward()
            self.group.average_gradients(self.discriminator.parameters())
            self.discriminator_optimizer.step()
        return {"real": float(right.detach()), "made": float(wrong.detach()), "learns": float(learns)}

    def _noisy(self, image: Tensor) -> Tensor:
        """The image with noise, as the discriminator's input. Source: instance noise, Sønderby et al. 2016."""
        noise = torch.randn(image.shape, device=image.device)  # randn_like is 8 times slower for channels_last
        return image + self.recipe.discriminator_noise * noise

    def _with_adversary(
        self, leaf: Tensor, compared: Tensor, code: Tensor, rest: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """Add the adversarial gradient to the gradient of the other losses; return the sum and measurements.

        leaf : the generated images, at which the gradients are taken.
        compared : the same images, shifted.
        rest : gradient of the other losses.
        """
        with autocast(self.group.device.type, self.recipe.precision):
            adversarial = realness_loss(self.discriminator(self._noisy(compared), code), True)
        (gradient,) = torch.autograd.grad(adversarial, leaf)
        joined, weight, ratio = join_gradients(self.recipe, rest, gradient, self.first_ratio)
        if self.first_ratio is None:
            self.first_ratio = ratio
        return joined, {"adversarial": float(adversarial.detach()), "weight": weight, "ratio": ratio}

    def _shared_gradient(self, error: Tensor, step: int) -> Tensor:
        """The gradient at the images of shared_weight · ‖E[G(c) − x]‖², the mean square of the error that all share.

        Marks at certain positions relative to the network's strides can raise the compared layers' values, so they
        lower the feature loss although the images lack them. This loss removes them. E is a running mean.

        error : G(c) − x of this batch, (batch, 3, row, column).
        """
        keep = min(_SHARED_DECAY, (1 + step) / (10 + step))
        self.shared = self.shared.lerp(self.group.mean(error.mean(0)), 1 - keep)
        return (2 * self.recipe.shared_weight / error.numel() * self.shared).expand_as(error)

    def _train_generator(self, made: Tensor, gradient: Tensor, step: int) -> None:
        """Take an optimizer step with a gradient at the generated images, and update the average of the weights."""
        self.generator_optimizer.zero_grad(set_to_none=True)
        made.backward(gradient.to(made.dtype))
        self.group.average_gradients(self.generator.parameters())
        for parameters in self.generator_optimizer.param_groups:
            parameters["lr"] = self.recipe.rate_at(step)
        self.generator_optimizer.step()
        if self.recipe.even:
            self.generator.even()
        keep = min(self.recipe.average, (1 + step) / (10 + step))
        with torch.no_grad():
            for kept, new in zip(self.average.parameters(), self.generator.parameters(), strict=True):
                kept.lerp_(new, 1 - keep)

    def _check_balance(self, step: int, measured: Mapping[str, float]) -> None:
        """Decide whether the discriminator learns; raise TrainingError if one side has won for too long."""
        losses = torch.tensor([measured["real"] + measured["made"], measured["adversarial"]], dtype=torch.float64)
        loss, adversarial = self.group.mean(losses.to(self.group.device)).tolist()
        self.balance.update(loss, adversarial)
        self.waited = 0 if self.balance.learns else self.waited + 1
        self.guessed = self.guessed + 1 if loss > 0.995 * _GUESS else 0
        patience = max(200, round(_WON * self.recipe.steps))
        if self.waited >= patience:
            raise TrainingError(
                f"step {step}: the discriminator has won, it was not trained for {patience} consecutive steps; begin "
                "again with a lower recipe.discriminator_rate or a higher recipe.skip_below"
            )
        if self.guessed >= patience:
            raise TrainingError(
                f"step {step}: the generator has won, the discriminator has guessed for {patience} consecutive steps; "
                "begin again with a lower recipe.adversarial_weight or a higher recipe.discriminator_rate"
            )


def train_generator(
    training: GeneratorTraining,
    *,
    until: int,
    checkpoint: Path,
    settings: str,
    log: Callable[[str], None],
    metrics: Callable[[int, dict[str, float]], None],
    snapshot: Callable[[int, Generator], None],
) -> nn.Module:
    """Train up to a step, from the checkpoint if it exists; return the generator with the averaged weights.

    until : last step; at most the recipe's steps, which decide the schedule.
    checkpoint : file of the checkpoint.
    settings : everything that decides the result, as text; a checkpoint with another text is refused.
    log : called with each line of the log.
    metrics : called with a step and the means of the first process's measurements since the last call.
    snapshot : called with a step and the averaged generator, in the first process.
    Raises TrainingError if a loss is not a finite number, or one side has won (the last checkpoint stays);
    SettingsError if the checkpoint is of a later step than `until`.
    """
    recipe = training.recipe
    saved, first = load_checkpoint(checkpoint, settings=settings), 0
    if saved is not None:
        training.load(saved.states)
        first = saved.step
        log(f"going on from step {first}")
    if first > until:
        raise SettingsError(f"until: got {until}, but {checkpoint} is of step {first}; ask for as many or more")
    sums: dict[str, list[float]] = {}
    kept = first  # step of the last checkpoint
    for step in range(first, until):
        try:
            measured = training.step(step)
            _check_numbers(step, measured)
        except TrainingError as error:
            rescue = f"; or make a prior of what was learned before, by until={kept}" if kept else ""
            raise TrainingError(f"{error}{rescue}") from None
        for name, value in measured.items():
            sums.setdefault(name, []).append(value)
        done = step + 1
        if done % recipe.show_every == 0 or done in (1, recipe.show_every // 4, until):
            if training.group.leads:
                metrics(done, {name: float(np.mean(values)) for name, values in sums.items()})
                snapshot(done, training.average)
            sums = {}
        if done % recipe.checkpoint_every == 0 or done == until:
            kept = done
            if training.group.leads:
                save_checkpoint(checkpoint, Checkpoint(settings=settings, step=done, states=training.state()))
    return training.average


def _check_numbers(step: int, measured: Mapping[str, float]) -> None:
    if not all(math.isfinite(value) for value in measured.values()):
        raise TrainingError(f"step {step}: the losses are no longer numbers; begin again with a lower recipe.rate")


def recipe_text(recipe: PriorRecipe, inputs: Mapping[str, object]) -> str:
    """Return everything that decides a training run's result, as text.

    inputs : the inputs beside the recipe, plain values by name.
    """
    return json.dumps(asdict(recipe) | dict(inputs), indent=0)
