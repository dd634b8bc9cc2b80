"""Training a classifier of photos (tinynet and its judge): a recipe and photos in; weights and accuracy out."""

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

from pipeline.data.training_images import Pictures
from pipeline.errors import DataError, SettingsError, WeightsError, nearest
from pipeline.nets.tinynet import GAIN, MEAN, SIZE, tinyjudge, tinynet
from pipeline.training.classifiers.augmentation import blurred, cropped, recoloured
from pipeline.training.classifiers.auxiliary_decoder import AuxiliaryDecoder
from pipeline.training.classifiers.loop import fold, scaled, scaled_logits, sgd, take_steps
from pipeline.training.schedule import arithmetic_threads, autocast, epoch_rows, warm_and_linear
from pipeline.training.weights_file import read_about, rounded, write_weights

PHOTO_NETWORKS = ("tinynet", "tinyjudge")
GREY = (128, 128, 128)  # padding colour of photos
_JUDGED = 250  # photos in a batch when accuracy is measured


@dataclass(frozen=True)
class PhotoRecipe:
    """Everything that, with the photos, decides the weights on one kind of machine."""

    network: str  # one of PHOTO_NETWORKS
    seed: int  # of initial weights, order of the photos, and augmentation
    epochs: int
    batch: int  # photos in a step
    rate: float  # highest learning rate, reached after the first tenth of the steps; it then falls linearly to zero
    momentum: float
    weight_decay: float  # of weights; biases and normalization parameters do not decay
    label_smoothing: float
    least_area: float  # smallest share of a photo's area that a crop shows
    most_aspect: float  # largest aspect ratio of a crop
    recolour: float  # largest relative change of brightness, contrast and saturation
    blur: float  # largest sigma of the blur, pixels; half of the crops are blurred
    recall: float  # weight of the error of the auxiliary decoder, which reconstructs conv4 from fc6; 0: no decoder
    first_size: int  # pixels a side of the crops …
    first_share: float  # … in this share of the steps, at the beginning
    closing_epochs: int  # epochs at the end, with a low rate …
    closing_area: float  # … and crops of at least this share of the area, closer to the photos that are measured
    closing_rate: float  # learning rate when they begin; it falls linearly to zero
    precision: str  # "fp32", or mixed precision: "bf16"
    threads: int  # of arithmetic; their number decides the last digits
    checkpoint_every: int  # steps

    def __post_init__(self) -> None:
        if self.network not in PHOTO_NETWORKS:
            raise SettingsError(
                f"network: got {self.network!r}, expected one of {', '.join(PHOTO_NETWORKS)}"
                f"{nearest(self.network, PHOTO_NETWORKS)}"
            )
        for name in ("epochs", "batch", "first_size", "threads", "checkpoint_every", "most_aspect"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name}: got {getattr(self, name)}, expected at least 1")
        amounts = "rate", "momentum", "weight_decay", "recolour", "blur", "recall", "closing_epochs", "closing_rate"
        for name in amounts:
            if getattr(self, name) < 0:
                raise SettingsError(f"{name}: got {getattr(self, name)}, expected 0 or more")
        if not (
            0 <= self.label_smoothing < 1
            and 0 < self.least_area <= 1
            and 0 < self.closing_area <= 1
            and 0 <= self.first_share <= 1
        ):
            raise SettingsError("label_smoothing, least_area, closing_area, first_share: expected shares of 1")
        if self.recall and self.network != "tinynet":
            raise SettingsError(
                f"recall: got {self.recall}, expected 0: {self.network} has no fc6 for the auxiliary decoder"
            )
        if self.precision not in ("fp32", "bf16"):
            raise SettingsError(f"precision: got {self.precision!r}, expected fp32 or bf16")

    def main_steps(self, photos: int) -> int:
        """Steps before the closing epochs; the photos that do not fill the last batch of an epoch are left out of it.

        photos : number of photos to train on.
        """
        return self.epochs * (photos // self.batch)

    def steps(self, photos: int) -> int:
        """All steps.

        photos : number of photos to train on.
        """
        return (self.epochs + self.closing_epochs) * (photos // self.batch)


@dataclass(frozen=True)
class PhotoMetrics:
    """What is measured at the end of a training run, with the weights as they are stored."""

    steps: int
    photos: int  # number of held-out photos
    top1: float
    top5: float
    parameters: int


def photo_recipe(weights: Path) -> PhotoRecipe:
    """Return the recipe in the metadata of a file of weights.

    Raises WeightsError if the file is missing, is damaged, or has no such recipe.
    """
    about = read_about(weights)
    try:
        return PhotoRecipe(**about["settings"])
    except (KeyError, TypeError) as error:
        raise WeightsError(f"{weights}: was not trained on photos here ({error}); name a file that was") from error


def train_on_photos(
    recipe: PhotoRecipe, train: Pictures, held_out: Pictures, out: Path, log: Callable[[str], None]
) -> PhotoMetrics:
    """Train a network, write `<network>.safetensors` into `out`, and return its accuracy.

    A training run that was killed resumes from its checkpoint in `out` and gives the same bytes.

    recipe : with the photos, decides the weights.
    train, held_out : photos of SIZE x SIZE pixels, of the same classes.
    out : folder of the checkpoint and the weights; made if it does not exist.
    log : called with each line of the log.
    Raises DataError if the classes differ, a photo has no class, or the photos do not fill a batch; TrainingError if
    the loss is not a finite number (the last checkpoint stays).
    """
    if train.names != held_out.names:
        raise DataError("held-out photos: their classes are not those of the photos to train on; give both alike")
    if len(train) < recipe.batch:
        raise DataError(f"photos: got {len(train)}, fewer than the {recipe.batch} of a step; set recipe.batch=…")
    if not len(held_out) or train.labels.min() < 0 or held_out.labels.min() < 0:
        raise DataError("photos: some have no class, or none is held out; give their classes by dataset.labels=…")
    out.mkdir(parents=True, exist_ok=True)
    with arithmetic_threads(recipe.threads):
        network = fit(recipe, train, checkpoint=out / f"{recipe.network}.checkpoint", log=log)
        network.load_state_dict(rounded(network.state_dict()))
        metrics = measure(recipe, network, train, held_out)
    log(f"held-out accuracy {metrics.top1:.4f}, top-5 {metrics.top5:.4f}")
    about = {
        "network": recipe.network,
        "classes": list(train.names),
        "mean": MEAN,
        "gain": GAIN,
        "photos": train.digest,
        "held_out": held_out.digest,
        "settings": asdict(recipe),
        "metrics": asdict(metrics),
    }
    write_weights(out / f"{recipe.network}.safetensors", network.state_dict(), about, half=True)
    return metrics


def fit(recipe: PhotoRecipe, train: Pictures, *, checkpoint: Path, log: Callable[[str], None]) -> nn.Sequential:
    """Return the trained network in evaluation mode; tinynet's batch normalizations are folded.

    train : photos to train on.
    checkpoint : file of the checkpoint; training resumes from it if it exists.
    """
    torch.manual_seed(recipe.seed)
    classes = len(train.names)
    network = _untrained(recipe, classes).to(memory_format=torch.channels_last)
    learner = _with_decoder(network) if recipe.recall else network
    optimizer = sgd(learner, rate=recipe.rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    learner.train()
    take_steps(
        learner,
        optimizer,
        partial(_loss, recipe, learner, train),
        seed=recipe.seed,
        steps=recipe.steps(len(train)),
        batch=recipe.batch,
        rate=lambda step: _rate(recipe, step, len(train)),
        checkpoint=checkpoint,
        checkpoint_every=recipe.checkpoint_every,
        settings=json.dumps(asdict(recipe) | {"photos": train.digest}, indent=0),
        log=log,
    )
    network = network.eval().to(memory_format=torch.contiguous_format)
    return fold(network, tinynet(classes=classes)) if recipe.network == "tinynet" else network


def measure(recipe: PhotoRecipe, network: nn.Sequential, train: Pictures, held_out: Pictures) -> PhotoMetrics:
    """Return the accuracy on held-out photos, in single precision."""
    ranks = []
    with torch.no_grad():
        for start in range(0, len(held_out), _JUDGED):
            pixels, labels = _batch(held_out, np.arange(start, min(start + _JUDGED, len(held_out))))
            values = logits(network, pixels)
            ranks.append((~(values < values.gather(1, labels[:, None]))).sum(1) - 1)  # a tie counts as a miss
    rank = torch.cat(ranks)
    return PhotoMetrics(
        steps=recipe.steps(len(train)),
        photos=len(held_out),
        top1=float((rank == 0).float().mean()),
        top5=float((rank < 5).float().mean()),
        parameters=sum(value.numel() for value in network.parameters()),
    )


def logits(network: nn.Sequential, pixels: Tensor) -> Tensor:
    """Return the input of the softmax, (batch, class), for RGB pixels 0..255, (batch, channel, row, column)."""
    return scaled_logits(network, pixels, MEAN, GAIN)


def _loss(recipe: PhotoRecipe, learner: nn.Module, train: Pictures, step: int, generator: torch.Generator) -> Tensor:
    pixels, labels = _batch(train, epoch_rows(step, seed=recipe.seed, count=len(train), batch=recipe.batch))
    main = recipe.main_steps(len(train))
    size = recipe.first_size if step < recipe.first_share * main else SIZE
    least_area = recipe.least_area if step < main else recipe.closing_area
    pixels = cropped(pixels, size=size, least_area=least_area, most_aspect=recipe.most_aspect, generator=generator)
    pixels = recoloured(pixels, most=recipe.recolour, generator=generator)
    sigma, half = torch.rand(1, generator=generator), torch.rand(len(pixels), generator=generator) < 0.5
    pixels = blurred(pixels, sigma=recipe.blur * float(sigma), rows=half)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    with autocast("cpu", recipe.precision):
        values, error = learner(scaled(pixels, MEAN, GAIN)) if recipe.recall else (logits(learner, pixels), 0.0)
    classified = functional.cross_entropy(values.float(), labels, label_smoothing=recipe.label_smoothing)
    return classified + recipe.recall * error


def _rate(recipe: PhotoRecipe, step: int, photos: int) -> float:
    main, steps = recipe.main_steps(photos), recipe.steps(photos)
    if step < main:
        return warm_and_linear(step, steps=main, highest=recipe.rate)
    return recipe.closing_rate * (steps - step) / (steps - main)


def _batch(source: Pictures, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Pixels 0..255, (batch, channel, row, column), and labels, (batch,)."""
    pixels = torch.from_numpy(source.pixels(rows)).float().permute(0, 3, 1, 2)
    return pixels, torch.from_numpy(source.labels[rows])


def _with_decoder(network: nn.Sequential) -> AuxiliaryDecoder:
    """A tinynet in training with a decoder that reconstructs conv4 from fc6."""
    channels, entries = network.get_submodule("conv4").out_channels, network.get_submodule("fc6").out_features
    return AuxiliaryDecoder(network, target="relu4", channels=channels, code="relu6", entries=entries)


def _untrained(recipe: PhotoRecipe, classes: int) -> nn.Sequential:
    if recipe.network == "tinyjudge":
        return tinyjudge(classes=classes)
    return tinynet(classes=classes, normalised=True)
