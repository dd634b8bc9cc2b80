"""The numbers of a Caffe network: its weights and its mean image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from google.protobuf.message import DecodeError
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor

from pipeline.errors import WeightsError, nearest
from pipeline.nets.caffe.schema import BlobProto, NetParameter, UnpackedBlob

Shape = tuple[int, ...]
Blobs = Mapping[str, Sequence[np.ndarray]]

_NAMED = {"weight": 0, "bias": 1}  # what .safetensors may call the first two blobs


class Weights:
    """The blobs of every layer by name, handed out only in the shape that a layer expects."""

    def __init__(self, blobs: Blobs | None, source: str) -> None:
        """blobs : name of a layer → its arrays; None gives zeros, for what needs shapes alone."""
        self._blobs = blobs
        self._source = source
        self.taken: dict[str, tuple[Shape, ...]] = {}  # what layers have asked for

    def take(self, layer: str, shapes: Sequence[Shape]) -> list[Tensor]:
        """The blobs of a layer, float32, in the given shapes.

        Axes of length 1 in front, which old files have, are nothing.
        Raises WeightsError if the layer, the number of its blobs or a shape is another.
        """
        self.taken[layer] = tuple(shapes)
        if self._blobs is None:
            return [torch.zeros(shape) for shape in shapes]
        found = self._blobs.get(layer, ())
        if len(found) != len(shapes):
            hint = nearest(layer, self._blobs) if not found else ""
            raise WeightsError(
                f"{self._source}: layer {layer} has {len(found)} blobs, expected {len(shapes)} of shapes "
                f"{', '.join(map(str, shapes))}{hint}; give the weights of this definition"
            )
        for index, (blob, shape) in enumerate(zip(found, shapes, strict=True)):
            if _bare(blob.shape) != _bare(shape):
                raise WeightsError(
                    f"{self._source}: layer {layer}, blob {index} has shape {tuple(blob.shape)}, expected {shape}; "
                    "give the weights of this definition"
                )
        arrays = (np.asarray(blob, np.float32).reshape(shape) for blob, shape in zip(found, shapes, strict=True))
        return [torch.from_numpy(np.array(array)) for array in arrays]


def read_weights(path: str | Path) -> dict[str, tuple[np.ndarray, ...]]:
    """The arrays of every layer that has any: of a .caffemodel of any age, or of a .safetensors file.

    Arrays of a .safetensors file are named layer.0, layer.1, … or layer.weight and layer.bias.
    Raises WeightsError if the file is missing, cut short or something else.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"weights {path}: no such file; fetch it, or give its place by model.weights=…")
    return _from_safetensors(path) if path.suffix == ".safetensors" else _from_caffemodel(path)


def read_mean(path: str | Path) -> np.ndarray:
    """The mean image, float64 (channel, row, column) in pixel levels, of an .npy or .binaryproto file.

    Channels stand as in the file: blue, green, red in Caffe's. A mean of one number a channel comes back as
    (channel, 1, 1). Raises WeightsError if the file is missing or no mean.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"mean {path}: no such file; give its place by model.mean=…")
    try:
        if path.suffix == ".npy":
            mean = np.load(path, allow_pickle=False)
        else:
            mean = _array(BlobProto.FromString(path.read_bytes()), f"mean {path}")
    except (ValueError, OSError, EOFError, DecodeError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"mean {path}: cannot be read ({_line(error)}); give an .npy or .binaryproto file") from None
    mean = mean.reshape(-1, 1, 1) if mean.ndim == 1 else mean
    mean = mean[0] if mean.ndim == 4 and mean.shape[0] == 1 else mean
    if mean.ndim != 3 or mean.shape[0] not in (1, 3):
        raise WeightsError(f"mean {path}: got shape {mean.shape}, expected (3, rows, columns); give the mean image")
    if mean.dtype.kind not in "fiu" or not np.isfinite(mean).all():
        raise WeightsError(f"mean {path}: holds what is no finite number; give the mean image")
    return mean.astype(np.float64)


def fit_mean(mean: np.ndarray, height: int, width: int) -> np.ndarray:
    """The centre of a mean image (channel, row, column), cut to the input; one number a channel stays."""
    if mean.ndim < 3 or mean.shape[1:] == (1, 1):
        return mean
    top, left = (mean.shape[1] - height) // 2, (mean.shape[2] - width) // 2
    if top < 0 or left < 0:
        raise WeightsError(
            f"mean image: got {mean.shape[1]} × {mean.shape[2]}, expected {height} × {width} or more; "
            "give the mean of this network, or one number a channel"
        )
    return mean[:, top : top + height, left : left + width]


def _from_caffemodel(path: Path) -> dict[str, tuple[np.ndarray, ...]]:
    try:
        net = NetParameter.FromString(path.read_bytes())
    except DecodeError:
        raise WeightsError(
            f"weights {path}: cut short, or no Caffe weights ({path.stat().st_size} bytes); fetch the file again"
        ) from None
    layers = [(layer.name, layer.blobs) for layer in net.layer]
    for old in net.layers:
        layers.append((old.layer.name, old.layer.blobs) if old.HasField("layer") else (old.name, old.blobs))
    found = {
        name: tuple(_array(blob, f"weights {path}: layer {name}, blob {i}") for i, blob in enumerate(blobs))
        for name, blobs in layers
        if blobs
    }
    if not found:
        raise WeightsError(f"weights {path}: no layer in it has weights; give a .caffemodel or .safetensors file")
    return found


def _array(blob: Any, where: str) -> np.ndarray:
    """The numbers of a BlobProto, float32 or float64, in its shape; float64 wins where both are there."""
    if blob.double_data or blob.data:
        packed, kind = (blob.double_data, "<f8") if blob.double_data else (blob.data, "<f4")
        data = b"".join(packed)
        if len(data) % np.dtype(kind).itemsize:
            raise WeightsError(f"{where}: {len(data)} bytes are no whole count of numbers; fetch the file again")
        values = np.frombuffer(data, kind)
    else:
        # One by one, the numbers are fields that BlobProto keeps without knowing them.
        unpacked = UnpackedBlob.FromString(blob.SerializeToString())
        values = np.array(unpacked.double_data) if unpacked.double_data else np.array(unpacked.data, np.float32)
    old = ("num", "channels", "height", "width")
    legacy = any(blob.HasField(name) for name in old)
    shape = tuple(getattr(blob, name) for name in old) if legacy else tuple(blob.shape.dim)
    if min(shape, default=1) < 0 or values.size != int(np.prod(shape, dtype=object)):
        raise WeightsError(f"{where} holds {values.size} numbers, expected shape {shape}; fetch the file again")
    return values.reshape(shape)


def _from_safetensors(path: Path) -> dict[str, tuple[np.ndarray, ...]]:
    try:
        arrays = load_file(path)
    except (SafetensorError, OSError, TypeError, KeyError) as error:
        raise WeightsError(f"weights {path}: cannot be read ({_line(error)}); fetch the file again") from None
    layers: dict[str, dict[int, np.ndarray]] = {}
    for name, array in arrays.items():
        layer, _, blob = name.rpartition(".")
        index = int(blob) if blob.isdecimal() else _NAMED.get(blob)
        if not layer or index is None:
            raise WeightsError(
                f"weights {path}: got an array {name!r}, expected names such as conv1.0, conv1.weight or conv1.bias"
            )
        layers.setdefault(layer, {})[index] = array
    for layer, blobs in layers.items():
        if sorted(blobs) != list(range(len(blobs))):
            raise WeightsError(
                f"weights {path}: layer {layer} has blobs {sorted(blobs)}, expected them numbered from 0; "
                "write all of them"
            )
    return {layer: tuple(blobs[index] for index in sorted(blobs)) for layer, blobs in layers.items()}


def _bare(shape: Sequence[int]) -> Shape:
    """The shape from its first axis that is longer than 1."""
    shape = tuple(shape)
    while shape[:1] == (1,):
        shape = shape[1:]
    return shape


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
