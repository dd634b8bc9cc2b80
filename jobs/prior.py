"""Train a prior: a generator that turns codes of a network's layer back into images; continue a stopped training."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from jobs.console import DONE, run_job
from jobs.folder import output
from jobs.prior_training import PriorJob, open_images, print_line, train_member
from jobs.processes import run_processes
from jobs.request import device_kind, read_device, read_model, read_out
from jobs.settings_reader import read_settings, typed
from pipeline.dataset_settings import DatasetSettings
from pipeline.errors import SettingsError, UnitError, nearest
from pipeline.settings import ClusterSettings, check, check_choice
from pipeline.training.priors.recipe import PRESETS, PriorRecipe

PUBLISHED_FROM = 192  # pixels: images of this size or larger use the preset `published`
SHOWN = 12  # held-out images in a snapshot, and so the minimum number of held-out images


def prior(config: DictConfig) -> int:
    """Train a prior, write its folder into the output folder, report its errors, and return the exit code."""
    from pipeline.nets.open_network import open_network
    from pipeline.priors.prior import read_prior
    from pipeline.training.priors.training import check_begin, check_request

    cluster = read_settings(ClusterSettings, config.cluster, "cluster")
    processes = typed(config.processes, int | None, "processes")
    model = read_model(config.model)
    _check_early(config)
    network = open_network(model)
    size = network.preprocessing
    recipe = read_recipe(config, max(size.height, size.width))
    until = typed(config.until, int | None, "until")
    job = PriorJob(
        name=typed(config.name, str, "name"),
        layer=typed(config.layer, str, "layer"),
        model=model,
        dataset=read_settings(DatasetSettings, config.dataset, "dataset"),
        recipe=recipe,
        device=read_device(config, device_kind(config.device, cluster.kind)),
        held_out=typed(config.held_out, int, "held_out"),
        facts_images=typed(config.facts_images, int, "facts_images"),
        licence=typed(config.licence, str, "licence"),
        begin=_begin(typed(config.begin, str | None, "begin")),
        until=recipe.steps if until is None else until,
        out=read_out(config),
    )
    check("held_out", job.held_out, f"{SHOWN} or more", job.held_out >= SHOWN)
    check("facts_images", job.facts_images, "2 or more", job.facts_images >= 2)
    check("until", job.until, f"0 to {recipe.steps}, the recipe's steps", 0 <= job.until <= recipe.steps)
    try:
        check_request(job.recipe, network, job.layer)
    except UnitError as error:
        asked = "layer" if str(error).startswith(f"layer {job.layer}:") else "recipe.comparator"
        raise SettingsError(f"{asked}: {error}, and set {asked}=…") from None
    if job.begin is not None:
        check_begin(read_prior(job.begin), job.recipe, network, job.layer)
    with output(job.out, config):
        train, _ = open_images(job, network, print_line)
        together = job.recipe.batch * (processes or 1)
        check("recipe.batch", job.recipe.batch, f"{len(train)} images at most in a step", together <= len(train))
        run_processes(cluster, job.device, processes, train_member, job)
    folder = job.out / job.name
    print_line(f"{folder}: a prior for {network.name}'s {job.layer}; use it by priors=[{folder}]")
    print_line(f"{job.out}/index.html: the page of its training")
    return DONE


def read_recipe(config: DictConfig, side: int) -> PriorRecipe:
    """Return the recipe of a configuration.

    side : the larger of the images' height and width, pixels; it decides the preset unless one is chosen.
    """
    preset = config.preset
    if preset is None:
        preset = "published" if side >= PUBLISHED_FROM else "small"
    check_choice("preset", preset, PRESETS)
    values = OmegaConf.to_container(config.recipes[preset], resolve=True)
    asked = OmegaConf.to_container(config.recipe, resolve=True)
    changes = {name: value for name, value in asked.items() if value is not None}  # type: ignore[union-attr]
    return read_settings(PriorRecipe, {**values, **changes}, "recipe")  # type: ignore[dict-item]


def _begin(given: str | None) -> Path | None:
    """The folder of the prior to begin with, given as a path or as the name of a prior of the project."""
    from pipeline.priors.open import SHIPPED

    if given is None:
        return None
    for folder in (Path(given).expanduser(), SHIPPED / given):
        if folder.is_dir():
            return folder
    names = [folder.name for folder in SHIPPED.iterdir() if folder.is_dir()]
    raise SettingsError(
        f"begin: got {given}, no folder and no prior of the project{nearest(given, names)}; set begin=…"
    )


def _check_early(config: DictConfig) -> None:
    """Check what can be checked before a network is opened."""
    if config.dataset.kind == "none":
        raise SettingsError("dataset: got none, expected images to train on; name them by DATASET=…")
    name = str(config.name)
    if not name or not all(letter.isalnum() or letter in "_-." for letter in name) or name.startswith("."):
        raise SettingsError(f"name: got {name!r}, expected letters, digits, _, - and .; set it by name=…")


if __name__ == "__main__":
    run_job(prior, "prior", __doc__)
