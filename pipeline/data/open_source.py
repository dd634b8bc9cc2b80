"""From the settings of a dataset to its images."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.card import NetworkCard
from pipeline.data.archive import archive_files, is_archive, open_archive
from pipeline.data.doodles import Doodles
from pipeline.data.image_files import open_folder, open_list
from pipeline.data.imagenet import open_imagenet
from pipeline.data.network_classes import with_network_classes
from pipeline.data.source import ImageSource, Progress, doodle_source
from pipeline.dataset_settings import NETWORK, DatasetSettings
from pipeline.errors import DataError

_OPENERS = {"folder": open_folder, "list": open_list, "imagenet": open_imagenet}


def open_source(
    settings: DatasetSettings, *, cache: Path, progress: Progress | None = None, card: NetworkCard | None = None
) -> ImageSource:
    """The images of a dataset, in a fixed order, with keys, labels and content hashes; decodes nothing.

    settings : of the dataset.
    cache : folder in which hashes are stored, so that an unchanged file is read only once.
    progress : called with the bytes hashed so far and the bytes to hash.
    card : of the network whose classes the images have if `settings.classes` says so; None to keep their own.
    Raises DataError for a dataset that is empty, has an unknown layout, or whose labels do not match.
    """
    source = _open(settings, cache, progress)
    if settings.classes == NETWORK and card is not None:
        return with_network_classes(source, card)
    return source


def _open(settings: DatasetSettings, cache: Path, progress: Progress | None) -> ImageSource:
    if settings.kind == "doodles":
        count = settings.count if settings.limit is None else min(settings.count, settings.limit)
        return doodle_source(settings.title, Doodles(settings.seed, count, settings.size))
    root = Path(settings.root or "").expanduser()
    labels = [_label_file(root, name) for name in settings.label_files]
    if settings.kind == "tar" or (settings.kind == "folder" and is_archive(root)):
        return open_archive(settings.title, str(root), labels, limit=settings.limit, cache=cache, progress=progress)
    opener = _OPENERS[settings.kind]
    return opener(settings.title, root, labels, limit=settings.limit, cache=cache, progress=progress)


def visible(settings: DatasetSettings) -> str | None:
    """One line if this machine cannot read the dataset; None if it can. Looks at its root, opens no image.

    settings : with an absolute root (`DatasetSettings.anywhere`), because machines work in different directories.
    """
    if settings.kind == "doodles":
        return None
    root = Path(settings.root or "").expanduser()
    try:
        if root.is_dir():
            with os.scandir(root) as entries:
                why = None if next(entries, None) is not None else "an empty folder"
        elif settings.kind in ("tar", "list") or root.exists():
            for path in archive_files(str(root)) if settings.kind == "tar" else (root,):
                with open(path, "rb") as file:
                    file.read(1)
            why = None
        else:
            why = "no such folder"
    except OSError as error:
        why = error.strerror or type(error).__name__
    except DataError:
        why = "no such file"
    if why is None:
        return None
    return f"dataset.root {root}: cannot be read here ({why}); mount it at this path, or leave this machine out"


def _label_file(root: Path, name: str) -> Path:
    """A file of labels, relative to the current directory or to the dataset's folder."""
    path = Path(name).expanduser()
    beside = (root if root.is_dir() else root.parent) / path
    if not path.is_file() and not beside.is_file():
        raise DataError(f"dataset.labels {name}: no such file; give a text or CSV file by dataset.labels=…")
    return path if path.is_file() else beside
