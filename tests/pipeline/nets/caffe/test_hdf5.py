"""Weights that Caffe wrote in HDF5 give the same network as its binary files."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
from caffe_files import random_weights

from pipeline.errors import WeightsError
from pipeline.nets.caffe import caffe_network, read_weights

NET = """
input: "data"
input_shape { dim: 1 dim: 3 dim: 9 dim: 9 }
layer { name: "conv/3x3" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 3 kernel_size: 3 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc" inner_product_param { num_output: 5 } }
"""

SHARED = """
input: "data"
input_shape { dim: 1 dim: 3 dim: 9 dim: 9 }
layer { name: "first" type: "Convolution" bottom: "data" top: "first" param { name: "w" } param { name: "b" }
  convolution_param { num_output: 3 kernel_size: 3 pad: 1 } }
layer { name: "all" type: "Convolution" bottom: "first" top: "all" param { name: "w" } param { name: "b" }
  convolution_param { num_output: 3 kernel_size: 3 pad: 1 } }
layer { name: "weight" type: "Convolution" bottom: "all" top: "weight" param { name: "w" } param { lr_mult: 2 }
  convolution_param { num_output: 3 kernel_size: 3 pad: 1 } }
layer { name: "bias" type: "Convolution" bottom: "weight" top: "bias" param { lr_mult: 1 } param { name: "b" }
  convolution_param { num_output: 3 kernel_size: 3 pad: 1 } }
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "net.prototxt"
    path.write_text(text)
    return path


def snapshot(path: Path, weights: Mapping[str, Sequence[np.ndarray | None]], kind: str = "f4") -> Path:
    """Write weights as Caffe does: a group for each layer, also one without blobs, and numbered arrays in it."""
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        for name in (*weights, "relu"):
            layer = data.require_group(name)
            for number, blob in enumerate(weights.get(name, ())):
                if blob is not None:
                    layer[str(number)] = blob.astype(kind)
    return path


def network(definition: Path, weights):
    return caffe_network("net", definition, weights, order="BGR", mean=None)


@pytest.fixture
def plain(tmp_path):
    """A definition, one layer of which has a slash in its name, and its weights."""
    definition = written(tmp_path, NET)
    return definition, random_weights(definition)


def refused(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("name", ["net.caffemodel.h5", "net.h5", "net.caffemodel"])
def test_a_snapshot_is_the_same_network_as_its_arrays(plain, tmp_path, name, kind):
    definition, weights = plain
    path = snapshot(tmp_path / name, weights, kind)
    assert set(read_weights(path)) == {"conv/3x3", "fc"}
    assert network(definition, path).digest == network(definition, weights).digest


def test_blobs_that_layers_share_are_read_from_the_layer_that_holds_them(tmp_path):
    definition = written(tmp_path, SHARED)
    weights = random_weights(definition)
    kernel, offset = weights["first"]
    weights |= {"all": (kernel, offset), "weight": (kernel, weights["weight"][1])}
    weights |= {"bias": (weights["bias"][0], offset)}
    stored = {"first": (kernel, offset), "all": (), "weight": (None, weights["weight"][1])}
    stored |= {"bias": (weights["bias"][0], None)}
    path = snapshot(tmp_path / "net.caffemodel.h5", stored)
    assert network(definition, path).digest == network(definition, weights).digest

    # The layer that holds a blob need not be the first of this definition.
    path = snapshot(tmp_path / "later.caffemodel.h5", stored | {"first": (), "all": (kernel, offset)})
    assert network(definition, path).digest == network(definition, weights).digest


def test_a_shared_blob_that_no_layer_holds_is_missing(tmp_path):
    definition = written(tmp_path, SHARED)
    blobs = {name: blobs if name == "bias" else () for name, blobs in random_weights(definition).items()}
    with pytest.raises(WeightsError, match="layer first has 1 blobs, expected 2"):
        network(definition, snapshot(tmp_path / "net.caffemodel.h5", blobs))


def test_links_inside_the_file_are_followed(plain, tmp_path):
    definition, weights = plain
    path = snapshot(tmp_path / "net.caffemodel.h5", weights)
    with h5py.File(path, "r+") as file:
        file.move("data/fc", "elsewhere")
        file["data/fc"] = h5py.SoftLink("/elsewhere")
        file["data/twin"] = file["data/conv"]
        file["data/relu/back"] = h5py.SoftLink("/data")
    assert network(definition, path).digest == network(definition, weights).digest
    assert set(read_weights(path)) == {"conv/3x3", "fc", "twin/3x3"}


def test_links_that_lead_nowhere_or_to_other_files_are_named(plain, tmp_path):
    path = snapshot(tmp_path / "net.caffemodel.h5", plain[1])
    with h5py.File(path, "r+") as file:
        file["data/relu/0"] = h5py.SoftLink("/gone")
    assert "the link /data/relu/0 leads nowhere" in refused(path)
    with h5py.File(path, "r+") as file:
        del file["data/relu/0"]
        file["data/relu/0"] = h5py.ExternalLink("/etc/hostname", "/x")
    assert "/data/relu/0 links to another file" in refused(path)


def other(path: Path, *groups: str, **attributes: str) -> Path:
    with h5py.File(path, "w") as file:
        for group in groups:
            file.create_group(group)
        file.attrs.update(attributes)
    return path


@pytest.mark.parametrize(
    "groups, attributes, words",
    [
        (
            ("learned_net", "iter", "history"),
            {},
            "is a state of Caffe's solver, without weights; give",
        ),
        (("conv", "fc"), {"layer_names": "conv"}, "is an HDF5 file of Keras, not of Caffe"),
        (("model_weights",), {}, "is an HDF5 file of Keras, not of Caffe"),
        (("a", "b"), {}, "is an HDF5 file that holds a, b, not /data as Caffe's"),
        ((), {}, "is an HDF5 file that holds nothing"),
        (("data",), {}, "no layer in it has weights"),
    ],
)
def test_other_hdf5_files_are_called_what_they_are(groups, attributes, words, tmp_path):
    assert words in refused(other(tmp_path / "w.caffemodel.h5", *groups, **attributes))


def test_a_snapshot_that_is_cut_short_is_refused(plain, tmp_path):
    path = snapshot(tmp_path / "net.caffemodel.h5", plain[1])
    whole = path.read_bytes()
    for share in (0.05, 0.5, 0.99):
        path.write_bytes(whole[: int(len(whole) * share)])
        assert "cut short or damaged" in refused(path)
