"""Training tinynet and its judge on photos: settings and photos in, weights and figures out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.data.training_images import Pictures
from pipeline.errors import DataError
from pipeline.nets.tinynet import GAIN, MEAN, SIZE, tinyjudge, tinynet
from pipeline.training.augment import blurred
from pipeline.training.course import arithmetic_threads, epoch_rows, scaled, scaled_logits, sgd, warm_and_linear
from pipeline.training.folding import fold
from pipeline.training.loop import take_steps
from pipeline.training.photo_recipe import PhotoMetrics, PhotoSettings
from pipeline.training.recall import Recall
from pipeline.training.views import cropped, recoloured
from pipeline.training.weights_file import autocast, rounded, write_weights

_JUDGED = 250  # photos a batch when accuracy is measured
GREY = (128, 128, 128)  # what a padded photo is padded with


def train_on_photos(
    settings: PhotoSettings, train: Pictures, held_out: Pictures, out: Path, log: Callable[[str], None]
) -> PhotoMetrics:
    """Train a network, leave `<network>.safetensors` in `out`, and return how good it is.

    A killed training goes on from its checkpoint in `out` to the same weights, bit for bit.
    train, held_out : photos of SIZE × SIZE pixels. Raises DataError if their classes differ, photos have none, or
    there are fewer than a batch; TrainingError when the loss is no longer a number, the last checkpoint stays.
    """
    if train.names != held_out.names:
        raise DataError("held-out photos: their classes are not those of the photos to learn from; give both alike")
    if len(train) < settings.batch:
        raise DataError(f"photos: got {len(train)}, fewer than the {settings.batch} of a step; set recipe.batch=…")
    if not len(held_out) or train.labels.min() < 0 or held_out.labels.min() < 0:
        raise DataError("photos: some have no class, or none is held out; give their classes by dataset.labels=…")
    out.mkdir(parents=True, exist_ok=True)
    with arithmetic_threads(settings.threads):
        network = fit(settings, train, checkpoint=out / f"{settings.network}.checkpoint", log=log)
        network.load_state_dict(rounded(network.state_dict()))
        metrics = measure(settings, network, train, held_out)
    log(f"held-out photos named right: {metrics.top1:.4f}, among the first five: {metrics.top5:.4f}")
    about = {
        "network": settings.network,
        "classes": list(train.names),
        "mean": MEAN,
        "gain": GAIN,
        "photos": train.digest,
        "held_out": held_out.digest,
        "settings": asdict(settings),
        "metrics": asdict(metrics),
    }
    write_weights(out / f"{settings.network}.safetensors", network.state_dict(), about, half=True)
    return metrics


def fit(settings: PhotoSettings, train: Pictures, *, checkpoint: Path, log: Callable[[str], None]) -> nn.Sequential:
    """Return the trained network, with its batch normalisations folded away where it is shipped without."""
    torch.manual_seed(settings.seed)
    classes = len(train.names)
    network = _untrained(settings, classes).to(memory_format=torch.channels_last)
    learner = _recalling(network) if settings.recall else network
    optimiser = sgd(learner, rate=settings.rate, momentum=settings.momentum, weight_decay=settings.weight_decay)
    learner.train()
    take_steps(
        learner,
        optimiser,
        partial(_loss, settings, learner, train),
        seed=settings.seed,
        steps=settings.steps(len(train)),
        batch=settings.batch,
        rate=lambda step: _rate(settings, step, len(train)),
        checkpoint=checkpoint,
        checkpoint_every=settings.checkpoint_every,
        settings=json.dumps(asdict(settings) | {"photos": train.digest}, indent=0),
        log=log,
    )
    network = network.eval().to(memory_format=torch.contiguous_format)
    return fold(network, tinynet(classes=classes)) if settings.network == "tinynet" else network


def measure(settings: PhotoSettings, network: nn.Sequential, train: Pictures, held_out: Pictures) -> PhotoMetrics:
    """Return how many held-out photos are named right, in full precision."""
    ranks = []
    with torch.no_grad():
        for start in range(0, len(held_out), _JUDGED):
            pixels, labels = _batch(held_out, np.arange(start, min(start + _JUDGED, len(held_out))))
            values = logits(network, pixels)
            ranks.append((~(values < values.gather(1, labels[:, None]))).sum(1) - 1)  # a tie names nothing
    rank = torch.cat(ranks)
    return PhotoMetrics(
        steps=settings.steps(len(train)),
        photos=len(held_out),
        top1=float((rank == 0).float().mean()),
        top5=float((rank < 5).float().mean()),
        parameters=sum(value.numel() for value in network.parameters()),
    )


def logits(network: nn.Sequential, pixels: Tensor) -> Tensor:
    """Return what stands before the softmax, for RGB pixels 0..255 (batch, channel, row, column)."""
    return scaled_logits(network, pixels, MEAN, GAIN)


def _loss(
    settings: PhotoSettings, learner: nn.Module, train: Pictures, step: int, generator: torch.Generator
) -> Tensor:
    pixels, labels = _batch(train, epoch_rows(step, seed=settings.seed, count=len(train), batch=settings.batch))
    main = settings.main_steps(len(train))
    size = settings.first_size if step < settings.first_share * main else SIZE
    least_area = settings.least_area if step < main else settings.closing_area
    pixels = cropped(pixels, size=size, least_area=least_area, most_aspect=settings.most_aspect, generator=generator)
    pixels = recoloured(pixels, most=settings.recolour, generator=generator)
    sigma, half = torch.rand(1, generator=generator), torch.rand(len(pixels), generator=generator) < 0.5
    pixels = blurred(pixels, sigma=settings.blur * float(sigma), rows=half)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    with autocast("cpu", settings.precision):
        values, forgotten = learner(scaled(pixels, MEAN, GAIN)) if settings.recall else (logits(learner, pixels), 0.0)
    named = functional.cross_entropy(values.float(), labels, label_smoothing=settings.label_smoothing)
    return named + settings.recall * forgotten


def _rate(settings: PhotoSettings, step: int, photos: int) -> float:
    main, steps = settings.main_steps(photos), settings.steps(photos)
    if step < main:
        return warm_and_linear(step, steps=main, highest=settings.rate)
    return settings.closing_rate * (steps - step) / (steps - main)


def _batch(source: Pictures, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Pixels 0..255 (batch, channel, row, column), and labels (batch,)."""
    pixels = torch.from_numpy(source.pixels(rows)).float().permute(0, 3, 1, 2)
    return pixels, torch.from_numpy(source.labels[rows])


def _recalling(network: nn.Sequential) -> Recall:
    """A tinynet in training whose fc6 has to tell what conv4 was."""
    channels, entries = network.get_submodule("conv4").out_channels, network.get_submodule("fc6").out_features
    return Recall(network, told="relu4", channels=channels, code="relu6", entries=entries)


def _untrained(settings: PhotoSettings, classes: int) -> nn.Sequential:
    if settings.network == "tinyjudge":
        return tinyjudge(classes=classes)
    return tinynet(classes=classes, normalised=True)
