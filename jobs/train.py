"""Train a network for drawings again, with the recipe in its shipped weights; continue a stopped training."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from omegaconf import DictConfig

from jobs.console import DONE, run_job
from jobs.request import read_out
from pipeline.errors import SettingsError
from pipeline.settings import check_choice


def train(config: DictConfig) -> int:
    """Train a network, write its weights into the output folder, report its accuracy, and return the exit code."""
    from pipeline.training.classifiers.drawings import NETWORKS, drawing_recipe, train_on_drawings

    check_choice("network", config.network, NETWORKS)
    recipe = drawing_recipe(Path(str(files("pipeline") / "weights" / f"{config.network}.safetensors")))
    changes = {name: value for name, value in config.recipe.items() if value is not None}
    unknown = sorted(set(changes) - set(vars(recipe)))
    if unknown:
        raise SettingsError(f"recipe.{unknown[0]}: not a setting; the settings are {', '.join(sorted(vars(recipe)))}")
    out = read_out(config)
    train_on_drawings(replace(recipe, **changes), out, lambda line: print(line, flush=True))
    print(f"{out}/{config.network}.safetensors; put it into pipeline/weights to use it")
    return DONE


if __name__ == "__main__":
    run_job(train, "train", __doc__)
