"""Small datasets as files, and their settings."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from image_forms import picture, saved

from pipeline.data.source import ImageSource
from pipeline.dataset_settings import DatasetSettings

LONG_AGO = 1_000_000_000


def settings(kind: str, root: Path | str | None, **changes: object) -> DatasetSettings:
    values = {
        "kind": kind, "name": None, "root": None if root is None else str(root), "labels": None, "classes": None,
        "limit": None, "preprocess": "squash", "reduced_decoding": False, "bad_share": 0.01, "block": 64, "seed": 3,
        "count": 40, "size": 32,
    }  # fmt: skip
    return DatasetSettings(**{**values, **changes})


def put(root: Path, *names: str, old: bool = False) -> Path:
    """Write small pictures of different content under these names."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(name))
        if old:
            os.utime(path, (LONG_AGO, LONG_AGO))
    return root


def content(name: str) -> bytes:
    return saved(picture(8, 8, seed=sum(map(ord, name))), "PNG") + name.encode()


def pack(path: Path, *names: str, mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(content(name))
            archive.addfile(member, io.BytesIO(content(name)))
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def read(source: ImageSource, start: int, stop: int) -> Iterator[tuple[int, bytes | np.ndarray]]:
    """The images start … stop−1 with their bytes (drawings: their pixels)."""
    for image, load in source.loads(start, stop):
        yield image, load()


def labels_of(source) -> dict[str, str]:
    """Key → name of the class."""
    return {
        key: source.index.class_names[label] for key, label in zip(source.index.keys, source.index.labels, strict=True)
    }
