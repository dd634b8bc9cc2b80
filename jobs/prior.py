"""Train a prior: a generator that turns codes of a network's layer back into images; goes on where it was stopped."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from jobs.atlas import device_kind, output
from jobs.console import DONE, run_job
from jobs.gang import run_gang
from jobs.prior_training import PriorJob, open_images, say, train_in
from jobs.request import read_device, read_model, read_out
from jobs.settings_reader import read_settings, typed
from pipeline.dataset_settings import DatasetSettings
from pipeline.errors import SettingsError, UnitError, nearest
from pipeline.settings import ClusterSettings, check, check_choice
from pipeline.training.prior_recipe import PRESETS, PriorRecipe

PUBLISHED_FROM = 192  # pixels: the preset of images of this size and more
SHOWN = 12  # held-out images that are looked at: the fewest there can be


def prior(config: DictConfig) -> int:
    """Train, leave the prior's folder in the output folder, and say how good it is; return the exit code."""
    from pipeline.nets.open_network import open_network
    from pipeline.priors.prior import read_prior
    from pipeline.training.prior import check_begin, check_request

    cluster = read_settings(ClusterSettings, config.cluster, "cluster")
    processes = typed(config.processes, int | None, "processes")
    model = read_model(config.model)
    _check_words(config)
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
        train, _ = open_images(job, network, say)
        together = job.recipe.batch * (processes or 1)
        check("recipe.batch", job.recipe.batch, f"{len(train)} images at most in a step", together <= len(train))
        run_gang(cluster, job.device, processes, train_in, job)
    folder = job.out / job.name
    say(f"{folder}: a prior for {network.name}'s {job.layer}; use it by priors=[{folder}]")
    say(f"{job.out}/index.html: its training")
    return DONE


def read_recipe(config: DictConfig, side: int) -> PriorRecipe:
    """The recipe that a configuration asks for. side : of the images, the longer one, pixels."""
    preset = config.preset
    if preset is None:
        preset = "published" if side >= PUBLISHED_FROM else "small"
    check_choice("preset", preset, PRESETS)
    values = OmegaConf.to_container(config.recipes[preset], resolve=True)
    asked = OmegaConf.to_container(config.recipe, resolve=True)
    changes = {name: value for name, value in asked.items() if value is not None}  # type: ignore[union-attr]
    return read_settings(PriorRecipe, {**values, **changes}, "recipe")  # type: ignore[dict-item]


def _begin(place: str | None) -> Path | None:
    """The folder of the prior to begin with: as it is given, or by the name of one that comes with the project."""
    from pipeline.priors.open import SHIPPED

    if place is None:
        return None
    given = Path(place).expanduser()
    for folder in (given, SHIPPED / place):
        if folder.is_dir():
            return folder
    known = [each.name for each in SHIPPED.iterdir() if each.is_dir()]
    raise SettingsError(
        f"begin: got {place}, no folder and no prior of the project{nearest(place, known)}; set begin=…"
    )


def _check_words(config: DictConfig) -> None:
    """What can be refused before a network is opened."""
    if config.dataset.kind == "none":
        raise SettingsError("dataset: got none, expected images to learn from; name them by DATASET=…")
    name = str(config.name)
    if not name or not all(letter.isalnum() or letter in "_-." for letter in name) or name.startswith("."):
        raise SettingsError(f"name: got {name!r}, expected letters, digits, _, - and .; set it by name=…")


if __name__ == "__main__":
    run_job(prior, "prior", __doc__)
