"""Measure speed and memory: make bench, or make bench ARGS=ascent_on_cones for one question.

ARGS=long measures longer; images=PATH names a tar for the benchmarks that read the user's images.
DEVICE=cuda measures a GPU: agreement with the CPU and all rates, into one JSON file (file=PATH).
file=PATH also writes what is measured on a CPU; python -m jobs.bench.record A.json B.json prints a page of several.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import time
from pathlib import Path

import torch

import jobs.bench
from jobs.bench import record
from pipeline.errors import SettingsError, nearest
from pipeline.settings import check_choice

NO_QUESTIONS = {"__main__", "figures", "others", "plain_conf", "record", "shapes"}
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
    print(f"{record.processor()}, {os.cpu_count()} cores, torch {torch.__version__}")
    answers = {}
    for name in chosen:
        question = importlib.import_module(f"jobs.bench.{name}")
        print(f"\n{name}: {question.QUESTION}")
        taken = ("images",) if hasattr(question, "IMAGES") else ("device", "file") if name == OF_A_GPU else ()
        given = {option: value for option, value in options.items() if option in taken}
        before, began = os.times(), time.perf_counter()
        figures = question.measure("long" not in arguments, **given)
        figures.print()
        spent = sum(os.times()[:4]) - sum(before[:4])  # of this process and its children
        answers[name] = record.answer(question.QUESTION, figures, time.perf_counter() - began, spent)
    if "file" in options and chosen != [OF_A_GPU]:
        record.write(Path(options["file"]), answers)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
