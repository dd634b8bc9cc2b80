"""Training a classifier of drawings (doodlenet, its judge and doodlevgg): a recipe in; weights and accuracy out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.data.doodles import CLASSES, REVISION
from pipeline.data.training_images import Drawings, drawings
from pipeline.errors import SettingsError, WeightsError, nearest
from pipeline.nets.doodlenet import GAIN, MEAN, SIZE, doodlejudge, doodlenet, doodlevgg
from pipeline.training.classifiers.augmentation import attacked, blurred, faded, noisy
from pipeline.training.classifiers.loop import fold, scaled_logits, sgd, take_steps
from pipeline.training.schedule import arithmetic_threads, epoch_rows, warm_and_linear
from pipeline.training.weights_file import read_about, write_weights

NETWORKS = ("doodlenet", "doodlejudge", "doodlevgg")
_JUDGED = 250  # drawings in a batch when accuracy is measured


@dataclass(frozen=True)
class DrawingRecipe:
    """Everything that decides the weights, on one kind of machine."""

    network: str  # one of NETWORKS
    seed: int  # of initial weights, order of the drawings, and augmentation
    train_seed: int  # of the drawings to train on
    train_count: int
    held_out_seed: int  # of the drawings on which accuracy is measured
    held_out_count: int
    epochs: int
    batch: int  # drawings in a step
    rate: float  # highest learning rate, reached after the first tenth of the steps; it then falls linearly to zero
    momentum: float
    weight_decay: float  # of weights; biases and normalization parameters do not decay
    label_smoothing: float
    noise: float  # largest standard deviation of Gaussian noise, pixel levels
    blur: float  # largest sigma of the blur, pixels; a third of the drawings are blurred
    fade: float  # largest share of contrast that is removed
    attack: float  # L2 radius of the adversarial shift, pixel levels over the whole image; 0 trains without
    attack_steps: int
    threads: int  # of arithmetic; their number decides the last digits
    checkpoint_every: int  # steps

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise SettingsError(
                f"network: got {self.network!r}, expected one of {', '.join(NETWORKS)}{nearest(self.network, NETWORKS)}"
            )
        if self.train_seed == self.held_out_seed:
            raise SettingsError(f"held_out_seed: got {self.held_out_seed}, expected another than train_seed")
        for name in ("train_count", "held_out_count", "epochs", "batch", "threads", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name}: got {getattr(self, name)}, expected at least 1")
        if self.batch > self.train_count:
            raise SettingsError(f"batch: got {self.batch}, expected at most train_count ({self.train_count})")
        for name in ("rate", "momentum", "weight_decay", "noise", "blur", "fade", "attack", "attack_steps"):
            if getattr(self, name) < 0:
                raise SettingsError(f"{name}: got {getattr(self, name)}, expected 0 or more")
        if not (0 <= self.label_smoothing < 1 and self.fade <= 1):
            raise SettingsError("label_smoothing and fade: expected shares, label_smoothing below 1")

    @property
    def steps(self) -> int:
        """All steps; the drawings that do not fill the last batch of an epoch are left out of that epoch."""
        return self.epochs * (self.train_count // self.batch)


@dataclass(frozen=True)
class DrawingMetrics:
    """What is measured at the end of a training run."""

    steps: int
    accuracy: float  # share of held-out drawings that are classified correctly
    attacked_accuracy: float  # the same, each drawing first shifted adversarially as in training
    parameters: int


def drawing_recipe(weights: Path) -> DrawingRecipe:
    """Return the recipe in the metadata of a file of weights.

    Raises WeightsError if the file is missing, is damaged, or has no such recipe.
    """
    about = read_about(weights)
    try:
        return DrawingRecipe(**about["settings"])
    except (KeyError, TypeError) as error:
        raise WeightsError(f"{weights}: was not trained on drawings here ({error}); name a file that was") from error


def train_on_drawings(
    recipe: DrawingRecipe, out: Path, log: Callable[[str], None], *, cache: Path | None = None
) -> DrawingMetrics:
    """Train a network, write `<network>.safetensors` into `out`, and return its accuracy.

    A training run that was killed resumes from its checkpoint in `out` and gives the same bytes.

    recipe : decides the weights.
    out : folder of the checkpoint and the weights; made if it does not exist.
    log : called with each line of the log.
    cache : folder of the drawings, which training runs can share; None for `out/drawings`.
    """
    out.mkdir(parents=True, exist_ok=True)
    folder = out / "drawings" if cache is None else cache
    train, held_out = (
        drawings(seed=seed, count=count, size=SIZE, folder=folder, processes=recipe.threads, log=log)
        for seed, count in (
            (recipe.train_seed, recipe.train_count),
            (recipe.held_out_seed, recipe.held_out_count),
        )
    )
    with arithmetic_threads(recipe.threads):
        network = fit(recipe, train, checkpoint=out / f"{recipe.network}.checkpoint", log=log)
        metrics = measure(recipe, network, held_out)
    log(f"held-out accuracy {metrics.accuracy:.4f}, attacked {metrics.attacked_accuracy:.4f}")
    about = {
        "network": recipe.network,
        "classes": CLASSES,
        "mean": MEAN,
        "gain": GAIN,
        "drawings": REVISION,
        "settings": asdict(recipe),
        "metrics": asdict(metrics),
    }
    write_weights(out / f"{recipe.network}.safetensors", network.state_dict(), about, half=False)
    return metrics


def fit(recipe: DrawingRecipe, train: Drawings, *, checkpoint: Path, log: Callable[[str], None]) -> nn.Sequential:
    """Return the trained network in evaluation mode; doodlenet's batch normalizations are folded.

    train : drawings to train on.
    checkpoint : file of the checkpoint; training resumes from it if it exists.
    """
    torch.manual_seed(recipe.seed)
    network = _untrained(recipe).to(memory_format=torch.channels_last)
    optimizer = sgd(network, rate=recipe.rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    take_steps(
        network,
        optimizer,
        partial(_loss, recipe, network, train),
        seed=recipe.seed,
        steps=recipe.steps,
        batch=recipe.batch,
        rate=lambda step: warm_and_linear(step, steps=recipe.steps, highest=recipe.rate),
        checkpoint=checkpoint,
        checkpoint_every=recipe.checkpoint_every,
        settings=json.dumps(asdict(recipe), indent=0),
        log=log,
    )
    network = network.eval().to(memory_format=torch.contiguous_format)
    return _folded(network) if recipe.network == "doodlenet" else network


def measure(recipe: DrawingRecipe, network: nn.Sequential, held_out: Drawings) -> DrawingMetrics:
    """Return the accuracy on held-out drawings, plain and adversarially shifted."""
    network.eval()
    plain = shifted = 0
    for start in range(0, len(held_out.labels), _JUDGED):
        rows = np.arange(start, min(start + _JUDGED, len(held_out.labels)))
        pixels, labels = _batch(held_out, rows)
        moved = _attacked(recipe, network, pixels, labels, torch.Generator().manual_seed(start))
        with torch.no_grad():
            plain += int((logits(network, pixels).argmax(1) == labels).sum())
            shifted += int((logits(network, moved).argmax(1) == labels).sum())
    count = len(held_out.labels)
    parameters = sum(value.numel() for value in network.parameters())
    return DrawingMetrics(recipe.steps, plain / count, shifted / count, parameters)


def logits(network: nn.Sequential, pixels: Tensor) -> Tensor:
    """Return the input of the softmax, (batch, class), for RGB pixels 0..255, (batch, channel, row, column)."""
    return scaled_logits(network, pixels, MEAN, GAIN)


def _loss(
    recipe: DrawingRecipe, network: nn.Sequential, train: Drawings, step: int, generator: torch.Generator
) -> Tensor:
    rows = epoch_rows(step, seed=recipe.seed, count=recipe.train_count, batch=recipe.batch)
    pixels, labels = _batch(train, rows)
    third = torch.rand(len(labels), generator=generator) < 1 / 3
    sigma = recipe.blur * float(torch.rand((), generator=generator))
    pixels = blurred(pixels, sigma=sigma, rows=third)
    pixels = faded(pixels, most=recipe.fade, generator=generator)
    pixels = noisy(pixels, most=recipe.noise, generator=generator)
    network.eval()  # the attack uses no dropout and does not update running means
    pixels = _attacked(recipe, network, pixels, labels, generator)
    network.train()
    return functional.cross_entropy(logits(network, pixels), labels, label_smoothing=recipe.label_smoothing)


def _attacked(
    recipe: DrawingRecipe, network: nn.Sequential, pixels: Tensor, labels: Tensor, generator: torch.Generator
) -> Tensor:
    """The drawings shifted adversarially, with the recipe's radius and steps."""
    return attacked(
        lambda images: logits(network, images),
        pixels,
        labels,
        size=recipe.attack,
        steps=recipe.attack_steps,
        generator=generator,
    )


def _batch(source: Drawings, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Pixels 0..255, (batch, channel, row, column), in channels_last format, and labels, (batch,)."""
    pixels = torch.from_numpy(np.ascontiguousarray(source.pixels[rows])).float().permute(0, 3, 1, 2)
    return pixels, torch.from_numpy(source.labels[rows])


def _untrained(recipe: DrawingRecipe) -> nn.Sequential:
    if recipe.network == "doodlenet":
        return doodlenet(classes=len(CLASSES), normalised=True)
    return {"doodlejudge": doodlejudge, "doodlevgg": doodlevgg}[recipe.network](classes=len(CLASSES))


def _folded(network: nn.Sequential) -> nn.Sequential:
    """The same function without batch normalizations: each is folded into the convolution below it."""
    return fold(network, doodlenet(classes=len(CLASSES)))
