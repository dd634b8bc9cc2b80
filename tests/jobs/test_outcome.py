"""Faults of machines and faults of tasks are told apart, and every failure keeps its cause."""

from __future__ import annotations

import errno

import pytest

from jobs.outcome import Done, Failed, attempt, one_line, spoils_process
from pipeline.errors import DataError, DefinitionError, DownloadError, EnvironmentFault, MissingError, OutputError


def failing(error):
    def compute(task, shared):
        raise error

    return attempt(compute, None, None)


def test_attempt_returns_a_result_or_a_failure_with_its_cause():
    done = attempt(lambda task, shared: b"x", None, None)
    assert isinstance(done, Done) and done.data == b"x"
    outcome = failing(ZeroDivisionError("by zero"))
    assert isinstance(outcome, Failed)
    assert outcome.reason == "ZeroDivisionError: by zero"
    assert "Traceback" in outcome.detail


@pytest.mark.parametrize(
    "error",
    [
        EnvironmentFault("dataset photos: cannot be opened"),
        MissingError("prior x: not open"),
        DownloadError("file: not there"),
        OutputError("out: cannot be written"),
        *(OSError(number, "words") for number in (errno.ENOSPC, errno.EIO, errno.ESTALE, errno.EACCES, errno.ENOENT)),
        ConnectionResetError("by peer"),
        TimeoutError(),
        ModuleNotFoundError("No module named 'timm'"),
        MemoryError(),
        RuntimeError("No CUDA GPUs are available"),
        RuntimeError("CUDA error: uncorrectable ECC error encountered"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("Found no NVIDIA driver on your system"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=repr,
)
def test_a_fault_of_the_machine(error):
    assert failing(error).environment


@pytest.mark.parametrize(
    "error",
    [
        DataError("dataset: too many images cannot be used"),
        DefinitionError("layer: unknown"),
        ValueError("bad"),
        OSError("image file is truncated (3 bytes not processed)"),  # Pillow's, about the content
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("CUDA error: device-side assert triggered"),
    ],
    ids=repr,
)
def test_a_fault_of_the_task(error):
    assert not failing(error).environment


def test_a_reason_is_one_line_without_colours():
    assert one_line("\n \x1b[36mray::f()\x1b[39m (pid=1)\nmore") == "ray::f() (pid=1)"
    assert one_line(" \n") == "no reason given"
    assert len(one_line("x" * 1000)) < 320


def test_a_process_whose_gpu_failed_is_spoiled():
    assert spoils_process(failing(RuntimeError("CUDA error: device-side assert triggered")))
    assert not spoils_process(failing(RuntimeError("CUDA out of memory")))
    assert not spoils_process(Done(b""))
