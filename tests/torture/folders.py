"""What differs between the folders of two atlases that should be one."""

from __future__ import annotations

from pathlib import Path

import h5py

from pipeline.store.parts import FOLDER
from pipeline.store.publishing import is_open, pack_atlas, used_files

_OF_RUNS = ("log", ".lock")  # what every run writes anew


def differences(expected: Path, out: Path) -> list[str]:
    """Lines about files that are missing, too many, or of other bytes; an atlas in parts is packed first."""
    with h5py.File(out / "atlas.h5") as file:
        parts = used_files(file) if is_open(file) else frozenset()
    kept = {path.name for path in (out / FOLDER).iterdir()} if (out / FOLDER).is_dir() else set()
    lines = [f"{FOLDER}/{name}: belongs to nothing" for name in sorted(kept - parts)]
    if parts:
        pack_atlas(out / "atlas.h5")
    here, there = _entries(out), _entries(expected)
    lines += [f"{name}: is left" for name in sorted(here.keys() - there.keys())]
    lines += [f"{name}: is missing" for name in sorted(there.keys() - here.keys())]
    both = sorted(here.keys() & there.keys())
    if parts:  # the keys by which pages are taken over differ between an atlas in parts and a whole one
        both = [name for name in both if Path(name).name != ".keys"]
    return lines + [f"{name}: has other bytes" for name in both if _bytes(here[name]) != _bytes(there[name])]


def _entries(out: Path) -> dict[str, Path]:
    """Name → path of every file and folder but those of runs; of a log folder what is no log."""
    found = {str(path.relative_to(out)): path for path in out.rglob("*")}
    return {
        name: path
        for name, path in found.items()
        if Path(name).parts[0] not in _OF_RUNS or path.suffix not in (".jsonl", ".json", "")
    }


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
