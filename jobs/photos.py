"""Train a network for small photos again, with the recipe in its shipped weights; continue a stopped training."""

from __future__ import annotations

from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from jobs.console import DONE, run_job
from jobs.folder import output
from jobs.request import read_out, read_settings
from jobs.settings_reader import typed
from pipeline.dataset_settings import DatasetSettings
from pipeline.errors import DataError, SettingsError
from pipeline.settings import check_choice


def photos(config: DictConfig) -> int:
    """Train a network, write its weights into the output folder, report its accuracy, and return the exit code."""
    from pipeline.data.open_source import open_source
    from pipeline.data.training_images import Pictures, read_pictures
    from pipeline.nets.download import cache_folder
    from pipeline.nets.tinynet import SIZE
    from pipeline.training.classifiers.photos import GREY, PHOTO_NETWORKS, PhotoRecipe, photo_recipe, train_on_photos

    check_choice("network", config.network, PHOTO_NETWORKS)
    shipped = photo_recipe(Path(str(files("pipeline") / "weights" / f"{config.network}.safetensors")))
    changes = {name: value for name, value in config.recipe.items() if value is not None}
    recipe = read_settings(PhotoRecipe, {**asdict(shipped), **changes}, "recipe")
    if config.dataset.kind == "none":
        raise SettingsError("dataset: got none, expected photos to train on; name them by DATASET=…")
    if OmegaConf.is_missing(config, "held_out"):
        raise SettingsError(
            "held_out: missing; give photos of the same classes, on which accuracy is measured, by HELD_OUT=…"
        )
    dataset, out = read_settings(DatasetSettings, config.dataset, "dataset"), read_out(config)
    sources = [
        open_source(replace(dataset, root=root), cache=cache_folder())
        for root in (dataset.root, typed(config.held_out, str, "held_out"))
    ]
    train, held_out = (source.index for source in sources)
    if (train.class_ids, train.class_names) != (held_out.class_ids, held_out.class_names):
        raise DataError("held_out: its classes differ from those of the photos to train on; give both the same classes")

    def read(source: object) -> Pictures:
        return read_pictures(
            source,  # type: ignore[arg-type]
            height=SIZE,
            width=SIZE,
            preprocess=dataset.preprocess,
            fill=GREY,
            bad_share=dataset.bad_share,
            folder=out / "pictures",
            threads=recipe.threads,
            log=_print_line,
        )

    with output(out, config):
        train_on_photos(recipe, *map(read, sources), out, _print_line)
    _print_line(f"{out}/{config.network}.safetensors; put it into pipeline/weights to use it")
    return DONE


def _print_line(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    run_job(photos, "photos", __doc__)
