"""What the dataset side of an atlas contradicts; for groups that are sound by themselves."""

from __future__ import annotations

from collections.abc import Iterator

import h5py
import numpy as np

from atlas_viewer.format_dataset import KINDS, RULES


def dataset_faults(file: h5py.File) -> Iterator[str]:
    """What /dataset and its images deny of each other."""
    if "dataset" not in file:
        return
    group = file["dataset"]
    skipped = len(group["skipped_key"])
    if int(group.attrs["skipped"]) != skipped:
        yield f"/dataset: attribute skipped is {group.attrs['skipped']}, but {skipped} are listed"
    if group.attrs["pixels"] not in ("stored", "pointers"):
        yield f"/dataset: attribute pixels is {group.attrs['pixels']!r}, expected 'stored' or 'pointers'"
    if "images" not in group:
        return
    images = group["images"]
    if ("pixels" in images) != (group.attrs["pixels"] == "stored"):
        yield f"/dataset/images: pixels are {'' if 'pixels' in images else 'not '}there, but /dataset says otherwise"
    elif "pixels" in images and images["pixels"].shape[1:3] != _input(file):
        yield f"/dataset/images/pixels: size {images['pixels'].shape[1:3]}, expected the input's {_input(file)}"
    number, label = images["number"][...], images["label"][...]
    if number.size and not (number[0] >= 0 and (np.diff(number) > 0).all()):
        yield "/dataset/images/number: not rising from 0 on"
    classes = len(group["classes"])
    if label.size and not (label.min() >= -1 and label.max() < max(classes, 1)):
        yield f"/dataset/images/label: not within -1 to {classes - 1}"


def layer_faults(file: h5py.File, layer: h5py.Group) -> Iterator[str]:
    """What hits and statistics of one layer deny of its units and of the dataset."""
    units = len(layer["units/index"])
    for kind, tops in layer.get("tops", {}).items():
        if tops["image"].shape[0] != units:
            yield f"{tops.name}: {tops['image'].shape[0]} units, expected {units} as in units/index"
        elif kind not in KINDS or tops.attrs["kind"] != kind:
            yield f"{tops.name}: kind {tops.attrs['kind']!r}, expected the group's name, one of {', '.join(KINDS)}"
        elif "dataset/images" not in file:
            yield f"{tops.name}: hits, but no /dataset/images"
        else:
            yield from (f"{tops.name}{fault}" for fault in _hit_faults(file, tops))
    if "statistics" in layer:
        group = layer["statistics"]
        if group["image_count"].shape[0] != units:
            yield f"{group.name}: {group['image_count'].shape[0]} units, expected {units} as in units/index"
        else:
            yield from (f"{group.name}{fault}" for fault in _statistics_faults(file, group))


def _hit_faults(file: h5py.File, tops: h5py.Group) -> Iterator[str]:
    image, activation, window = tops["image"][...], tops["activation"][...], tops["window"][...]
    there, (height, width) = image >= 0, _input(file)
    size = int(tops.attrs["height"]), int(tops.attrs["width"])
    rows = len(file["dataset/images/number"])
    if image.size and image.max() >= rows:
        yield f"/image: a row outside 0 to {rows - 1}"
    if not np.isfinite(activation[there]).all():
        yield "/activation: not finite where there is a hit"
    sides = window[there]
    if not ((sides[:, :2] >= 0) & (sides[:, :2] <= sides[:, 2:]) & (sides[:, 2:] <= (height, width))).all():
        yield "/window: outside the network's input"
    seen = (sides[:, :2] < sides[:, 2:]).all(axis=1)  # a position may see nothing but padding
    sides, begins = sides[seen], tops["frame"][...][there][seen]
    if not ((sides[:, :2] >= begins) & (sides[:, 2:] <= begins + size)).all():
        yield "/window: outside the frame"
    for rule in RULES:
        if (rule in tops) != (f"{rule}_scale" in tops):
            yield f"/{rule}: only one of {rule} and {rule}_scale is there"
        elif rule in tops and tops[rule].shape[2:4] != size:
            yield f"/{rule}: size {tops[rule].shape[2:4]}, expected the frame's {size}"


def _statistics_faults(file: h5py.File, group: h5py.Group) -> Iterator[str]:
    edge, bins = group["edge"][...], group["image_histogram"].shape[1]
    if len(edge) != bins + 1 or not (np.diff(edge) > 0).all():
        yield f"/edge: expected {bins + 1} rising edges"
    for what in ("image", "position"):
        if f"{what}_count" in group:
            counted = group[f"{what}_histogram"][...].sum(axis=1)
            if not (counted == group[f"{what}_count"][...]).all():
                yield f"/{what}_histogram: its sum is not {what}_count"
    if "class_mean" in group:
        classes = len(file["dataset/classes"]) if "dataset" in file else 0
        if group["class_mean"].shape[1] != classes:
            yield f"/class_mean: {group['class_mean'].shape[1]} classes, expected {classes} as in /dataset/classes"


def _input(file: h5py.File) -> tuple[int, int]:
    attributes = file["preprocessing"].attrs
    return int(attributes["height"]), int(attributes["width"])
