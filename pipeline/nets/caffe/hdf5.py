"""Caffe's weights in HDF5 (.caffemodel.h5): /data/<layer>/<number of the blob>."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import WeightsError

Gapped = Sequence["np.ndarray | None"]  # the blobs of a layer; None for one that is stored with another layer


def read_hdf5(path: Path) -> dict[str, tuple[np.ndarray | None, ...]]:
    """Name of a layer → its arrays, as far as the file holds them under this name.

    Caffe stores blobs that several layers share only with the first of them. `filled` puts them in.

    Raises WeightsError if the file is cut short, or not of Caffe.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            data = file.get("data")
            if not isinstance(data, h5py.Group):
                raise _no_data(path, file)
            layers = dict(_layers(path, data, "", ()))
    except WeightsError:
        raise
    except (OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, MemoryError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"weights {path}: cut short or damaged ({path.stat().st_size} bytes; {reason}); fetch the file again"
        ) from None
    if not layers:
        raise WeightsError(f"weights {path}: no layer in it has weights; give a snapshot of a trained network")
    return layers


def filled(blobs: Mapping[str, Gapped], layers: Iterable[Any]) -> dict[str, tuple[np.ndarray, ...]]:
    """The blobs of every layer, with those that it shares with another by a name in the definition.

    layers : of the definition, LayerParameter messages.
    """
    complete = {name: list(arrays) for name, arrays in blobs.items()}
    named = [(p.name, layer.name, index) for layer in layers for index, p in enumerate(layer.param) if p.name]
    stored = {
        name: complete[layer][index]
        for name, layer, index in reversed(named)  # the first layer decides, as in Caffe
        if index < len(complete.get(layer, ())) and complete[layer][index] is not None
    }
    for name, layer, index in named:
        arrays = complete.setdefault(layer, [])
        arrays += [None] * (index + 1 - len(arrays))
        if arrays[index] is None:
            arrays[index] = stored.get(name)
    return {name: tuple(array for array in arrays if array is not None) for name, arrays in complete.items()}


def _layers(path: Path, group: Any, name: str, above: tuple[Any, ...]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The layers of a group: groups with numbered arrays, at any depth, because names of layers may contain "/"."""
    import h5py

    blobs: dict[int, np.ndarray] = {}
    for key in group:
        inner = f"{name}/{key}" if name else key
        if isinstance(group.get(key, getlink=True), h5py.ExternalLink):
            raise WeightsError(f"weights {path}: /data/{inner} links to another file; copy its arrays into this one")
        try:
            value = group[key]
        except KeyError:
            raise WeightsError(f"weights {path}: the link /data/{inner} leads nowhere; write the file again") from None
        if isinstance(value, h5py.Group):
            if value not in (*above, group):  # a link may lead back
                yield from _layers(path, value, inner, (*above, group))
        elif key.isdecimal() and value.dtype.kind == "f":
            blobs[int(key)] = value[()]
    if blobs:
        yield name, tuple(blobs.get(index) for index in range(max(blobs) + 1))


def _no_data(path: Path, file: Any) -> WeightsError:
    if "learned_net" in file:
        return WeightsError(
            f"weights {path}: is a state of Caffe's solver, without weights; give the .caffemodel.h5 written beside it"
        )
    if "layer_names" in file.attrs or "model_weights" in file or "keras_version" in file.attrs:
        return WeightsError(f"weights {path}: is an HDF5 file of Keras, not of Caffe; give Caffe's weights")
    shown = ", ".join(map(str, list(file)[:3])) or "nothing"
    return WeightsError(
        f"weights {path}: is an HDF5 file that holds {shown}, not /data as Caffe's; give Caffe's weights"
    )
