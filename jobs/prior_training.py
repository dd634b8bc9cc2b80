"""The work of each process that trains a prior: open network and images, train; the first also writes and logs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from atlas_viewer.site.pages.training import write_page
from atlas_viewer.training_log import METRICS, TrainingFacts, write_facts, write_metrics, write_snapshot
from jobs.processes import Member
from pipeline.dataset_settings import DatasetSettings
from pipeline.errors import DataError
from pipeline.settings import DeviceSettings, ModelSettings
from pipeline.training.priors.recipe import PriorRecipe


@dataclass(frozen=True)
class PriorJob:
    """The request of `make prior`."""

    name: str  # of the prior
    layer: str  # its values, after their ReLU, are the codes
    model: ModelSettings
    dataset: DatasetSettings
    recipe: PriorRecipe
    device: DeviceSettings
    held_out: int  # images that are not trained on; errors are measured on them
    facts_images: int  # images whose codes are measured
    licence: str  # of the prior
    begin: Path | None  # folder of a prior whose weights are the initial weights
    until: int  # last step, at most the recipe's
    out: Path  # a folder that all processes can reach


def open_images(job: PriorJob, network: object, log: object):
    """Return the images to train on and those held out, decoded once for all processes.

    network : its input size is the size of the images.
    log : called with each line of the log.
    Raises DataError if no image would be left to train on.
    """
    from pipeline.card import mean_colour
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
        fill=mean_colour(size.order, size.mean),
        bad_share=job.dataset.bad_share,
        folder=job.out / "pictures",
        threads=job.recipe.threads,
        log=log,  # type: ignore[arg-type]
    )
    return pictures.split(job.held_out, job.recipe.seed)


def train_member(member: Member, job: PriorJob) -> None:
    """Train as one of the processes; the first writes the prior's folder, the metrics, the snapshots and the page."""
    import torch

    from pipeline.nets.open_network import open_network
    from pipeline.priors.prior import read_prior
    from pipeline.resources import prepare
    from pipeline.training.priors.process_group import joined_process_group
    from pipeline.training.priors.report import error_table
    from pipeline.training.priors.training import PriorRequest, train_prior

    log = print_line if member.rank == 0 else _discard
    prepare(replace(job.device, threads=job.recipe.threads))
    network = open_network(job.model)
    train, held_out = open_images(job, network, log)
    begin = None if job.begin is None else read_prior(job.begin)  # checked before the processes were started
    request = PriorRequest(
        job.name, job.layer, job.recipe, job.licence, job.facts_images, len(held_out), begin, job.until
    )
    facts = _facts(job, network, member, len(train), len(held_out))

    def metrics(step: int, measured: dict[str, float]) -> None:
        write_metrics(job.out / METRICS, step, measured)
        print_line(f"step {step}/{job.until} " + " ".join(f"{name} {value:.3g}" for name, value in measured.items()))

    def snapshot(step: int, real: object, made: object) -> None:
        write_snapshot(job.out, step, real, made)  # type: ignore[arg-type]
        write_page(job.out)

    if member.rank == 0:
        write_facts(job.out, facts)
    device = torch.device(member.device)
    with joined_process_group(member.rank, member.size, device, member.rendezvous) as group:
        trained = train_prior(
            request, network, train, held_out, job.out, log=log, metrics=metrics, snapshot=snapshot, group=group
        )
    if trained is None:
        return
    table = error_table(trained.errors)
    write_facts(job.out, replace(facts, errors=table))
    write_page(job.out)
    for row in table:
        print_line("  ".join(f"{cell:>14}" for cell in row))


def print_line(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def _discard(line: str) -> None:
    """The log of all processes but the first."""


def _facts(job: PriorJob, network: object, member: Member, trained_on: int, held_out: int) -> TrainingFacts:
    from pipeline.training.priors.report import recipe_numbers

    layer = network.layer(job.layer)  # type: ignore[attr-defined]
    code = " × ".join(map(str, network.shape(layer.node)))  # type: ignore[attr-defined]
    device = "GPU" if member.device.startswith("cuda") else "CPU"
    return TrainingFacts(
        title=job.name,
        facts=(
            ("Inverts", f"{network.name}, {network.digest[:12]}"),  # type: ignore[attr-defined]
            ("Code", f"{job.layer} after its ReLU, {code}"),
            ("Images", f"{trained_on:,} of {job.dataset.title}, {held_out:,} held out"),
            ("Trained on", f"{member.size} {device} process{'es' if member.size > 1 else ''}"),
            ("Licence", job.licence),
        ),
        numbers=recipe_numbers(job.recipe),
        steps=job.until,
    )
