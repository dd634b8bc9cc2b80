"""Train one of the networks for drawings again, by the recipe that its shipped weights carry; goes on where stopped."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from omegaconf import DictConfig

from jobs.console import DONE, run_job
from jobs.request import read_out
from pipeline.errors import SettingsError
from pipeline.settings import check_choice

NETWORKS = ("doodlenet", "doodlejudge", "doodlevgg")


def train(config: DictConfig) -> int:
    """Train, leave the weights in the output folder, and say how good they are; return the exit code."""
    from pipeline.training.classifier import train_classifier
    from pipeline.training.recipe import recipe

    check_choice("network", config.network, NETWORKS)
    settings = recipe(Path(str(files("pipeline") / "weights" / f"{config.network}.safetensors")))
    changes = {name: value for name, value in config.recipe.items() if value is not None}
    unknown = sorted(set(changes) - set(vars(settings)))
    if unknown:
        raise SettingsError(f"recipe.{unknown[0]}: not a setting; there are {', '.join(sorted(vars(settings)))}")
    out = read_out(config)
    train_classifier(replace(settings, **changes), out, lambda line: print(line, flush=True))
    print(f"{out}/{config.network}.safetensors; put it into pipeline/weights to use it")
    return DONE


if __name__ == "__main__":
    run_job(train, "train", __doc__)
