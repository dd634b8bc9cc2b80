"""Measure speed and memory: make bench, or make bench ARGS=ascent_on_cones for one question.

ARGS=long measures longer; images=PATH names a tar for the benchmarks that read the user's images.
DEVICE=cuda measures a GPU: agreement with the CPU and all rates, into one JSON file (file=PATH).
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import platform
import sys

import torch

import jobs.bench
from pipeline.errors import SettingsError, nearest
from pipeline.settings import check_choice

NO_QUESTIONS = {"__main__", "figures", "plain_conf", "shapes"}
OF_A_GPU = "gpu"  # the question that only device=… asks


def main(arguments: list[str]) -> None:
    """Answer the questions named, or all of them."""
    questions = sorted({module.name for module in pkgutil.iter_modules(jobs.bench.__path__)} - NO_QUESTIONS)
    options = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    for name in options:
        check_choice("bench", name, ("images", "device", "file"))
    chosen = [name for name in arguments if name != "long" and "=" not in name]
    if "device" in options:
        check_choice("device", options["device"], ("cpu", "cuda"))
        chosen = chosen or [OF_A_GPU]
    chosen = chosen or [name for name in questions if name != OF_A_GPU]
    for name in chosen:
        if name not in questions:
            raise SettingsError(
                f"bench {name}: no such question{nearest(name, questions)}; the questions are {', '.join(questions)}"
            )
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    for name in chosen:
        question = importlib.import_module(f"jobs.bench.{name}")
        print(f"\n{name}: {question.QUESTION}")
        taken = ("images",) if hasattr(question, "IMAGES") else ("device", "file") if name == OF_A_GPU else ()
        given = {option: value for option, value in options.items() if option in taken}
        question.measure("long" not in arguments, **given).print()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
