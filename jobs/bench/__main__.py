"""Measure speed and memory: make bench, or make bench ARGS=ascent_on_cones for one question.

ARGS=long measures longer; images=PATH names a tar for the benchmarks that read the user's images.
DEVICE=cuda measures a GPU: agreement with the CPU and all rates, into one JSON file (file=PATH).
file=PATH also writes what is measured on a CPU; python -m jobs.bench.record A.json B.json prints a page of several.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from jobs.bench import question, record
from pipeline.errors import SettingsError, nearest
from pipeline.settings import check_choice

OF_A_GPU = "gpu"  # the question that only device=… asks
LONG_ALONE = "growth"  # takes a minute in its short form too, so it is asked by name or in the long form


def main(arguments: list[str]) -> None:
    """Answer the questions named, or all of them."""
    questions = question.names()
    options = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    for name in options:
        check_choice("bench", name, ("images", "device", "file"))
    chosen = [name for name in arguments if name != "long" and "=" not in name]
    if "device" in options:
        check_choice("device", options["device"], ("cpu", "cuda"))
        chosen = chosen or [OF_A_GPU]
    short = "long" not in arguments
    chosen = chosen or [name for name in questions if name != OF_A_GPU and not (short and name == LONG_ALONE)]
    for name in chosen:
        if name not in questions:
            raise SettingsError(
                f"bench {name}: no such question{nearest(name, questions)}; the questions are {', '.join(questions)}"
            )
    print(f"{record.processor()}, {os.cpu_count()} cores, torch {torch.__version__}")
    ask = question.answer if len(chosen) == 1 else question.answer_alone
    answers = {}
    for name in chosen:
        asked = question.opened(name)
        taken = ("images",) if hasattr(asked, "IMAGES") else ("device", "file") if name == OF_A_GPU else ()
        given = {option: value for option, value in options.items() if option in taken}
        print(f"\n{name}: {asked.QUESTION}", flush=True)
        answers[name] = ask(name, short, given)
    if "file" in options and chosen != [OF_A_GPU]:
        record.write(Path(options["file"]), answers)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
