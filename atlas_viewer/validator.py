"""What is wrong with an atlas file, held against the schema."""

from __future__ import annotations

from collections.abc import Iterator

import h5py
import numpy as np

from atlas_viewer.dataset_faults import dataset_faults, layer_faults
from atlas_viewer.dgn_faults import dgn_faults
from atlas_viewer.field import DTYPES, FIXED_AXES, Field, Group, Status
from atlas_viewer.format import FORMAT, LAYER, ROOT, SCHEMA, UNITS, VERSION, group_names


def check(file: h5py.File) -> list[str]:
    """What in an atlas is missing, extra, misshaped or contradicts itself, a line each; [] when sound."""
    header = ROOT.faults({name: file.attrs[name] for name in file.attrs if name != "meaning"})
    if header or file.attrs["format"] != FORMAT or file.attrs["version"] != VERSION:
        wanted = f"expected format {FORMAT!r}, version {VERSION}"
        return [f"/: {fault}" for fault in header] or [f"/: {wanted}, got {dict(file.attrs)}"]
    present = {"/": file}
    file.visititems(lambda name, thing: present.__setitem__("/" + name, thing))
    found: list[str] = []
    for path, thing in present.items():
        if isinstance(thing, h5py.Dataset):
            kind = _kind(thing.parent.name)
            if kind is None or all(field.name != thing.name.split("/")[-1] for field in kind.fields):
                found.append(f"{path}: a dataset that is not in the schema")
        elif _kind(path) is not None:
            found += [f"{path}: {fault}" for fault in _group_faults(_kind(path), thing)]
        elif not any(_leads(path, kind.path) for kind in SCHEMA):
            found.append(f"{path}: a group that is not in the schema")
    wanted = [kind.path for kind in SCHEMA if kind.required and "<" not in kind.path]
    wanted += [UNITS.at(layer=path.split("/")[2]) for path in present if _kind(path) is LAYER]
    found += [f"{path}: the group is missing" for path in wanted if path not in present]
    return found if found else _contradictions(file)


def _kind(path: str) -> Group | None:
    return next((kind for kind in SCHEMA if _fits(path, kind.path)), None)


def _fits(path: str, template: str) -> bool:
    return path.count("/") == template.count("/") and _leads(path, template)


def _leads(path: str, template: str) -> bool:
    """Whether a path is one of the template's, or one of the groups on the way there."""
    parts, wanted = path.split("/"), template.split("/")
    pairs = zip(parts, wanted, strict=False)
    return len(parts) <= len(wanted) and all(part == want or want.startswith("<") for part, want in pairs)


def _group_faults(kind: Group, group: h5py.Group) -> Iterator[str]:
    yield from kind.faults({name: group.attrs[name] for name in group.attrs if name != "meaning"})
    sizes: dict[str, int] = {}
    for field in kind.fields:
        dataset = group.get(field.name)
        if dataset is None:
            if field.required:
                yield f"dataset {field.name} is missing"
            continue
        if not isinstance(dataset, h5py.Dataset):
            yield f"{field.name} is a group, expected a dataset"
            continue
        yield from (f"dataset {field.name}: {fault}" for fault in _dataset_faults(field, dataset, sizes))


def _dataset_faults(field: Field, dataset: h5py.Dataset, sizes: dict[str, int]) -> Iterator[str]:
    """Faults of one dataset; `sizes` collects the lengths of the group's axes, so that they must agree."""
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
    if tuple(dimension.label for dimension in dataset.dims) != field.axes:
        yield f"dimensions are not named {', '.join(field.axes)}"
    chunks = field.chunks(dict(zip(field.axes, dataset.shape, strict=True)))
    if dataset.chunks != chunks:
        yield f"chunks are {dataset.chunks}, expected {chunks}"
    elif chunks is not None and _pipeline(dataset) != field.filters:
        yield f"filters are {_pipeline(dataset)}, expected {field.filters}"


def _pipeline(dataset: h5py.Dataset) -> tuple[tuple[str, int], ...]:
    plist = dataset.id.get_create_plist()
    names = {h5py.h5z.FILTER_SHUFFLE: "shuffle", h5py.h5z.FILTER_DEFLATE: "deflate"}
    stages = (plist.get_filter(stage) for stage in range(plist.get_nfilters()))
    return tuple((names.get(code, str(code)), values[0] if values else 0) for code, _, values, _ in stages)


def _contradictions(file: h5py.File) -> list[str]:
    """What each group says that another denies; for a file whose groups are sound by themselves."""
    found = [*dataset_faults(file), *dgn_faults(file)]
    layers = file["network/layers/name"].asstr()[...].tolist()
    edges, nodes = file["network/graph/edges"][...], len(file["network/graph/nodes"])
    if edges.size and not (edges.min() >= 0 and edges.max() < nodes):
        found.append(f"/network/graph/edges: a node outside 0 to {nodes - 1}")
    names = group_names(layers)
    for key, group in file.get("layers", {}).items():
        layer, index = group.attrs["layer"], group["units/index"][...]
        if names.get(layer) != key:
            found.append(f"{group.name}: layer {layer!r} is not in the layer table under this group's name")
            continue
        channels = int(file["network/layers/channels"][layers.index(layer)])
        if index.size and not (index[0] >= 0 and index[-1] < channels and (np.diff(index) > 0).all()):
            found.append(f"{group.name}/units/index: not rising within 0 to {channels - 1}")
        found += layer_faults(file, group)
        found += _sweep_faults(group)
        for path, style in _leaves(group):
            units = style["status" if "status" in style else "target"].shape[0]
            if units != index.size:
                found.append(f"{group.name}/{path}: {units} units, expected {index.size} as in units/index")
            elif "status" in style:
                status, activation = style["status"][...], style["activation"][...]
                if status.size and status.max() > max(Status):
                    found.append(f"{group.name}/{path}/status: a value that is no status")
                if not np.isfinite(activation[status == Status.ok]).all():
                    found.append(f"{group.name}/{path}/activation: not finite where status is ok")
            elif (pictures := style.attrs["pictures"]) not in group:
                found.append(f"{group.name}/{path}: attribute pictures names {pictures!r}, not there")
            elif style["top1"].shape != group[pictures]["status"].shape:
                found.append(f"{group.name}/{path}: units and samples are not those of {pictures}")
    return found


def _sweep_faults(layer: h5py.Group) -> Iterator[str]:
    """Settings of a style search without a place of their own."""
    taken: dict[tuple[str, int], str] = {}
    for name, style in layer.get("ascent", {}).items():
        if "sweep" not in style.attrs:
            continue
        missing = [part for part in ("sweep_place", "sweep_base") if part not in style.attrs]
        if missing:
            yield f"{style.name}: of a style search, but attribute {missing[0]} is missing"
            continue
        other = taken.setdefault((style.attrs["sweep"], int(style.attrs["sweep_place"])), name)
        if other != name:
            yield f"{style.name}: has the place of {other} in the style search"


def _leaves(layer: h5py.Group) -> Iterator[tuple[str, h5py.Group]]:
    for method in ("ascent", "dgn"):
        for name, group in layer.get(method, {}).items():
            yield f"{method}/{name}", group
    for judge in layer.get("scores", {}):
        for style, group in layer["scores"][judge].items():
            if isinstance(group, h5py.Group):
                yield f"scores/{judge}/{style}", group
