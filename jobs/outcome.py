"""The outcome of a task: its result, or a failure that is either the task's own fault or the machine's."""

from __future__ import annotations

import re
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pipeline.errors import AtlasError, DownloadError, EnvironmentFault, MissingError, OutputError

T = TypeVar("T")
Compute = Callable[[T, object], bytes]  # (task, what all tasks share) → result

_LONGEST = 300  # characters of a reason
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_OF_MACHINES = (EnvironmentFault, MissingError, DownloadError, OutputError, ImportError, MemoryError)
# What torch raises as a RuntimeError when a device or the memory fails, and not the computation.
_DEVICE_WORDS = (
    "cuda out of memory", "cuda error", "cuda driver", "no cuda gpus", "no nvidia driver", "cuda initialization",
    "cudnn error", "cudnn_status", "cublas_status", "cusolver_status", "nvml", "can't allocate memory",
    "not enough memory", "cannot allocate memory", "no kernel image",
)  # fmt: skip
_OF_COMPUTATION = "device-side assert"  # a wrong index, which every GPU reports


@dataclass(frozen=True)
class Done:
    """A task's result.

    node : name of the machine that computed it.
    seconds : time that it took there.
    """

    data: bytes
    node: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Failed:
    """Why a task has no result.

    reason : one line.
    detail : for the log.
    environment : whether it is the machine's fault and not the task's, so that it may succeed elsewhere or later.
    node, seconds : as in Done, of the last attempt.
    """

    reason: str
    detail: str
    environment: bool = False
    node: str = ""
    seconds: float = 0.0


Outcome = Done | Failed


def attempt(compute: Compute, task: object, shared: object) -> Outcome:
    """Return the outcome of a task; an exception of the task becomes a Failed."""
    started = time.monotonic()
    try:
        return Done(compute(task, shared), seconds=time.monotonic() - started)
    except Exception as error:
        words = str(error) if isinstance(error, AtlasError) else f"{type(error).__name__}: {error}"
        return Failed(
            one_line(words),
            traceback.format_exc(),
            environment=is_of_environment(error),
            seconds=time.monotonic() - started,
        )


def is_of_environment(error: BaseException) -> bool:
    """Whether an exception is a fault of the machine: it says nothing about the task, which may succeed elsewhere."""
    if isinstance(error, _OF_MACHINES):
        return True
    if isinstance(error, OSError) and not isinstance(error, AtlasError):
        # Pillow and h5py raise an OSError without a number for a file whose content is damaged.
        return error.errno is not None or isinstance(error, ConnectionError | TimeoutError)
    if isinstance(error, RuntimeError):
        words = str(error).lower()
        return _OF_COMPUTATION not in words and any(word in words for word in _DEVICE_WORDS)
    return False


def spoils_process(outcome: Outcome) -> bool:
    """Whether a failure leaves a process in which no GPU can be used any more."""
    return isinstance(outcome, Failed) and ("CUDA error" in outcome.detail or "cuDNN error" in outcome.detail)


def one_line(text: str) -> str:
    """The first line of a message that says something, without colour codes, not too long."""
    lines = [line for line in (" ".join(line.split()) for line in _COLOUR.sub("", text).splitlines()) if line]
    first = lines[0] if lines else "no reason given"
    return first if len(first) <= _LONGEST else f"{first[:_LONGEST]}…"
