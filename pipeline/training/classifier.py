"""Training doodlenet and its companions on drawings: settings in, weights and figures out."""

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

from pipeline.data.doodles import CLASSES, REVISION
from pipeline.data.training_images import Drawings, drawings
from pipeline.nets.doodlenet import GAIN, MEAN, SIZE, doodlejudge, doodlenet, doodlevgg
from pipeline.training.augment import attacked, blurred, faded, noisy
from pipeline.training.course import arithmetic_threads, epoch_rows, scaled_logits, sgd, warm_and_linear
from pipeline.training.folding import fold
from pipeline.training.loop import take_steps
from pipeline.training.recipe import ClassifierSettings, Metrics
from pipeline.training.weights_file import write_weights

__all__ = ["ClassifierSettings", "Metrics", "fit", "logits", "measure", "train_classifier"]

_JUDGED = 250  # drawings a batch when accuracy is measured


def train_classifier(
    settings: ClassifierSettings, out: Path, log: Callable[[str], None], *, cache: Path | None = None
) -> Metrics:
    """Train a network, leave `<network>.safetensors` in `out`, and return how good it is.

    A killed training goes on from its checkpoint in `out` to the same weights, bit for bit.
    cache : folder for the drawings, shared by trainings; `out/drawings` when None.
    """
    out.mkdir(parents=True, exist_ok=True)
    folder = out / "drawings" if cache is None else cache
    train, held_out = (
        drawings(seed=seed, count=count, size=SIZE, folder=folder, processes=settings.threads, log=log)
        for seed, count in (
            (settings.train_seed, settings.train_count),
            (settings.held_out_seed, settings.held_out_count),
        )
    )
    with arithmetic_threads(settings.threads):
        network = fit(settings, train, checkpoint=out / f"{settings.network}.checkpoint", log=log)
        metrics = measure(settings, network, held_out)
    log(f"held-out accuracy {metrics.accuracy:.4f}, attacked {metrics.attacked_accuracy:.4f}")
    about = _about(settings, metrics)
    write_weights(out / f"{settings.network}.safetensors", network.state_dict(), about, half=False)
    return metrics


def fit(
    settings: ClassifierSettings, train: Drawings, *, checkpoint: Path, log: Callable[[str], None]
) -> nn.Sequential:
    """Return the trained network, with its batch normalisations folded away where it is shipped without."""
    torch.manual_seed(settings.seed)
    network = _untrained(settings).to(memory_format=torch.channels_last)
    optimiser = sgd(network, rate=settings.rate, momentum=settings.momentum, weight_decay=settings.weight_decay)
    take_steps(
        network,
        optimiser,
        partial(_loss, settings, network, train),
        seed=settings.seed,
        steps=settings.steps,
        batch=settings.batch,
        rate=lambda step: warm_and_linear(step, steps=settings.steps, highest=settings.rate),
        checkpoint=checkpoint,
        checkpoint_every=settings.checkpoint_every,
        settings=json.dumps(asdict(settings), indent=0),
        log=log,
    )
    network = network.eval().to(memory_format=torch.contiguous_format)
    return _folded(network) if settings.network == "doodlenet" else network


def measure(settings: ClassifierSettings, network: nn.Sequential, held_out: Drawings) -> Metrics:
    """Return the accuracy on plain and on attacked held-out drawings."""
    network.eval()
    plain = shifted = 0
    for start in range(0, len(held_out.labels), _JUDGED):
        rows = np.arange(start, min(start + _JUDGED, len(held_out.labels)))
        pixels, labels = _batch(held_out, rows)
        generator = torch.Generator().manual_seed(start)
        moved = attacked(
            lambda images: logits(network, images),
            pixels,
            labels,
            size=settings.attack,
            steps=settings.attack_steps,
            generator=generator,
        )
        with torch.no_grad():
            plain += int((logits(network, pixels).argmax(1) == labels).sum())
            shifted += int((logits(network, moved).argmax(1) == labels).sum())
    count = len(held_out.labels)
    parameters = sum(value.numel() for value in network.parameters())
    return Metrics(settings.steps, plain / count, shifted / count, parameters)


def logits(network: nn.Sequential, pixels: Tensor) -> Tensor:
    """Return what stands before the softmax, for RGB pixels 0..255 (batch, channel, row, column)."""
    return scaled_logits(network, pixels, MEAN, GAIN)


def _loss(
    settings: ClassifierSettings, network: nn.Sequential, train: Drawings, step: int, generator: torch.Generator
) -> Tensor:
    rows = epoch_rows(step, seed=settings.seed, count=settings.train_count, batch=settings.batch)
    pixels, labels = _batch(train, rows)
    some = torch.rand(len(labels), generator=generator) < 1 / 3
    sigma = settings.blur * float(torch.rand((), generator=generator))
    pixels = blurred(pixels, sigma=sigma, rows=some)
    pixels = faded(pixels, most=settings.fade, generator=generator)
    pixels = noisy(pixels, most=settings.noise, generator=generator)
    network.eval()  # the attack neither drops units nor touches running means
    pixels = attacked(
        lambda images: logits(network, images),
        pixels,
        labels,
        size=settings.attack,
        steps=settings.attack_steps,
        generator=generator,
    )
    network.train()
    return functional.cross_entropy(logits(network, pixels), labels, label_smoothing=settings.label_smoothing)


def _batch(source: Drawings, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Pixels 0..255 (batch, channel, row, column), laid out channels last, and labels (batch,)."""
    pixels = torch.from_numpy(np.ascontiguousarray(source.pixels[rows])).float().permute(0, 3, 1, 2)
    return pixels, torch.from_numpy(source.labels[rows])


def _untrained(settings: ClassifierSettings) -> nn.Sequential:
    if settings.network == "doodlenet":
        return doodlenet(classes=len(CLASSES), normalised=True)
    return {"doodlejudge": doodlejudge, "doodlevgg": doodlevgg}[settings.network](classes=len(CLASSES))


def _folded(network: nn.Sequential) -> nn.Sequential:
    """The same function without batch normalisations: each is folded into the convolution before it."""
    return fold(network, doodlenet(classes=len(CLASSES)))


def _about(settings: ClassifierSettings, metrics: Metrics) -> dict[str, object]:
    """What a reader of the weights needs to know."""
    return {
        "network": settings.network,
        "classes": CLASSES,
        "mean": MEAN,
        "gain": GAIN,
        "drawings": REVISION,
        "settings": asdict(settings),
        "metrics": asdict(metrics),
    }
