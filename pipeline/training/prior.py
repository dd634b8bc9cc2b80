"""Training a prior: a network, a layer and images in; a prior's folder, figures and looks on the way out."""

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
from pipeline.training.comparator import Comparator
from pipeline.training.course import arithmetic_threads
from pipeline.training.discriminator import check_size
from pipeline.training.gang import ALONE, Gang
from pipeline.training.generator import CodeFacts, PriorTraining, recipe_text, train_generator
from pipeline.training.knowledge import knowledge_text, shares_told
from pipeline.training.prior_card import card_text
from pipeline.training.prior_recipe import PriorRecipe
from pipeline.training.reconstructions import Errors, measure_errors, real_images, reconstruct
from pipeline.training.weights_file import rounded

_FACTS_BATCH = 100
_SHOWN = 12  # held-out images whose reconstructions are looked at


@dataclass(frozen=True)
class PriorRequest:
    """What is trained. name : of the prior. layer : whose values, after their ReLU, are the codes. licence : of the
    result. facts_images : real images, the first of an order by chance, whose codes are measured. measured : held-out
    images that errors are measured on. begin : a prior of the same form, whose weights the generator begins with.
    until : step that the training ends with, at most the recipe's last."""

    name: str
    layer: str
    recipe: PriorRecipe
    licence: str
    facts_images: int
    measured: int
    begin: Prior | None
    until: int


@dataclass(frozen=True)
class Trained:
    """The prior as it was stored, and its errors beside trivial answers'."""

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
    look: Callable[[int, np.ndarray, np.ndarray], None],
    gang: Gang = ALONE,
) -> Trained | None:
    """Train a prior for a layer of a network, and leave its folder in `out`; goes on from a checkpoint there.

    train, held_out : pictures of the network's input size. metrics : told step and mean losses. look : shown step,
    held-out pictures and their reconstructions, uint8 (picture, row, column, rgb). Returns None in processes that do
    not lead their gang.
    """
    recipe = request.recipe
    if recipe.batch * gang.size > len(train):
        raise DataError(f"images: got {len(train)}, fewer than the {recipe.batch * gang.size} of a step")
    told = {"network": network.digest, "layer": request.layer, "images": train.digest, "processes": gang.size}
    if request.begin is not None:
        check_begin(request.begin, recipe, network, request.layer)
        told["begin"] = request.begin.digest
    settings, checkpoint = recipe_text(recipe, told), out / "training.checkpoint"
    load_checkpoint(checkpoint, settings=settings)  # refused before the codes are measured, if it must be
    out.mkdir(parents=True, exist_ok=True)
    with arithmetic_threads(recipe.threads):
        torch.manual_seed(recipe.seed)
        network = network.to(device=gang.device)
        encoder, comparator = Comparator(network, [request.layer]), Comparator(network, recipe.comparator)
        facts = code_facts(encoder, comparator, train, request.facts_images, recipe.seed, gang.device)
        known = ""
        if gang.leads:
            known = knowledge_text(request.layer, shares_told(encoder, comparator, train, held_out, gang.device))
            if known:
                log(known)
        generator = Generator(generator_shape(recipe, network, request.layer, facts.scale))
        if request.begin is not None:
            generator.load_state_dict(request.begin.generator.state_dict())
        training = PriorTraining(recipe, generator, encoder, comparator, facts, train, gang)
        shown = real_images(held_out, slice(_SHOWN)).to(gang.device)

        def see(step: int, average: nn.Module) -> None:
            look(step, _bytes(shown), _bytes(reconstruct(average, encoder, shown)))

        average = train_generator(
            training,
            until=request.until,
            checkpoint=checkpoint,
            settings=settings,
            log=log,
            metrics=metrics,
            look=see,
        )
        if not gang.leads:
            return None
        average.load_state_dict(rounded(average.state_dict()))  # as it is stored
        layers = Comparator(network, _measured_layers(network))
        errors = measure_errors(average, encoder, layers, held_out, facts.mean, request.measured, gang.device)
        prior = trained_prior(
            name=request.name,
            network=network.name,
            network_digest=network.digest,
            code_layer=request.layer,
            generator=average.cpu().to(memory_format=torch.contiguous_format),  # type: ignore[arg-type]
            code_mean=facts.mean,
            code_deviation=facts.deviation,
            trained_on={"images": train.digest, "count": len(train), "recipe": asdict(recipe), **_course(request)},
            licence=request.licence,
            card="",
        )
        card = card_text(prior, recipe, errors, known, min(request.measured, len(held_out)), gang.size)
        write_prior(out / request.name, replace(prior, card=card), half=True)
        prior = read_prior(out / request.name)
    return Trained(prior, errors)


def check_request(recipe: PriorRecipe, network: Network, layer: str) -> None:
    """Raise UnitError for a layer that the network lacks, SettingsError for a network or recipe that gives no prior."""
    Comparator(network, [layer, *recipe.comparator])
    check_size(recipe.discriminator, min(network.preprocessing.height, network.preprocessing.width))


def check_begin(begin: Prior, recipe: PriorRecipe, network: Network, layer: str) -> None:
    """Raise SettingsError for a prior that a training cannot begin with: of another code, or of another form."""
    if (begin.network_digest, begin.code_layer) != (network.digest, layer):
        raise SettingsError(
            f"begin {begin.name}: it inverts {begin.code_layer} of {begin.network} ({begin.network_digest[:12]}), not "
            f"{layer} of {network.name} ({network.digest[:12]}); name a prior of this code"
        )
    found = asdict(begin.generator.shape)  # type: ignore[arg-type]
    for name, wanted in asdict(generator_shape(recipe, network, layer, 1.0)).items():
        if name not in ("scale", "notch") and found[name] != wanted:  # neither is of the weights
            raise SettingsError(
                f"begin {begin.name}: its generator has {name} {found[name]}, this recipe asks for {wanted}; set it "
                "alike, or begin without"
            )


def code_facts(
    encoder: Comparator, comparator: Comparator, train: Pictures, count: int, seed: int, device: torch.device
) -> CodeFacts:
    """What is known of the codes of real images, over `count` of them chosen by chance; float64 sums."""
    count = min(count, len(train))
    rows = np.sort(np.random.Generator(np.random.Philox(key=[seed, 1 << 40])).permutation(len(train))[:count])
    total = squares = None
    energies = np.zeros(len(comparator.layers))
    for at in range(0, count, _FACTS_BATCH):
        pixels = torch.from_numpy(train.pixels(rows[at : at + _FACTS_BATCH]))
        images = pixels.permute(0, 3, 1, 2).to(device).float() / 127.5 - 1
        with torch.no_grad():
            code = encoder.values(images)[0].flatten(1).double().cpu().numpy()
            energies += [float(value.double().square().mean()) * len(images) for value in comparator.values(images)]
        total = code.sum(0) if total is None else total + code.sum(0)
        squares = np.square(code).sum(0) if squares is None else squares + np.square(code).sum(0)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return CodeFacts(
        mean.astype(np.float32), deviation.astype(np.float32), float(np.sqrt(squares.mean() / count)),
        (energies / count).tolist(),
    )  # fmt: skip


def generator_shape(recipe: PriorRecipe, network: Network, layer: str, scale: float) -> GeneratorShape:
    """The form of the generator for codes of a layer and images of the network's size."""
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


def _course(request: PriorRequest) -> dict[str, object]:
    """What a training began with and where it ended, where that is not its recipe's."""
    begun = {} if request.begin is None else {"begin": {"name": request.begin.name, "digest": request.begin.digest}}
    return begun if request.until == request.recipe.steps else {**begun, "until": request.until}


def _measured_layers(network: Network) -> list[str]:
    """The convolutional layers, whose values after their ReLUs are compared."""
    return [layer.name for layer in network.layers.values() if layer.kind == "conv"]


def _bytes(images: torch.Tensor) -> np.ndarray:
    levels = ((images.float().cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).numpy())
