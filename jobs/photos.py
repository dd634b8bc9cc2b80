"""Train a network for small photos again, by the recipe that its shipped weights carry; goes on where stopped."""

from __future__ import annotations

from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from jobs.atlas import output
from jobs.console import DONE, run_job
from jobs.request import read_out, read_settings
from jobs.settings_reader import typed
from pipeline.dataset_settings import DatasetSettings
from pipeline.errors import DataError, SettingsError
from pipeline.settings import check_choice

NETWORKS = ("tinynet", "tinyjudge")


def photos(config: DictConfig) -> int:
    """Train, leave the weights in the output folder, and say how good they are; return the exit code."""
    from pipeline.data.open_source import open_source
    from pipeline.data.training_images import Pictures, read_pictures
    from pipeline.nets.download import cache_folder
    from pipeline.nets.tinynet import SIZE
    from pipeline.training.photo_recipe import PhotoSettings, photo_recipe
    from pipeline.training.photos import GREY, train_on_photos

    check_choice("network", config.network, NETWORKS)
    shipped = photo_recipe(Path(str(files("pipeline") / "weights" / f"{config.network}.safetensors")))
    changes = {name: value for name, value in config.recipe.items() if value is not None}
    settings = read_settings(PhotoSettings, {**asdict(shipped), **changes}, "recipe")
    if config.dataset.kind == "none":
        raise SettingsError("dataset: got none, expected photos to learn from; name them by DATASET=…")
    if OmegaConf.is_missing(config, "held_out"):
        raise SettingsError("held_out: missing; give photos of the same classes to measure on by HELD_OUT=…")
    dataset, out = read_settings(DatasetSettings, config.dataset, "dataset"), read_out(config)
    sources = [
        open_source(replace(dataset, root=root), cache=cache_folder())
        for root in (dataset.root, typed(config.held_out, str, "held_out"))
    ]
    learned, measured = (source.index for source in sources)
    if (learned.class_ids, learned.class_names) != (measured.class_ids, measured.class_names):
        raise DataError("held_out: its classes are not those of the photos to learn from; give both the same classes")

    def read(source: object) -> Pictures:
        return read_pictures(
            source,  # type: ignore[arg-type]
            height=SIZE,
            width=SIZE,
            preprocess=dataset.preprocess,
            fill=GREY,
            bad_share=dataset.bad_share,
            folder=out / "pictures",
            threads=settings.threads,
            log=_say,
        )

    with output(out, config):
        train_on_photos(settings, *map(read, sources), out, _say)
    _say(f"{out}/{config.network}.safetensors; put it into pipeline/weights to use it")
    return DONE


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    run_job(photos, "photos", __doc__)
