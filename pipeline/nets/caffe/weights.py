"""The arrays of a Caffe network: its weights and its mean image."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import torch
from google.protobuf.message import DecodeError
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor

from pipeline.errors import WeightsError, nearest
from pipeline.nets.caffe.hdf5 import Gapped, read_hdf5
from pipeline.nets.caffe.schema import BlobProto, TrainedNet, UnpackedBlob
from pipeline.nets.file_kind import is_hdf5, is_zip, refuse_foreign
from pipeline.nets.finite import not_finite

Shape = tuple[int, ...]
Blobs = Mapping[str, Sequence[np.ndarray]]

MOST_NUMBERS = 2**31  # in one blob, 8 GiB; the largest of published networks, VGG's fc6, has 2**27
_MOST_AXES = 32  # of a blob, as in Caffe
_DAMAGE = (  # what numpy's and protobuf's readers raise on damaged files; its header is a Python literal
    ValueError, OSError, EOFError, DecodeError, SyntaxError, TokenError, LookupError, TypeError, OverflowError,
    MemoryError, RecursionError,
)  # fmt: skip
_NAMED = {"weight": 0, "bias": 1}  # names of the first two blobs that a .safetensors file may use


class Weights:
    """The blobs of every layer by name, returned only in the shape that the layer expects."""

    def __init__(self, blobs: Blobs | None, source: str) -> None:
        """The blobs of a network.

        blobs : name of a layer → its arrays; None for zeros, where only shapes are needed.
        source : the file, for messages.
        """
        self._blobs = blobs
        self._source = source
        self.taken: dict[str, tuple[Shape, ...]] = {}  # the shapes requested so far, by layer
        # Name of a layer → the layer that owns the weights of that name, and the names of its parameters.
        self.owners: dict[str, tuple[int, tuple[str, ...]]] = {}

    def count(self, layer: str) -> int | None:
        """The number of blobs of a layer; None if only shapes are needed."""
        return None if self._blobs is None else len(self._blobs.get(layer, ()))

    def take(self, layer: str, shapes: Sequence[Shape]) -> list[Tensor]:
        """The blobs of a layer, float32, in the given shapes.

        Leading axes of length 1, which old files have, are ignored.
        Raises WeightsError if the layer is missing, has another number of blobs or another shape, or if a number in
        them is not finite.
        """
        self.taken[layer] = tuple(shapes)
        for shape in shapes:
            if min(shape, default=0) < 0 or math.prod(shape) > MOST_NUMBERS:
                raise WeightsError(
                    f"{self._source}: layer {layer} asks for weights of shape {shape}, expected at most "
                    f"{MOST_NUMBERS} numbers; correct its settings in the definition"
                )
        if self._blobs is None:
            return [torch.zeros(shape) for shape in shapes]
        blobs = self._blobs.get(layer, ())
        if len(blobs) != len(shapes):
            hint = nearest(layer, self._blobs) if not blobs else ""
            raise WeightsError(
                f"{self._source}: layer {layer} has {len(blobs)} blobs, expected {len(shapes)} of shapes "
                f"{', '.join(map(str, shapes))}{hint}; give the weights of this definition"
            )
        for index, (blob, shape) in enumerate(zip(blobs, shapes, strict=True)):
            if _bare(blob.shape) != _bare(shape):
                raise WeightsError(
                    f"{self._source}: layer {layer}, blob {index} has shape {tuple(blob.shape)}, expected {shape}; "
                    "give the weights of this definition"
                )
        arrays = (np.asarray(blob, np.float32).reshape(shape) for blob, shape in zip(blobs, shapes, strict=True))
        tensors = [torch.from_numpy(np.array(array)) for array in arrays]
        for index, tensor in enumerate(tensors):
            if counts := not_finite(tensor):
                raise WeightsError(
                    f"{self._source}: layer {layer}, blob {index} holds {counts}; give weights that are finite"
                )
        return tensors


def read_weights(path: str | Path) -> Mapping[str, Gapped]:
    """Name of a layer → its arrays, for every layer that has weights; None for one that another layer holds (HDF5).

    path : a .caffemodel of any format version; a .caffemodel.h5; or a .safetensors file, whose arrays are named
        layer.0, layer.1, … or layer.weight and layer.bias.
    Raises WeightsError if the file is missing, cut short, or not a weights file.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"weights {path}: no such file; fetch it, or give its path by model.weights=…")
    refuse_foreign(path, f"weights {path}", WeightsError)
    if is_hdf5(path):
        return read_hdf5(path)
    if is_zip(path):
        raise WeightsError(
            f"weights {path}: is a zip archive, such as torch writes, not Caffe's weights; "
            "read weights of torch with MODEL=torch, or unpack the archive"
        )
    return _from_safetensors(path) if path.suffix == ".safetensors" else _from_caffemodel(path)


def read_mean(path: str | Path) -> np.ndarray:
    """The mean image, float64 (channel, row, column), in pixel levels.

    The channels keep the order of the file, which is blue, green, red in Caffe's files. A mean of one number a channel
    is returned as (channel, 1, 1).

    path : an .npy or .binaryproto file.
    Raises WeightsError if the file is missing or holds no mean image.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"mean {path}: no such file; give its path by model.mean=…")
    refuse_foreign(path, f"mean {path}", WeightsError)
    try:
        if path.suffix == ".npy":
            # From memory, where nothing that the header says reads more than the file has.
            mean = np.lib.format.read_array(io.BytesIO(path.read_bytes()), allow_pickle=False)
        else:
            mean = _array(BlobProto.FromString(path.read_bytes()), f"mean {path}")
    except WeightsError:
        raise
    except _DAMAGE as error:
        raise WeightsError(f"mean {path}: cannot be read ({_line(error)}); give an .npy or .binaryproto file") from None
    mean = mean.reshape(-1, 1, 1) if mean.ndim == 1 else mean
    mean = mean[0] if mean.ndim == 4 and mean.shape[0] == 1 else mean
    if mean.ndim != 3 or mean.shape[0] not in (1, 3):
        raise WeightsError(f"mean {path}: got shape {mean.shape}, expected (3, rows, columns); give the mean image")
    if mean.dtype.kind not in "fiu" or not np.isfinite(mean).all():
        raise WeightsError(f"mean {path}: contains values that are not finite; give the mean image")
    return mean.astype(np.float64)


def fit_mean(mean: np.ndarray, height: int, width: int) -> np.ndarray:
    """The centre of a mean image, cropped to the input; a mean of one number a channel is returned unchanged.

    mean : (channel, row, column), (channel, 1, 1) or (channel,).
    Raises WeightsError if the mean image is smaller than height × width.
    """
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
        net = TrainedNet.FromString(path.read_bytes())
    except DecodeError:
        raise WeightsError(
            f"weights {path}: cut short, or no Caffe weights ({path.stat().st_size} bytes); fetch the file again"
        ) from None
    layers = [(layer.name, layer.blobs) for layer in net.layer]
    for old in net.layers:
        layers.append((old.layer.name, old.layer.blobs) if old.HasField("layer") else (old.name, old.blobs))
    arrays = {
        name: tuple(_array(blob, f"weights {path}: layer {name}, blob {i}") for i, blob in enumerate(blobs))
        for name, blobs in layers
        if blobs
    }
    if not arrays:
        raise WeightsError(f"weights {path}: no layer in it has weights; give a .caffemodel or .safetensors file")
    return arrays


def _array(blob: Any, where: str) -> np.ndarray:
    """The array of a BlobProto, float32 or float64; float64 is used if the blob has both."""
    if blob.double_data or blob.data:
        packed, kind = (blob.double_data, "<f8") if blob.double_data else (blob.data, "<f4")
        data = b"".join(packed)
        if len(data) % np.dtype(kind).itemsize:
            raise WeightsError(f"{where}: {len(data)} bytes are not a whole number of values; fetch the file again")
        values = np.frombuffer(data, kind)
    else:
        # Numbers that are not packed are unknown fields to BlobProto, which keeps them.
        unpacked = UnpackedBlob.FromString(blob.SerializeToString())
        values = np.array(unpacked.double_data) if unpacked.double_data else np.array(unpacked.data, np.float32)
    old = ("num", "channels", "height", "width")
    legacy = any(blob.HasField(name) for name in old)
    shape = tuple(getattr(blob, name) for name in old) if legacy else tuple(blob.shape.dim)
    if min(shape, default=1) < 0 or len(shape) > _MOST_AXES or values.size != int(np.prod(shape, dtype=object)):
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
    """The shape without its leading axes of length 1."""
    shape = tuple(shape)
    while shape[:1] == (1,):
        shape = shape[1:]
    return shape


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
