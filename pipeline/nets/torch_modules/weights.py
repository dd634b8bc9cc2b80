"""Reads the tensors of a weights file of torch modules, whatever its form and its name."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from pipeline.errors import WeightsError
from pipeline.nets.file_kind import is_hdf5, is_zip, refuse_foreign, refuse_page
from pipeline.nets.torch_modules.pickled import DAMAGE, State, check_inflation, read_archive, read_pickled

_PICKLE = 0x80  # first byte of every pickle since protocol 2


def read_state(path: str | Path, *, index: bool = True) -> State:
    """Name → tensor on the CPU; what is nested in the file is nested here, such as {"state_dict": {name: tensor}}.

    Whatever else the file holds is left out. Pickled code is never run.

    path : a file that torch.save or torch.jit.save wrote, a .safetensors or .npz file, a pickled dict of arrays, or the
        .index.json of a checkpoint in several parts. The content decides, not the name.
    index : whether the file may be an index, whose parts may not.
    Raises WeightsError if the file is missing, cut short, or not a weights file.
    """
    path = Path(path)
    where = f"weights {path}"
    if not path.is_file():
        raise WeightsError(f"{where}: no such file; fetch it, or give its path by model.weights=…")
    if path.suffix == ".json" and index:
        refuse_page(path, where, WeightsError)
        return _from_parts(path)
    refuse_foreign(path, where, WeightsError)
    state = _from_one(path)
    if not state:
        raise WeightsError(f"{where}: holds no tensors by name; save model.state_dict() and give that file")
    return state


def _from_one(path: Path) -> State:
    if is_zip(path):
        return _from_npz(path) if _is_npz(path) else read_archive(path)
    with path.open("rb") as file:
        head = file.read(9)
    if head[4:] == b"\0\0\0\0{":  # the length of a header in JSON, and the header
        return _from_safetensors(path)
    if head[0] == _PICKLE:
        return read_pickled(path)
    if path.suffix == ".safetensors":
        return _from_safetensors(path)  # says what is wrong
    if is_hdf5(path):
        raise WeightsError(
            f"weights {path}: is an HDF5 file; one of Caffe is read with MODEL=caffe, of Keras only after conversion "
            "to a state dict of this module"
        )
    raise WeightsError(
        f"weights {path}: cut short, or no file of torch, safetensors or numpy ({path.stat().st_size} bytes); "
        "fetch the file again, or save model.state_dict() and give that file"
    )


def _from_safetensors(path: Path) -> State:
    try:
        return dict(load_file(path))
    except (SafetensorError, *DAMAGE) as error:
        raise WeightsError(f"weights {path}: cannot be read ({_line(error)}); fetch the file again") from None


def _is_npz(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except DAMAGE:
        return False  # the reader of archives says what is wrong
    return bool(names) and all(name.endswith(".npy") for name in names)


def _from_npz(path: Path) -> State:
    state: State = {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for info in arrays.zip.infolist():
                check_inflation(info)
            for name in arrays.files:
                array = _plain_array(arrays, name)
                if array is not None:
                    state[name] = torch.from_numpy(array)
    except DAMAGE as error:
        raise WeightsError(f"weights {path}: cannot be read ({_line(error)}); fetch the file again") from None
    return state


def _plain_array(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray | None:
    """An array of numbers, in the machine's byte order; None for one of texts or pickled objects."""
    try:
        array = arrays[name]
    except ValueError as error:
        if "allow_pickle" in str(error):
            return None
        raise
    return array.astype(array.dtype.newbyteorder("=")) if array.dtype.kind in "fiub" else None


def _from_parts(index: Path) -> State:
    """The tensors of a checkpoint in several files, from the index that names the file of each tensor."""
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
    except DAMAGE as error:
        raise WeightsError(f"weights {index}: cannot be read ({_line(error)}); fetch the file again") from None
    files = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(files, dict) or not files:
        raise WeightsError(
            f"weights {index}: is a JSON text without a weight_map, not weights; "
            "give the file with the weights, or the .index.json of a checkpoint in several parts"
        )
    state: State = {}
    for name in sorted({str(name) for name in files.values()}):
        last = Path(name).name  # nothing leads out of the folder of the index
        part = index.parent / last
        if last in ("", "..") or not os.path.isfile(part):
            raise WeightsError(f"weights {index}: its part {name} is missing; fetch it into the same folder")
        state.update(read_state(part, index=False))
    return state


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
