"""Compare an atlas file with the schema, and its groups with each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np

from atlas_viewer.chunks import chunk_table
from atlas_viewer.errors import UNREADABLE
from atlas_viewer.evidence.dataset import input_size
from atlas_viewer.evidence.registry import contradictions
from atlas_viewer.field import DTYPES, FIXED_AXES, GENERAL, Field, Group, Status, members
from atlas_viewer.format import FORMAT, LAYER, ROOT, SCHEMA, UNITS, VERSION, group_names, is_foreseen


def check(file: h5py.File) -> list[str]:
    """List what is missing, extra, misshaped or contradictory in an atlas, one line each; [] for a sound one.

    Groups are compared with each other only where each is sound by itself.
    """
    header = ROOT.faults({name: file.attrs[name] for name in file.attrs if name not in GENERAL})
    if header or file.attrs["format"] != FORMAT or file.attrs["version"] != VERSION:
        wanted = f"expected format {FORMAT!r}, version {VERSION}"
        return [f"/: {fault}" for fault in header] or [f"/: {wanted}, got {dict(file.attrs)}"]
    present = {"/": file, **dict(_things(file, ""))}
    faults: list[str] = []
    for path, thing in present.items():
        if isinstance(thing, h5py.Dataset):
            kind = _kind(path.rsplit("/", 1)[0] or "/")
            name = path.rsplit("/", 1)[1]
            if kind is None or name not in kind.axes and all(field.name != name for field in kind.fields):
                faults.append(f"{path}: a dataset that is not in the schema")
        elif _kind(path) is not None:
            faults += [f"{path}: {fault}" for fault in form_faults(_kind(path), thing)]
        elif not is_foreseen(path):
            faults.append(f"{path}: a group that is not in the schema")
    wanted = [kind.path for kind in SCHEMA if kind.required and "<" not in kind.path]
    wanted += [UNITS.at(layer=path.split("/")[2]) for path in present if _kind(path) is LAYER]
    faults += [f"{path}: the group is missing" for path in wanted if path not in present]
    if not faults:
        faults = list(_unit_faults(file))
    return faults if faults else [*_network_faults(file), *contradictions(file)]


def form_faults(kind: Group, group: h5py.Group) -> Iterator[str]:
    """Yield what is missing, extra or misshaped in a group: attributes, and datasets by type, axes and storage."""
    yield from kind.faults({name: group.attrs[name] for name in group.attrs if name not in GENERAL})
    sizes: dict[str, int] = {}
    scales = {axis: group[axis] for axis in kind.axes if axis in group}
    for field in kind.fields:
        dataset = group.get(field.name)
        if dataset is None:
            if field.required:
                yield f"dataset {field.name} is missing"
            continue
        if not isinstance(dataset, h5py.Dataset):
            yield f"{field.name} is a group, expected a dataset"
            continue
        yield from (f"dataset {field.name}: {fault}" for fault in _dataset_faults(field, dataset, sizes, scales))


def _things(group: h5py.Group, path: str) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    """Everything below a group by its path, through links to other files too; groups of no use are not entered."""
    for name, thing in members(group):
        yield f"{path}/{name}", thing
        if isinstance(thing, h5py.Group) and is_foreseen(f"{path}/{name}"):
            yield from _things(thing, f"{path}/{name}")


@lru_cache(maxsize=4096)
def _kind(path: str) -> Group | None:
    return next((kind for kind in SCHEMA if _fits(path, kind.path)), None)


def _fits(path: str, template: str) -> bool:
    parts, wanted = path.split("/"), template.split("/")
    return len(parts) == len(wanted) and all(
        part == want or want.startswith("<") for part, want in zip(parts, wanted, strict=True)
    )


def _dataset_faults(
    field: Field, dataset: h5py.Dataset, sizes: dict[str, int], scales: Mapping[str, h5py.Dataset]
) -> Iterator[str]:
    """Faults of one dataset.

    sizes : collects the lengths of the group's axes, so that they must agree.
    scales : axis → the dataset of its name in the group.
    """
    if dataset.external or (dataset.is_virtual and not _is_over_parts(field, dataset)):
        yield "its values lie in another file"  # any of the machine, whose bytes pages would then show
        return
    wanted = DTYPES[field.dtype]
    text = h5py.check_string_dtype(dataset.dtype) is not None
    same = text if field.dtype == "text" else dataset.dtype == wanted
    if not same or h5py.check_enum_dtype(dataset.dtype) != h5py.check_enum_dtype(wanted):
        yield f"type is {dataset.dtype}, expected {field.dtype}"
        return
    if len(dataset.shape) != len(field.axes):
        yield f"has {len(dataset.shape)} axes, expected {len(field.axes)}: {', '.join(field.axes)}"
        return
    for axis, length in zip(field.axes, dataset.shape, strict=True):
        expected = FIXED_AXES[axis] if axis in FIXED_AXES else sizes.setdefault(axis, length)
        if length != expected:
            yield f"axis {axis} has length {length}, expected {expected}"
            return
    if not field.is_coordinate and not _has_scales(dataset, field.axes, scales):
        yield f"the scales of its axes are not {', '.join(field.axes)} of its own group"
    elif field.is_coordinate and not _is_scale(dataset):
        yield "is not the scale of its axis"
    if field.dtype == "status" and dataset.size and dataset[...].max() > max(Status):
        yield "a value that is not a status"
    if field.by_picture and dataset.is_virtual:  # of an atlas that grows: the chunks are in its parts
        try:
            chunk_table(dataset, field.picture_axes)
        except UNREADABLE as error:
            yield f"it is not made up of its parts ({error})"
        return
    chunks = field.chunks(dict(zip(field.axes, dataset.shape, strict=True)))
    if dataset.chunks != chunks:
        yield f"chunks are {dataset.chunks}, expected {chunks}"
    elif chunks is not None and _pipeline(dataset) != field.filters:
        yield f"filters are {_pipeline(dataset)}, expected {field.filters}"


def _is_over_parts(field: Field, dataset: h5py.Dataset) -> bool:
    """Whether a virtual dataset is one of pictures in other parts. HDF5 reads one over itself without end."""
    own = Path(dataset.file.filename).name
    return field.by_picture and all(
        source.file_name == Path(source.file_name).name and source.file_name not in (".", own)
        for source in dataset.virtual_sources()
    )


def _has_scales(dataset: h5py.Dataset, axes: tuple[str, ...], scales: Mapping[str, h5py.Dataset]) -> bool:
    """Whether the scale of each axis, and no other, is attached to it."""
    if not axes:
        return True
    try:  # the list itself, for HDF5's own functions crash on a damaged one; and by identity, as names are searched for
        listed, file = dataset.attrs["DIMENSION_LIST"], dataset.file
        return len(listed) == len(axes) and all(
            len(attached) == 1 and file[attached[0]] == scales.get(axis)
            for attached, axis in zip(listed, axes, strict=True)
        )
    except UNREADABLE:  # none, damaged, or a scale that was removed
        return False


def _is_scale(dataset: h5py.Dataset) -> bool:
    """Whether a dataset is marked as a scale. HDF5's own function crashes on a mark that is a list."""
    try:
        return bool(dataset.attrs.get("CLASS") == b"DIMENSION_SCALE")
    except UNREADABLE:  # none that can be read, or a list
        return False


def _pipeline(dataset: h5py.Dataset) -> tuple[tuple[str, int], ...]:
    plist = dataset.id.get_create_plist()
    names = {h5py.h5z.FILTER_SHUFFLE: "shuffle", h5py.h5z.FILTER_DEFLATE: "deflate"}
    stages = (plist.get_filter(stage) for stage in range(plist.get_nfilters()))
    return tuple((names.get(code, str(code)), values[0] if values else 0) for code, _, values, _ in stages)


def _unit_faults(file: h5py.File) -> Iterator[str]:
    """Groups of a layer whose axis `unit` is not that of the layer's units."""
    for kind in SCHEMA:
        axes = {field.name: field.axes.index("unit") for field in kind.fields if "unit" in field.axes}
        if not kind.path.startswith(f"{LAYER.path}/") or kind is UNITS:
            continue
        for path in kind.paths(file):
            group, expected = file[path], len(file["/".join(path.split("/")[:3])]["units/unit"])
            lengths = {group[name].shape[axis] for name, axis in axes.items() if name in group}
            yield from (
                f"{path}: {length} units, expected {expected} as in units/unit"
                for length in lengths
                if length != expected
            )


def _network_faults(file: h5py.File) -> Iterator[str]:
    """Contradictions between the network's input, its graph, its layer table and the layers with units."""
    (height, width), channels = input_size(file), len(file["preprocessing/mean"])
    if min(height, width) < 1 or channels not in (1, 3):
        yield f"/preprocessing: an input of {height}x{width} pixels and {channels} channels"
    layers = file["network/layers/name"].asstr()[...].tolist()
    edges, nodes = file["network/graph/edges"][...], len(file["network/graph/nodes"])
    if edges.size and not (edges.min() >= 0 and edges.max() < nodes):
        yield f"/network/graph/edges: a node outside 0 to {nodes - 1}"
    names = group_names(layers)
    for group in LAYER.within(file):
        layer, index = group.attrs["layer"], group["units/unit"][...]
        if names.get(layer) != group.name.rsplit("/", 1)[1]:
            yield f"{group.name}: layer {layer!r} is not in the layer table under this group's name"
            continue
        channels = int(file["network/layers/channels"][layers.index(layer)])
        if index.size and not (index[0] >= 0 and index[-1] < channels and (np.diff(index) > 0).all()):
            yield f"{group.name}/units/unit: not rising within 0 to {channels - 1}"
