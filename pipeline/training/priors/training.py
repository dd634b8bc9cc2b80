"""Training a prior: a network, a layer and images in; a prior's folder, its errors and snapshots out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pipeline.data.training_images import Pictures
from pipeline.errors import DataError, SettingsError
from pipeline.nets.network import Network
from pipeline.priors.generator import Generator, GeneratorShape
from pipeline.priors.prior import Prior, read_prior, trained_prior, write_prior
from pipeline.training.checkpoint import load_checkpoint
from pipeline.training.priors.adversarial import GeneratorTraining, recipe_text, train_generator
from pipeline.training.priors.comparator import Comparator, code_statistics, real_images
from pipeline.training.priors.discriminator import check_size
from pipeline.training.priors.evaluation import Errors, measure_errors, reconstruct
from pipeline.training.priors.linear_probe import explained_variance, probe_text
from pipeline.training.priors.process_group import ALONE, ProcessGroup
from pipeline.training.priors.recipe import PriorRecipe
from pipeline.training.priors.report import card_text
from pipeline.training.schedule import arithmetic_threads
from pipeline.training.weights_file import rounded

_SHOWN = 12  # held-out images in a snapshot


@dataclass(frozen=True)
class PriorRequest:
    """What is trained."""

    name: str  # of the prior
    layer: str  # its values, after their ReLU, are the codes
    recipe: PriorRecipe
    licence: str  # of the prior
    facts_images: int  # real images, chosen at random, whose codes are measured
    measured: int  # held-out images on which errors are measured
    begin: Prior | None  # a prior of the same form, whose weights are the generator's initial weights
    until: int  # last step of this training; at most the recipe's


@dataclass(frozen=True)
class Trained:
    """A trained prior as it was stored, and its errors beside those of the baselines."""

    prior: Prior
    errors: dict[str, Errors]


def train_prior(
    request: PriorRequest,
    network: Network,
    train: Pictures,
    held_out: Pictures,
    out: Path,
    *,
    log: Callable[[str], None],
    metrics: Callable[[int, dict[str, float]], None],
    snapshot: Callable[[int, np.ndarray, np.ndarray], None],
    group: ProcessGroup = ALONE,
) -> Trained | None:
    """Train a prior for a layer of a network, write its folder into `out`, and return it with its errors.

    A training run that was stopped resumes from its checkpoint in `out`.

    train, held_out : pictures of the network's input size.
    log : called with each line of the log.
    metrics : called with a step and the mean losses since the last call.
    snapshot : called with a step, held-out pictures and their reconstructions, both uint8 (picture, row, column, rgb).
    group : the processes that train together. Only the first calls `metrics` and `snapshot`.
    Returns None in all processes but the first.
    Raises DataError if the images do not fill a step; SettingsError, OutputError or TrainingError as check_begin,
    load_checkpoint and train_generator do.
    """
    recipe = request.recipe
    if recipe.batch * group.size > len(train):
        raise DataError(f"images: got {len(train)}, fewer than the {recipe.batch * group.size} of a step")
    inputs = {"network": network.digest, "layer": request.layer, "images": train.digest, "processes": group.size}
    if request.begin is not None:
        check_begin(request.begin, recipe, network, request.layer)
        inputs["begin"] = request.begin.digest
    settings, checkpoint = recipe_text(recipe, inputs), out / "training.checkpoint"
    load_checkpoint(checkpoint, settings=settings)  # an error is raised before the codes are measured
    out.mkdir(parents=True, exist_ok=True)
    with arithmetic_threads(recipe.threads):
        torch.manual_seed(recipe.seed)
        network = network.to(device=group.device)
        encoder, comparator = Comparator(network, [request.layer]), Comparator(network, recipe.comparator)
        statistics = code_statistics(encoder, comparator, train, request.facts_images, recipe.seed, group.device)
        probe = ""
        if group.leads:
            probe = probe_text(request.layer, explained_variance(encoder, comparator, train, held_out, group.device))
            if probe:
                log(probe)
        generator = Generator(generator_shape(recipe, network, request.layer, statistics.scale))
        if request.begin is not None:
            generator.load_state_dict(request.begin.generator.state_dict())
        training = GeneratorTraining(recipe, generator, encoder, comparator, statistics, train, group)
        shown = real_images(held_out, slice(_SHOWN)).to(group.device)

        def reconstructions(step: int, average: nn.Module) -> None:
            snapshot(step, _bytes(shown), _bytes(reconstruct(average, encoder, shown)))

        average = train_generator(
            training,
            until=request.until,
            checkpoint=checkpoint,
            settings=settings,
            log=log,
            metrics=metrics,
            snapshot=reconstructions,
        )
        if not group.leads:
            return None
        average.load_state_dict(rounded(average.state_dict()))  # as it is stored
        layers = Comparator(network, _convolutional_layers(network))
        errors = measure_errors(average, encoder, layers, held_out, statistics.mean, request.measured, group.device)
        prior = trained_prior(
            name=request.name,
            network=network.name,
            network_digest=network.digest,
            code_layer=request.layer,
            generator=average.cpu().to(memory_format=torch.contiguous_format),  # type: ignore[arg-type]
            code_mean=statistics.mean,
            code_deviation=statistics.deviation,
            trained_on={"images": train.digest, "count": len(train), "recipe": asdict(recipe), **_range(request)},
            licence=request.licence,
            card="",
        )
        card = card_text(prior, recipe, errors, probe, min(request.measured, len(held_out)), group.size)
        write_prior(out / request.name, replace(prior, card=card), half=True)
        prior = read_prior(out / request.name)
    return Trained(prior, errors)


def check_request(recipe: PriorRecipe, network: Network, layer: str) -> None:
    """Check that a recipe fits a network and its layer.

    Raises UnitError for a layer that the network lacks, SettingsError for a network or recipe that gives no prior.
    """
    Comparator(network, [layer, *recipe.comparator])
    check_size(recipe.discriminator, min(network.preprocessing.height, network.preprocessing.width))


def check_begin(begin: Prior, recipe: PriorRecipe, network: Network, layer: str) -> None:
    """Raise SettingsError if a training run cannot begin with this prior: it has another code, or another form."""
    if (begin.network_digest, begin.code_layer) != (network.digest, layer):
        raise SettingsError(
            f"begin {begin.name}: it inverts {begin.code_layer} of {begin.network} ({begin.network_digest[:12]}), not "
            f"{layer} of {network.name} ({network.digest[:12]}); name a prior of this code"
        )
    stored = asdict(begin.generator.shape)  # type: ignore[arg-type]
    for name, asked in asdict(generator_shape(recipe, network, layer, 1.0)).items():
        if name not in ("scale", "notch") and stored[name] != asked:  # these two do not affect the form of the weights
            raise SettingsError(
                f"begin {begin.name}: its generator has {name} {stored[name]}, this recipe asks for {asked}; set it "
                "alike, or begin without"
            )


def generator_shape(recipe: PriorRecipe, network: Network, layer: str, scale: float) -> GeneratorShape:
    """Return the form of the generator for codes of a layer and images of the network's input size.

    scale : codes are divided by this, about their root mean square.
    """
    code = tuple(network.shape(network.layer(layer).node))
    size = network.preprocessing
    return GeneratorShape(
        code=code if len(code) == 3 and code[1:] != (1, 1) else code[:1],
        image=(size.height, size.width),
        hidden=code[0] if recipe.hidden is None else recipe.hidden,
        grid_channels=recipe.grid_channels,
        least_channels=recipe.least_channels,
        twice_up_to=recipe.twice_up_to,
        slope=recipe.slope,
        scale=scale,
        notch=recipe.notch,
    )


def _range(request: PriorRequest) -> dict[str, object]:
    """The prior that the training began with, and the step that it ended with, if they are not the recipe's."""
    begun = {} if request.begin is None else {"begin": {"name": request.begin.name, "digest": request.begin.digest}}
    return begun if request.until == request.recipe.steps else {**begun, "until": request.until}


def _convolutional_layers(network: Network) -> list[str]:
    return [layer.name for layer in network.layers.values() if layer.kind == "conv"]


def _bytes(images: torch.Tensor) -> np.ndarray:
    levels = ((images.float().cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).numpy())
