"""The questions of `make bench`: every module here that has QUESTION and measure(); how one is answered."""

from __future__ import annotations

import importlib
import os
import pkgutil
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from types import ModuleType
from typing import Any

import jobs.bench
from jobs.bench import record

_NO_QUESTIONS = {"__main__", "figures", "others", "plain_conf", "question", "record", "shapes"}


def names() -> list[str]:
    """The questions, that of a GPU included."""
    return sorted({module.name for module in pkgutil.iter_modules(jobs.bench.__path__)} - _NO_QUESTIONS)


def opened(name: str) -> ModuleType:
    """The module of a question."""
    return importlib.import_module(f"jobs.bench.{name}")


def answer(name: str, short: bool, given: dict[str, str]) -> dict[str, Any]:
    """Print a question's figures and return its record. given : options that its measure() takes."""
    question = opened(name)
    before, began = os.times(), time.perf_counter()
    figures = question.measure(short, **given)
    figures.print()
    spent = sum(os.times()[:4]) - sum(before[:4])  # of this process and its children
    return record.answer(question.QUESTION, figures, time.perf_counter() - began, spent)


def answer_alone(name: str, short: bool, given: dict[str, str]) -> dict[str, Any]:
    """The same in a process of its own, so that one question's threads and memory are not those of the next."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(answer, name, short, given).result()
