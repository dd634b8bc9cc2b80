"""ImageNet in its published layouts: training images in class folders, validation images with a file of labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pipeline.data.image_files import FileSource, file_source, image_names
from pipeline.data.labels import Labels, class_folders, find_labels, read_classes
from pipeline.data.lists import read_list
from pipeline.data.source import Progress, key_of
from pipeline.errors import DataError

_WNID = re.compile(r"n\d{8}")
# The first lines of ILSVRC2012_validation_ground_truth.txt, whose numbers follow the development kit, not the wnids.
_KIT_NUMBERS = ("490", "361", "171", "822", "297", "482", "13", "704", "599", "164")


def open_imagenet(
    title: str, root: Path, labels: Sequence[Path], *, limit: int | None, cache: Path, progress: Progress | None
) -> FileSource:
    """The images of `<wnid>/*.JPEG`, or of a flat folder with a file of labels, in the order of their names.

    title : name of the dataset.
    root : the folder.
    labels : for a flat folder a file with "name wnid" or "name number" (from 0) on each line, or with one number on
        each line in the order of the names (from 1, as in the development kit). For both layouts, a file with
        "wnid name" on each line defines numbers and names of the classes; without it, classes are numbered in the
        order of the wnids.
    limit : number of images, taken evenly over the classes, the first of each; None for all.
    cache, progress : as for `open_source`.
    Raises DataError for any other layout.
    """
    names = image_names(root)
    keys = [key_of(name) for name in names]
    folders = class_folders(keys)
    if all(folder is not None and _WNID.fullmatch(folder) for folder in folders):
        assigned = find_labels(keys, labels, folders, by_folder=True)
    elif not any(folders):
        assigned = _flat(root, keys, labels)
    else:
        shown = ", ".join(sorted({folder for folder in folders if folder is not None})[:4])
        raise DataError(
            f"dataset.root {root}: no layout of ImageNet's (it has {shown}, expected folders such as n01440764, or "
            "images alone); give the folder right above those by dataset.root=…, or take it by DATASET=folder"
        )
    return file_source(title, root, names, assigned, limit=limit, spread=True, cache=cache, progress=progress)


def _flat(root: Path, keys: Sequence[str], files: Sequence[Path]) -> Labels:
    if not files:
        raise DataError(
            f"dataset.root {root}: a flat folder of images, whose classes a file must state; give it by "
            "dataset.labels=…, or take the images without labels by DATASET=folder"
        )
    read = {path: _numbers(path) for path in files}
    numbers = [path for path in files if read[path] is not None]
    if not numbers:
        return find_labels(keys, files, [None] * len(keys), by_folder=False)
    others = [path for path in files if path != numbers[0]]
    values = read[numbers[0]]
    if len(values) != len(keys):
        raise DataError(
            f"dataset.labels {numbers[0]}: {len(values)} numbers for {len(keys)} images; give one a line for each "
            "image in the order of the names, or a file that names them"
        )
    if tuple(values[: len(_KIT_NUMBERS)]) == _KIT_NUMBERS and any(_in_wnid_order(path) for path in others):
        raise DataError(
            f"dataset.labels {numbers[0]}: its numbers follow the development kit's own order of classes, but "
            f"{others[0]} has them in the order of wnids; give a file 'name wnid' (or 'name number') instead"
        )
    first = 0 if "0" in values else 1
    return find_labels(keys, others, [str(int(value) - first) for value in values], by_folder=False)


def _numbers(path: Path) -> list[str] | None:
    """The numbers of a file that has nothing but a number on each line; None for any other file."""
    try:
        lines = read_list(path).lines
    except DataError:
        if not path.is_file():
            raise
        return None  # it may be a file of class names
    return [line.name for line in lines] if all(line.text.isdecimal() for line in lines) else None


def _in_wnid_order(path: Path) -> bool:
    classes = read_classes(path)
    return classes.has_wnids and [*classes.ids] == sorted(classes.ids)
