"""Train a network for small photos again, by the recipe that its shipped weights carry; goes on where stopped."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from omegaconf import DictConfig

from jobs.console import DONE, run_job
from jobs.request import read_out, read_settings
from pipeline.dataset_settings import DatasetSettings
from pipeline.errors import SettingsError
from pipeline.settings import check_choice

NETWORKS = ("tinynet",)


def photos(config: DictConfig) -> int:
    """Train, leave the weights in the output folder, and say how good they are; return the exit code."""
    from pipeline.data.dataset import open_source
    from pipeline.data.pictures import Pictures, read_pictures
    from pipeline.nets.download import cache_folder
    from pipeline.nets.tinynet import SIZE
    from pipeline.training.photo_recipe import photo_recipe
    from pipeline.training.photos import GREY, train_on_photos

    check_choice("network", config.network, NETWORKS)
    settings = photo_recipe(Path(str(files("pipeline") / "weights" / f"{config.network}.safetensors")))
    changes = {name: value for name, value in config.recipe.items() if value is not None}
    unknown = sorted(set(changes) - set(vars(settings)))
    if unknown:
        raise SettingsError(f"recipe.{unknown[0]}: not a setting; there are {', '.join(sorted(vars(settings)))}")
    settings, out = replace(settings, **changes), read_out(config)
    dataset = read_settings(DatasetSettings, config.dataset, "dataset")

    def read(root: str | None) -> Pictures:
        return read_pictures(
            open_source(replace(dataset, root=root), cache=cache_folder()),
            height=SIZE,
            width=SIZE,
            preprocess=dataset.preprocess,
            ground=GREY,
            bad_share=dataset.bad_share,
            folder=out / "pictures",
            threads=settings.threads,
            log=_say,
        )

    train_on_photos(settings, read(dataset.root), read(str(config.held_out)), out, _say)
    _say(f"{out}/{config.network}.safetensors; put it into pipeline/weights to use it")
    return DONE


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    run_job(photos, "photos", __doc__)
