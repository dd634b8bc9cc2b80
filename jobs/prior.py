"""Train a prior: a generator that turns codes of a network's layer back into images; goes on where it was stopped."""

from __future__ import annotations

from dataclasses import replace

from omegaconf import DictConfig, OmegaConf

from atlas_viewer.training_page import write_look, write_metrics
from jobs.console import DONE, run_job
from jobs.request import read_model, read_out, read_settings
from pipeline.dataset_settings import DatasetSettings
from pipeline.errors import SettingsError
from pipeline.settings import check, check_choice

PUBLISHED_FROM = 192  # pixels: the preset of images of this size and more


def prior(config: DictConfig) -> int:
    """Train, leave the prior's folder in the output folder, and say how good it is; return the exit code."""
    from pipeline.cuts import ground
    from pipeline.data.dataset import open_source
    from pipeline.data.pictures import read_pictures
    from pipeline.nets.download import cache_folder
    from pipeline.nets.model import open_network
    from pipeline.training.prior import PriorRequest, error_table, train_prior

    out = read_out(config)
    if config.dataset.kind == "none":
        raise SettingsError("dataset: got none, expected images to learn from; name them by DATASET=…")
    check("held_out", config.held_out, "12 or more", config.held_out >= 12)
    network = open_network(read_model(config.model))
    network.layer(config.layer)  # raises with the near match
    size = network.preprocessing
    recipe = read_recipe(config, max(size.height, size.width))
    dataset = read_settings(DatasetSettings, config.dataset, "dataset")
    pictures = read_pictures(
        open_source(dataset, cache=cache_folder()),
        height=size.height,
        width=size.width,
        preprocess=dataset.preprocess,
        ground=ground(size.order, size.mean),
        bad_share=dataset.bad_share,
        folder=out / "pictures",
        threads=recipe.threads,
        log=_say,
    )
    train, held_out = pictures.split(config.held_out, recipe.seed)
    request = PriorRequest(config.name, config.layer, recipe, config.licence, config.facts_images, len(held_out))

    def metrics(step: int, measured: dict[str, float]) -> None:
        write_metrics(out / "metrics.jsonl", step, measured)
        _say(f"step {step}/{recipe.steps} " + " ".join(f"{name} {value:.3g}" for name, value in measured.items()))

    def look(step: int, real: object, made: object) -> None:
        write_look(out, step, real, made)

    trained = train_prior(request, network, train, held_out, out, log=_say, metrics=metrics, look=look)
    for row in error_table(trained.errors):
        _say("  ".join(f"{cell:>16}" for cell in row))
    _say(f"{out / config.name}: a prior for {network.name}'s {config.layer}; use it by priors=[{out / config.name}]")
    return DONE


def read_recipe(config: DictConfig, side: int):
    """The recipe that a configuration asks for. side : of the images, the longer one, pixels."""
    from pipeline.training.prior_recipe import PRESETS, PriorRecipe

    preset = config.preset
    if preset is None:
        preset = "published" if side >= PUBLISHED_FROM else "small"
    check_choice("preset", preset, PRESETS)
    recipe = read_settings(PriorRecipe, config.recipes[preset], f"recipes.{preset}")
    changes = {name: value for name, value in OmegaConf.to_container(config.recipe).items() if value is not None}
    if "comparator" in changes:
        changes["comparator"] = tuple(changes["comparator"])
    return replace(recipe, **changes)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    run_job(prior, "prior", __doc__)
