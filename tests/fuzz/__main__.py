"""Read damaged and hostile inputs of every kind, and report what hangs, crashes, or ends in a traceback.

usage: python -m tests.fuzz [cases=NUMBER] [kinds=NAME,…] [seed=NUMBER] [out=FOLDER] [case=NUMBER]

cases : of each kind; a kind whose cases are costly gets fewer.
kinds : some of those in tests/fuzz/kinds; all without it.
case : only this case of the one kind that is named, in this process.
out : folder for the inputs that are found.
"""

from __future__ import annotations

import os
import pickle
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from tests.fuzz.kind import Kind
from tests.fuzz.kinds import KINDS
from tests.fuzz.trial import SECONDS, fault, random_of

BLOCK = 500  # cases of one process
MEMORY = 3 << 30  # bytes of address space that a process may add
_SHOWN = 20  # findings of a kind whose inputs are kept


def main(arguments: list[str]) -> int:
    given = dict(argument.split("=", 1) for argument in arguments)
    names = given["kinds"].split(",") if "kinds" in given else list(KINDS)
    seed, out = int(given.get("seed", 0)), Path(given.get("out", ".fuzz"))
    torch.set_num_threads(1)
    found = 0
    print(f"{'kind':<14} {'cases':>7} {'seconds':>8} {'findings':>8}", flush=True)
    for name in names:
        folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        try:
            kind = KINDS[name](folder)
            if "case" in given:
                case = kind.case(random_of(seed, name, int(given["case"])))
                print(repr(case)[:2000], fault(kind, case), sep="\n")
                continue
            count = int(int(given.get("cases", 200)) / kind.costly)
            found += _run(kind, name, seed, max(1, count), out)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if found else 0


def _run(kind: Kind, name: str, seed: int, count: int, out: Path) -> int:
    """Read `count` cases of a kind, a process for each block; return the number of findings."""
    kind.seeds  # noqa: B018 - made once, before the processes
    started, first, findings, seen = time.monotonic(), 0, 0, Counter[str]()
    while first < count:
        done, problems, end = _block(kind, name, seed, range(first, min(count, first + BLOCK)))
        if end is not None:
            problems.append((done, end))
            done += 1
        for number, problem in problems:
            findings += 1
            place = problem.splitlines()[0][:60] + (problem.splitlines() + [""] * 4)[-3]
            seen[place] += 1
            if seen[place] == 1 and len(seen) <= _SHOWN:
                _keep(kind.case(random_of(seed, name, number)), out / f"{name}-{seed}-{number}", problem)
                print(f"  {name} case {number}: {problem.splitlines()[0]}", flush=True)
        first = done
    print(f"{name:<14} {count:>7} {time.monotonic() - started:>8.1f} {findings:>8}", flush=True)
    return findings


def _block(kind: Kind, name: str, seed: int, numbers: range) -> tuple[int, list[tuple[int, str]], str | None]:
    """Read cases in a child process.

    Returns the first number that was not finished, the findings, and how the process ended if it did so too early.
    """
    sys.stdout.flush()
    parent = os.getpid()
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiving)
        with os.fdopen(sending, "wb", buffering=0) as pipe:
            _limit_memory()
            for number in numbers:
                if os.getppid() != parent:  # it was killed
                    os._exit(1)
                used = resource.getrusage(resource.RUSAGE_SELF)
                seconds = int(used.ru_utime + used.ru_stime + 2 * SECONDS) + 1  # for code that never looks at signals
                resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))
                case = kind.case(random_of(seed, name, number))
                pipe.write(pickle.dumps((number, fault(kind, case))))
        os._exit(0)
    os.close(sending)
    done, problems = numbers.start, []
    with os.fdopen(receiving, "rb") as pipe:
        while True:
            try:
                number, problem = pickle.load(pipe)
            except (EOFError, pickle.UnpicklingError):
                break
            done = number + 1
            if problem is not None:
                problems.append((number, problem))
    _, status = os.waitpid(child, 0)
    if done == numbers.stop and status == 0:
        return done, problems, None
    if os.WIFSIGNALED(status):
        return done, problems, f"ends the process by {signal.Signals(os.WTERMSIG(status)).name}"
    return done, problems, f"ends the process with exit code {os.waitstatus_to_exitcode(status)}"


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _keep(case: Any, path: Path, problem: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".input").write_bytes(case if isinstance(case, bytes) else repr(case).encode())
    path.with_suffix(".txt").write_text(problem, errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
