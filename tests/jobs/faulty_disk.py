"""`python faulty_disk.py REQUEST` runs a job many times, each time on a disk that fails elsewhere, then on a sound one.

REQUEST is JSON: job, arguments (all but out=), whole_below, merging (whether what is computed is merged after each
task, and not at the end alone), folder (an empty one), template (an atlas folder to begin with, or null), calls (let
one call in so many fail), faults (list of [error number, what (see disk_faults.c), whether all later calls fail too]).
Needs disk_faults.c, compiled, in LD_PRELOAD. Prints a line of JSON for each case.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import jobs.folder
import pipeline.store.merge
from atlas_viewer.verify import faults
from jobs.console import run_job

DISK = ctypes.CDLL(None)
FOREVER = 1 << 60


def run(name: str, arguments: list[str], out: Path, said: Path, fail: Callable[[], object] = lambda: None) -> int:
    """Run a job in a process of its own; return its exit code, or the negative number of the signal that ended it.

    said : file for what it prints.
    fail : called before it runs.
    """
    sys.stdout.flush()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with open(said, "w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    fail()
    job = getattr(import_module(f"jobs.{name}"), name)
    try:
        run_job(job, name, "", [*arguments, f'out="{out}"'])
    finally:
        said.with_suffix(".calls").write_text(str(DISK.disk_calls()))
    raise AssertionError


def content(out: Path) -> str:
    """Digest of the atlas and its pages, after it is packed."""
    assert run("pack", [], out, out.parent / "packed") == 0, (out.parent / "packed").read_text()
    total = hashlib.sha256()
    for path in sorted([out / "atlas.h5", *(out / "site").rglob("*")]):
        if path.is_file():
            total.update(f"{path.relative_to(out)}\0".encode() + path.read_bytes())
    return total.hexdigest()


def left(out: Path) -> list[str]:
    """Files that should not be there after a run that ended well."""
    known = {"atlas.h5", "plan.json", "site", "log", ".lock", "parts"}
    odd = [path for path in out.rglob("*") if path.suffix in (".part", ".links", ".building", ".replaced", ".json~")]
    return sorted(
        str(path.relative_to(out)) for path in {*odd, *(one for one in out.iterdir() if one.name not in known)}
    )


def damage(out: Path) -> list[str]:
    """What is wrong with the atlas in a folder, if there is one."""
    return [*faults(out / "atlas.h5")] if (out / "atlas.h5").exists() else []


def main() -> None:
    request = json.loads(sys.argv[1])
    pipeline.store.merge.WHOLE_BELOW = request["whole_below"]
    if request["merging"]:
        jobs.folder.MERGE_SECONDS, jobs.folder.MERGE_SHARE = 0, 1e9
    folder, name, arguments = Path(request["folder"]), request["job"], request["arguments"]
    said, out = folder / "said", folder / "out"

    def begin() -> None:
        shutil.rmtree(out, ignore_errors=True)
        if request["template"] is None:
            out.mkdir()
        else:
            shutil.copytree(request["template"], out)

    expected = None
    for error, what, lasting in request["faults"]:
        begin()
        code = run(
            name, arguments, out, said, lambda what=what: DISK.disk_fails(f"{out}/".encode(), FOREVER, 0, 0, what)
        )
        assert code == 0, said.read_text()
        calls = int(said.with_suffix(".calls").read_text())
        if expected is None:
            expected = content(out)
        for call in range(1 + calls % request["calls"], calls + 1, request["calls"]):
            begin()
            last = ctypes.c_long(FOREVER if lasting else call)

            def fail(call=call, last=last, error=error, what=what) -> None:
                DISK.disk_fails(f"{out}/".encode(), ctypes.c_long(call), last, error, what)

            code, words = run(name, arguments, out, said, fail), said.read_text()
            shown, there = damage(out), (out / "atlas.h5").exists()
            again = run(name, arguments, out, said)
            result = {"fault": [error, what, lasting], "call": call, "calls": calls, "code": code, "said": words}
            result |= {"damage": shown, "there": there, "again": again, "said_again": said.read_text()}
            result |= {"left": left(out), "same": again == 0 and content(out) == expected}
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    DISK.disk_fails.argtypes = (ctypes.c_char_p, ctypes.c_long, ctypes.c_long, ctypes.c_int, ctypes.c_int)
    DISK.disk_calls.restype = ctypes.c_long
    main()
