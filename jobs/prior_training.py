"""What each process of a prior's training does: open network and images, train; the first also writes and speaks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from atlas_viewer.site.training_page import write_page
from atlas_viewer.training_log import METRICS, TrainingFacts, write_facts, write_look, write_metrics
from jobs.gang import Place
from pipeline.dataset_settings import DatasetSettings
from pipeline.errors import DataError
from pipeline.settings import DeviceSettings, ModelSettings
from pipeline.training.prior_recipe import PriorRecipe


@dataclass(frozen=True)
class PriorJob:
    """What `make prior` is asked. held_out : images that are never learned from. facts_images : whose codes are
    measured. begin : folder of a prior to begin with. until : step to end with, at most the recipe's last. out : a
    folder that all processes see."""

    name: str
    layer: str
    model: ModelSettings
    dataset: DatasetSettings
    recipe: PriorRecipe
    device: DeviceSettings
    held_out: int
    facts_images: int
    licence: str
    begin: Path | None
    until: int
    out: Path


def open_images(job: PriorJob, network: object, log: object):
    """The images to learn from and those held out, decoded to the network's size, once for all processes."""
    from pipeline.cuts import ground
    from pipeline.data.open_source import open_source
    from pipeline.data.training_images import read_pictures
    from pipeline.nets.download import cache_folder

    size = network.preprocessing  # type: ignore[attr-defined]
    source = open_source(job.dataset, cache=cache_folder())
    if job.held_out >= len(source):  # before anything is decoded
        raise DataError(f"held_out: got {job.held_out}, but {source.name} has {len(source)} images; hold out fewer")
    pictures = read_pictures(
        source,
        height=size.height,
        width=size.width,
        preprocess=job.dataset.preprocess,
        fill=ground(size.order, size.mean),
        bad_share=job.dataset.bad_share,
        folder=job.out / "pictures",
        threads=job.recipe.threads,
        log=log,  # type: ignore[arg-type]
    )
    return pictures.split(job.held_out, job.recipe.seed)


def train_in(place: Place, job: PriorJob) -> None:
    """Train as one of the processes; the first leaves the prior's folder, metrics, looks and the page."""
    import torch

    from pipeline.compute.resources import prepare
    from pipeline.nets.open_network import open_network
    from pipeline.priors.prior import read_prior
    from pipeline.training.gang import joined
    from pipeline.training.prior import PriorRequest, train_prior
    from pipeline.training.prior_card import error_table

    speak = say if place.rank == 0 else _keep_silent
    prepare(replace(job.device, threads=job.recipe.threads))
    network = open_network(job.model)
    train, held_out = open_images(job, network, speak)
    begin = None if job.begin is None else read_prior(job.begin)  # checked by the command that starts the processes
    request = PriorRequest(
        job.name, job.layer, job.recipe, job.licence, job.facts_images, len(held_out), begin, job.until
    )
    facts = _facts(job, network, place, len(train), len(held_out))

    def metrics(step: int, measured: dict[str, float]) -> None:
        write_metrics(job.out / METRICS, step, measured)
        say(f"step {step}/{job.until} " + " ".join(f"{name} {value:.3g}" for name, value in measured.items()))

    def look(step: int, real: object, made: object) -> None:
        write_look(job.out, step, real, made)  # type: ignore[arg-type]
        write_page(job.out)

    if place.rank == 0:
        write_facts(job.out, facts)
    with joined(place.rank, place.size, torch.device(place.device), place.meeting) as gang:
        trained = train_prior(
            request, network, train, held_out, job.out, log=speak, metrics=metrics, look=look, gang=gang
        )
    if trained is None:
        return
    table = error_table(trained.errors)
    write_facts(job.out, replace(facts, errors=table))
    write_page(job.out)
    for row in table:
        say("  ".join(f"{cell:>14}" for cell in row))


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def _keep_silent(line: str) -> None:
    """What a process does that is not the first."""


def _facts(job: PriorJob, network: object, place: Place, learned: int, held_out: int) -> TrainingFacts:
    from pipeline.training.prior_card import recipe_numbers

    layer = network.layer(job.layer)  # type: ignore[attr-defined]
    code = " × ".join(map(str, network.shape(layer.node)))  # type: ignore[attr-defined]
    device = "GPU" if place.device.startswith("cuda") else "CPU"
    return TrainingFacts(
        title=job.name,
        facts=(
            ("Inverts", f"{network.name}, {network.digest[:12]}"),  # type: ignore[attr-defined]
            ("Code", f"{job.layer} after its ReLU, {code}"),
            ("Images", f"{learned:,} of {job.dataset.title}, {held_out:,} held out"),
            ("Trained on", f"{place.size} {device} process{'es' if place.size > 1 else ''}"),
            ("Licence", job.licence),
        ),
        numbers=recipe_numbers(job.recipe),
        steps=job.until,
    )
