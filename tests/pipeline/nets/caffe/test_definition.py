"""Caffe files of every version are read correctly, and unreadable ones are refused in one line."""

from __future__ import annotations

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from caffe_files import opencv_values, random_image, random_weights, values, worst, write_caffemodel
from safetensors.numpy import save_file

from pipeline.errors import AtlasError, DefinitionError, WeightsError
from pipeline.nets.caffe import (
    caffe_function,
    caffe_network,
    fit_mean,
    read_definition,
    read_mean,
    read_weights,
)
from pipeline.nets.caffe.schema import BlobProto, NetParameter, UnpackedBlob

CURRENT = """
name: "small"
input: "data"
input_shape { dim: 1 dim: 3 dim: 23 dim: 19 }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 8 kernel_size: 3 stride: 2 pad: 1 weight_filler { type: "gaussian" std: 0.01 } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "norm1" type: "LRN" bottom: "pool1" top: "norm1" lrn_param { local_size: 3 alpha: 0.0001 beta: 0.75 } }
layer { name: "conv2" type: "Convolution" bottom: "norm1" top: "conv2"
  convolution_param { num_output: 6 kernel_size: 3 pad: 1 group: 2 } }
layer { name: "both" type: "Concat" bottom: "norm1" bottom: "conv2" top: "both" }
layer { name: "fc3" type: "InnerProduct" bottom: "both" top: "fc3" inner_product_param { num_output: 5 } }
layer { name: "drop3" type: "Dropout" bottom: "fc3" top: "fc3" dropout_param { dropout_ratio: 0.5 } }
layer { name: "prob" type: "Softmax" bottom: "fc3" top: "prob" }
"""

V1 = """
name: "small"
force_backward: true
input: "data"
input_dim: 10 input_dim: 3 input_dim: 23 input_dim: 19
layers { name: "conv1" type: CONVOLUTION bottom: "data" top: "conv1" blobs_lr: 1 blobs_lr: 2 weight_decay: 1
  convolution_param { num_output: 8 kernel_size: 3 stride: 2 pad: 1 weight_filler { type: "gaussian" std: 0.01 } } }
layers { name: "relu1" type: RELU bottom: "conv1" top: "conv1" }
layers { name: "pool1" type: POOLING bottom: "conv1" top: "pool1" pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layers { name: "norm1" type: LRN bottom: "pool1" top: "norm1" lrn_param { local_size: 3 alpha: 0.0001 beta: 0.75 } }
layers { name: "conv2" type: CONVOLUTION bottom: "norm1" top: "conv2"
  convolution_param { num_output: 6 kernel_size: 3 pad: 1 group: 2 } }
layers { name: "both" type: CONCAT bottom: "norm1" bottom: "conv2" top: "both" concat_param { concat_dim: 1 } }
layers { name: "fc3" type: INNER_PRODUCT bottom: "both" top: "fc3" inner_product_param { num_output: 5 } }
layers { name: "drop3" type: DROPOUT bottom: "fc3" top: "fc3" dropout_param { dropout_ratio: 0.5 } }
layers { name: "prob" type: SOFTMAX bottom: "fc3" top: "prob" }
"""

V0 = """
name: "small"
input: "data"
input_dim: 10 input_dim: 3 input_dim: 23 input_dim: 19
layers { layer { name: "pad1" type: "padding" pad: 1 } bottom: "data" top: "pad1" }
layers { layer { name: "conv1" type: "conv" num_output: 8 kernelsize: 3 stride: 2 blobs_lr: 1. blobs_lr: 2.
  weight_filler { type: "gaussian" std: 0.01 } bias_filler { type: "constant" } } bottom: "pad1" top: "conv1" }
layers { layer { name: "relu1" type: "relu" } bottom: "conv1" top: "conv1" }
layers { layer { name: "pool1" type: "pool" pool: MAX kernelsize: 3 stride: 2 } bottom: "conv1" top: "pool1" }
layers { layer { name: "norm1" type: "lrn" local_size: 3 alpha: 0.0001 beta: 0.75 } bottom: "pool1" top: "norm1" }
layers { layer { name: "conv2" type: "conv" num_output: 6 kernelsize: 3 pad: 1 group: 2 } bottom: "norm1" top: "conv2" }
layers { layer { name: "both" type: "concat" } bottom: "norm1" bottom: "conv2" top: "both" }
layers { layer { name: "fc3" type: "innerproduct" num_output: 5 } bottom: "both" top: "fc3" }
layers { layer { name: "drop3" type: "dropout" dropout_ratio: 0.5 } bottom: "fc3" top: "fc3" }
layers { layer { name: "prob" type: "softmax" } bottom: "fc3" top: "prob" }
"""

TRAINING = """
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { mirror: true crop_size: 31 } data_param { source: "somewhere" batch_size: 256 backend: LMDB } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { mirror: false crop_size: 19 mean_file: "mean.binaryproto" new_here: 3 } }
layer { name: "noise" type: "Python" bottom: "data" top: "data" exclude { phase: TEST } python_param { module: "x" } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "best" type: "Softmax" bottom: "fc" top: "best" include { phase: TEST stage: "deploy" } }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" loss_weight: 0.3 }
layer { name: "half" type: "Power" bottom: "loss" top: "half" power_param { scale: 0.5 } }
layer { name: "quiet" type: "Silence" bottom: "label" }
"""


@pytest.fixture
def small(tmp_path):
    """The current definition and its weights."""
    definition = written(tmp_path, CURRENT)
    return definition, write_caffemodel(tmp_path / "w.caffemodel", random_weights(definition), definition)


def written(folder: Path, text: str, name: str = "net.prototxt") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def network(definition, weights):
    return caffe_network("small", definition, weights, order="BGR", mean=None)


# Forms of a definition -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [V1, V0], ids=["V1", "V0"])
def test_old_forms_are_the_same_network_as_the_current_one(text, small, tmp_path):
    old = network(written(tmp_path, text, "old.prototxt"), small[1])
    assert old.digest == network(*small).digest
    assert list(old.layers) == list(network(*small).layers)


@pytest.mark.parametrize("text", [CURRENT, V1, V0], ids=["current", "V1", "V0"])
def test_every_layer_of_every_form_agrees_with_opencv(text, small, tmp_path):
    definition = written(tmp_path, text, "form.prototxt")
    found = network(definition, small[1])
    image = random_image(found)
    share, layer = worst(values(found, image), opencv_values(definition, small[1], image, list(found.layers)))
    assert share < 1e-4, layer


def test_a_layer_is_its_value_and_a_blob_is_its_last_value(small):
    found = network(*small)
    image = torch.from_numpy(random_image(found))
    got = found.run(image, ["conv1", "relu1", "pool1"])
    assert (got["conv1"] < 0).any()
    assert torch.equal(got["relu1"], got["conv1"].relu())
    assert found.layers["pool1"].parents == (found.layers["relu1"].node,)


def test_training_definition_is_read_in_its_test_phase(tmp_path):
    stated = read_definition(written(tmp_path, TRAINING))
    assert [layer.name for layer in stated.layers] == ["fc"]
    assert stated.inputs["data"] == (3, 19, 19)
    assert caffe_network("net", written(tmp_path, TRAINING), None, order="BGR", mean=None).class_layer == "fc"


def test_stages_are_those_that_the_definition_states(tmp_path):
    path = written(tmp_path, 'state { stage: "deploy" }' + TRAINING)
    assert [layer.name for layer in read_definition(path).layers] == ["fc", "best"]


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        ('input: "data" input_dim: 10 input_dim: 3 input_dim: 7 input_dim: 5', (3, 7, 5)),
        ('input: "data" input_shape { dim: 2 dim: 3 dim: 7 dim: 5 }', (3, 7, 5)),
        (
            'layer { name: "d" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 7 dim: 5 } } }',
            (3, 7, 5),
        ),
        (
            'layer { name: "d" type: "MemoryData" top: "data" top: "label" '
            "memory_data_param { batch_size: 1 channels: 3 height: 7 width: 5 } }",
            (3, 7, 5),
        ),
        ('layer { name: "d" type: "ImageData" top: "data" top: "l" transform_param { crop_size: 6 } }', (3, 6, 6)),
        ('layer { name: "d" type: "Data" top: "data" top: "label" data_param { crop_size: 6 } }', (3, 6, 6)),
        (
            'layer { name: "d" type: "DummyData" top: "data" '
            "dummy_data_param { num: 1 channels: 3 height: 7 width: 5 } }",
            (3, 7, 5),
        ),
    ],
)
def test_the_size_of_the_input_is_found_where_it_is_stated(data, shape, tmp_path):
    path = written(tmp_path, data + ' layer { name: "r" type: "ReLU" bottom: "data" top: "r" }')
    size = caffe_network("net", path, None, order="RGB", mean=None).preprocessing
    assert (size.channels, size.height, size.width) == shape


def test_a_size_can_be_set_where_none_is_stated(tmp_path):
    path = written(
        tmp_path,
        'layer { name: "d" type: "Data" top: "data" } layer { name: "r" type: "ReLU" bottom: "data" top: "r" }',
    )
    with pytest.raises(DefinitionError, match="the size of input data is not stated"):
        caffe_network("net", path, None, order="BGR", mean=None)
    found = caffe_network("net", path, None, order="BGR", mean=None, size=(11, 13)).layer("r")
    assert (found.height, found.width) == (11, 13)


def test_a_generators_definition_is_a_function_of_its_code(tmp_path):
    path = written(
        tmp_path,
        'input: "feat" input_shape { dim: 1 dim: 6 }'
        'layer { name: "defc" type: "InnerProduct" bottom: "feat" top: "defc" inner_product_param { num_output: 8 } }'
        'layer { name: "relu" type: "ReLU" bottom: "defc" top: "defc" relu_param { negative_slope: 0.3 } }'
        'layer { name: "map" type: "Reshape" bottom: "defc" top: "map" '
        "  reshape_param { shape { dim: 0 dim: 2 dim: 2 dim: 2 } } }"
        'layer { name: "deconv" type: "Deconvolution" bottom: "map" top: "deconv" '
        "  convolution_param { num_output: 3 kernel_size: 4 stride: 2 pad: 1 } }",
    )
    weights = random_weights(path)
    graph, shape, nodes = caffe_function(path, weights)
    assert shape == (6,) and list(nodes) == ["defc", "relu", "map", "deconv"]
    code = torch.randn(2, 6)
    fc = torch.nn.functional.leaky_relu(
        code @ torch.from_numpy(weights["defc"][0]).T + torch.from_numpy(weights["defc"][1]), 0.3
    )
    kernel, bias = map(torch.from_numpy, weights["deconv"])
    expected = torch.nn.functional.conv_transpose2d(fc.reshape(2, 2, 2, 2), kernel, bias, 2, 1)
    assert torch.allclose(graph(code), expected, atol=1e-5)


# Forms of the text ---------------------------------------------------------------------------------------


def as_bytes(text: str, form: str) -> bytes:
    windows = text.replace("\n", "\r\n")
    return {
        "utf-8 with a mark": b"\xef\xbb\xbf" + text.encode(),
        "utf-8 with a mark in the middle": text.replace("layer {", "\ufefflayer {", 1).encode(),
        "utf-16, little end first": b"\xff\xfe" + windows.encode("utf-16-le"),
        "utf-16, big end first": b"\xfe\xff" + windows.encode("utf-16-be"),
        "utf-16 without a mark": text.strip().encode("utf-16-le"),
        "utf-32": b"\xff\xfe\x00\x00" + text.encode("utf-32-le"),
        "windows": windows.encode(),
        "windows with a mark": b"\xef\xbb\xbf" + windows.encode(),
        "old mac": text.replace("\n", "\r").encode(),
        "tabs": text.replace("  ", "\t").replace(" }", "\t}").encode(),
        "comments": text.replace("\n", " # why\n").encode(),
        "comments in windows": text.replace("\n", " # pool: MAX {\r\n").encode(),
        "comments in the middle of europe": text.replace("\n", " # Größe\n").encode("latin-1"),
        "comments in china": text.replace("\n", " # 卷积层\n").encode("gb18030"),
        "comments in chinese utf-8": text.replace("\n", " # 卷积层\n").encode(),
        "semicolons": text.replace(" }", "; }").replace("} }", "}; }").encode(),
        "commas": text.replace('" bottom', '", bottom')
        .replace('" top', '", top')
        .replace('" type', '", type')
        .encode(),
        "colons before braces": text.replace(" {", ": {").encode(),
        "angles": text.replace("{", "<").replace("}", ">").encode(),
        "lists": text.replace("dim: 1 dim: 3 dim: 23 dim: 19", "dim: [1, 3, 23, 19]").encode(),
        "apostrophes": text.replace('"', "'").encode(),
        "in one line": " ".join(text.split()).encode(),
        "floats of C": text.replace("0.0001", "1e-4f").replace("0.75", ".75F").encode(),
    }[form]


FORMS = (
    *("utf-8 with a mark", "utf-8 with a mark in the middle", "utf-16, little end first", "utf-16, big end first"),
    *("utf-16 without a mark", "utf-32", "windows", "windows with a mark", "old mac", "tabs", "comments"),
    *("comments in windows", "comments in the middle of europe", "comments in china", "comments in chinese utf-8"),
    *("semicolons", "commas", "colons before braces", "angles", "lists", "apostrophes", "in one line", "floats of C"),
)


@pytest.mark.parametrize("form", FORMS)
def test_a_definition_is_read_in_every_form_of_its_text(form, small, tmp_path):
    path = tmp_path / "other.prototxt"
    path.write_bytes(as_bytes(CURRENT, form))
    found = network(path, small[1])
    assert found.digest == network(*small).digest
    assert found.notes == ()


@pytest.mark.parametrize("form", ["windows with a mark", "utf-16, little end first", "comments in china"])
def test_an_error_names_the_line_in_every_form_of_its_text(form, tmp_path):
    path = tmp_path / "other.prototxt"
    path.write_bytes(as_bytes(CURRENT.replace('type: "ReLU"', 'type "ReLU"'), form))
    with pytest.raises(DefinitionError, match="line 7: "):
        read_definition(path)


# Settings that are not in the schema ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "noted"),
    [
        (
            CURRENT.replace("local_size: 3", "local_sise: 3"),
            "norm1 (LRN): has an unknown setting: local_sise in line 9",
        ),
        (CURRENT.replace('type: "LRN"', 'type: "LNR"'), "norm1 (LNR): has a type that cannot be computed here"),
        (V0.replace('type: "lrn"', 'type: "nrl"'), "norm1 (nrl): has a type that cannot be computed here"),
        (V1.replace("type: LRN", "type: HELIX"), "norm1 (HELIX): has a type that cannot be computed here"),
        (
            V1.replace("local_size: 3", "local_sise: 3").replace("blobs_lr: 1", "blobs_xx: 1"),
            "norm1 (LRN): has an unknown setting: local_sise in line 10",
        ),
        (
            CURRENT.replace('type: "ReLU"', 'type: "ReLU" python_param { a: "}" }').replace("size: 3 a", "sise: 3 a"),
            "norm1 (LRN): has an unknown setting: local_sise in line 9",
        ),
        (
            CURRENT.replace("lrn_param { local_size: 3", "lrn_param: { wide < x: [1, 2] y { z: 3 } > local_size: 3"),
            "norm1 (LRN): has an unknown setting: wide in line 9",
        ),
    ],
)
def test_a_layer_with_an_unknown_setting_or_type_is_left_out(text, noted, small, tmp_path):
    found = network(written(tmp_path, text, "other.prototxt"), small[1])
    assert list(found.layers) == ["conv1", "relu1", "pool1"]
    (note,) = found.notes
    assert note.startswith(f"left out: {noted}") and note.endswith("; and above: conv2, both, fc3, drop3, prob")


def test_settings_of_training_are_passed_over_wherever_they_stand(small, tmp_path):
    text = CURRENT.replace("lr_mult: 1", "lr_mult: 1 speed: 3").replace("std: 0.01", "std: 0.01 shape: ROUND")
    text = text.replace('name: "relu1"', 'name: "relu1" quantization_param { bits: [8, 4] } forward_type: FLOAT16')
    found = network(written(tmp_path, "solver { net: 'x' }\n" + text, "other.prototxt"), small[1])
    assert found.digest == network(*small).digest and found.notes == ()


@pytest.mark.parametrize("engine", ["CAFFE", "CUDNN", "MKL2017", "MKLDNN"])
def test_the_engine_makes_no_difference(engine, small, tmp_path):
    text = CURRENT.replace("{ num_output: 8", f"{{ engine: {engine} num_output: 8")
    assert network(written(tmp_path, text, "other.prototxt"), small[1]).digest == network(*small).digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("type: CROP", 'type: "Crop"'),
        ("type: INTERP interp_param { zoom_factor: 2 }", 'type: "Interp" interp_param { zoom_factor: 2 }'),
        ("type: BN bn_param { bn_mode: INFERENCE }", 'type: "BN" bn_param { bn_mode: INFERENCE }'),
        ("type: PRELU", 'type: "PReLU"'),
        ("type: SHUFFLE_CHANNEL shuffle_channel_param { group: 4 }",
         'type: "ShuffleChannel" shuffle_channel_param { group: 4 }'),
        ("type: BATCH_NORM batch_norm_param { eps: 0.1 }", 'type: "BatchNorm" batch_norm_param { eps: 0.1 }'),
        ("type: PERMUTE permute_param { order: [0, 1] }", 'type: "Permute" permute_param { order: [0, 1] }'),
    ],
)  # fmt: skip
def test_a_forks_type_of_the_second_form_is_read(old, new, tmp_path):
    second = ' bottom: "conv1"' if "CROP" in old else ""
    paths = []
    for text, kind in ((V1, old), (CURRENT, new)):
        lines = text.splitlines()[: 8 if text is V1 else 7]
        made = f'{"layers" if text is V1 else "layer"} {{ name: "new" {kind} bottom: "conv1"{second} top: "new" }}'
        paths.append(written(tmp_path, "\n".join([*lines, made]), f"{len(paths)}.prototxt"))
    weights = random_weights(paths[1])
    found = [network(path, weights) for path in paths]
    assert list(found[0].layers) == ["conv1", "new"] or list(found[0].layers) == ["conv1", "relu1", "new"]
    assert found[0].digest == found[1].digest


def test_the_form_of_deeplabs_definitions_is_read(tmp_path):
    """DeepLab's first networks are in the second form, with holes and a type that no other Caffe has."""
    text = V1.replace("pad: 1 group: 2", "pad: 2 group: 2 hole: 2") + (
        'layers { bottom: "norm1" bottom: "both" top: "crf" name: "crf" type: DENSE_CRF dense_crf_param { x: 9 } }'
    )
    path = written(tmp_path, text)
    found = network(path, random_weights(path))
    assert found.operator(found.layer("conv2").node).dilation == (2, 2)
    assert found.notes == ("left out: crf (DENSE_CRF): has a type that cannot be computed here",)


# Forms of weights ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["V1", "V0", "unpacked", "double", "legacy shapes", "safetensors", "numbered"])
def test_every_form_of_weights_gives_the_same_network(form, small, tmp_path):
    definition, file = small
    weights = read_weights(file)
    if form in ("safetensors", "numbered"):
        names = ("weight", "bias") if form == "safetensors" else ("0", "1")
        path = tmp_path / "w.safetensors"
        save_file({f"{name}.{names[i]}": blob for name, blobs in weights.items() for i, blob in enumerate(blobs)}, path)
    else:
        path = tmp_path / "other.caffemodel"
        path.write_bytes(in_form(form, weights).SerializeToString())
    assert network(definition, path).digest == network(definition, weights).digest


def in_form(form: str, weights) -> NetParameter:
    net = NetParameter()
    for name, arrays in weights.items():
        if form == "V1":
            blobs = net.layers.add(name=name).blobs
        elif form == "V0":
            old = net.layers.add()
            old.layer.name = name
            blobs = old.layer.blobs
        else:
            blobs = net.layer.add(name=name).blobs
        for array in arrays:
            blob = blobs.add()
            if form == "unpacked":
                blob.MergeFromString(UnpackedBlob(data=array.ravel()).SerializeToString())
            elif form == "double":
                blob.double_data.append(array.astype(np.float64).tobytes())
            else:
                blob.data.append(array.tobytes())
            if form == "legacy shapes":
                blob.num, blob.channels, blob.height, blob.width = (1,) * (4 - array.ndim) + array.shape
            else:
                blob.shape.dim.extend(array.shape)
    return net


def test_numbers_that_the_file_does_not_pack_are_five_bytes_each():
    """The form that the test above calls unpacked has a tag and four bytes for each number."""
    assert len(UnpackedBlob(data=[1, 2, 3]).SerializeToString()) == 15


def test_a_binary_file_of_a_fork_is_read_for_its_weights_alone(small, tmp_path):
    """Forks use the same field numbers for messages of other kinds."""
    weights = read_weights(small[1])
    net = NetParameter.FromString(small[1].read_bytes())
    strange = bytes([0x92, 0x08, 3, 0xFF, 0xFF, 0xFF])  # field 130, and 106 and 118, with what is no message
    strange += bytes([0xD2, 0x06, 2, 0xFF, 0xFF, 0xB2, 0x07, 2, 0xFF, 0xFF])
    data = b""
    for layer in net.layer:
        raw = layer.SerializeToString() + strange
        data += b"\xa2\x06" + _varint(len(raw)) + raw
    path = tmp_path / "fork.caffemodel"
    path.write_bytes(data)
    found = read_weights(path)
    assert list(found) == list(weights)
    assert all(np.array_equal(a, b) for name in weights for a, b in zip(found[name], weights[name], strict=True))


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def test_layers_that_the_definition_lacks_are_passed_over(small):
    weights = read_weights(small[1])
    assert network(small[0], weights | {"other": (np.zeros(3),)}).digest == network(*small).digest


def test_without_weights_the_layer_table_is_the_same(small):
    assert network(small[0], None).layers == network(*small).layers


# Means ---------------------------------------------------------------------------------------------------


def test_mean_files_of_both_kinds_are_read(tmp_path):
    mean = np.random.default_rng(0).uniform(80, 130, (3, 6, 8)).astype(np.float32)
    np.save(tmp_path / "mean.npy", mean)
    blob = BlobProto(num=1, channels=3, height=6, width=8, data=[mean.tobytes()])
    (tmp_path / "mean.binaryproto").write_bytes(blob.SerializeToString())
    for name in ("mean.npy", "mean.binaryproto"):
        assert np.array_equal(read_mean(tmp_path / name), mean)
    np.save(tmp_path / "three.npy", np.array([104.0, 117, 123]))
    assert read_mean(tmp_path / "three.npy").shape == (3, 1, 1)


def test_a_larger_mean_image_is_cut_to_its_centre(small):
    mean = np.arange(3 * 256 * 256, dtype=np.float64).reshape(3, 256, 256)
    assert np.array_equal(fit_mean(mean, 227, 227), mean[:, 14:241, 14:241])
    found = caffe_network("small", *small, order="BGR", mean=mean).preprocessing
    assert np.array_equal(found.mean, mean[:, 116:139, 118:137])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 5)), "got shape (4, 5), expected (3, rows, columns)"),
        (np.full((3, 2, 2), np.nan), "contains values that are not finite"),
        (np.array(["a", "b", "c"]), "contains values that are not finite"),
    ],
)
def test_what_is_no_mean_is_refused(array, message, tmp_path):
    np.save(tmp_path / "mean.npy", array)
    with pytest.raises(WeightsError) as caught:
        read_mean(tmp_path / "mean.npy")
    assert message in str(caught.value)


def test_a_mean_file_that_is_damaged_or_too_small_is_refused(small, tmp_path):
    (tmp_path / "mean.npy").write_bytes(b"\x93NUMPY\x01")
    (tmp_path / "mean.binaryproto").write_bytes(b"<html>not found</html>")
    for name in ("mean.npy", "mean.binaryproto", "absent.npy"):
        with pytest.raises(WeightsError, match=name):
            read_mean(tmp_path / name)
    with pytest.raises(WeightsError, match="got 10 × 10, expected 23 × 19 or more"):
        caffe_network("small", *small, order="BGR", mean=np.zeros((3, 10, 10)))


# What cannot be read -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CURRENT.replace('name: "relu1" type: "ReLU"', 'name: "relu1" type "ReLU"'), "line 7: "),
        (CURRENT.replace("{ kernel_size: 3 stride: 2 }", "{ pool: MAXIMUM }"), "line 8: "),
        (CURRENT + "layer {", "line 16: "),
        ("", "no layers"),
        (CURRENT.replace('bottom: "norm1" bottom', 'bottom: "norm2" bottom'), "layer both reads norm2"),
        (CURRENT.replace('input: "data"', 'input: "data" input: "more"'), "2 inputs, but 1 input shapes"),
        (
            CURRENT.replace("dim: 3 dim: 23", "dim: 1 dim: 23").replace("_dim: 1", "_dim: 3"),
            "has 1 channels, but order BGR",
        ),
        (
            V0.replace('name: "conv1" type: "conv"', 'name: "conv1" type: "relu"'),
            "layer conv1 (relu) reads a padding layer",
        ),
        (V1.replace("type: RELU", "type: NONE"), "layer relu1 has no type"),
        (CURRENT.replace("kernel_size: 3 stride: 2 } }", "kernel_size: 300 stride: 2 } }"), "layer pool1"),
    ],
)
def test_a_definition_that_cannot_be_read_is_refused_in_one_line(text, message, tmp_path):
    path = written(tmp_path, text)
    with pytest.raises(DefinitionError) as caught:
        network(path, None)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_missing_files_are_refused_by_name(small, tmp_path):
    with pytest.raises(DefinitionError, match=r"absent\.prototxt: no such file"):
        network(tmp_path / "absent.prototxt", None)
    with pytest.raises(WeightsError, match=r"absent\.caffemodel: no such file"):
        network(small[0], tmp_path / "absent.caffemodel")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_weights_cut_short_anywhere_are_refused(share, small, tmp_path):
    whole = small[1].read_bytes()
    cut = tmp_path / "cut.caffemodel"
    cut.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(WeightsError, match=r"cut\.caffemodel"):
        network(small[0], cut)


@pytest.mark.parametrize("content", [b"<html>404</html>", b"PK\x03\x04" + b"\x00" * 64, b"", b"\x00" * 100])
def test_a_file_that_holds_something_else_is_refused(content, small, tmp_path):
    for name in ("foreign.caffemodel", "foreign.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=name):
            network(small[0], tmp_path / name)


def test_weights_of_another_network_are_refused_with_layer_and_shapes(small, tmp_path):
    definition, file = small
    with pytest.raises(WeightsError, match=r"layer conv_1 has 0 blobs, expected 2 .*nearest: conv1"):
        network(written(tmp_path, CURRENT.replace('name: "conv1"', 'name: "conv_1"'), "a.prototxt"), file)
    with pytest.raises(WeightsError, match=r"layer conv1, blob 0 has shape \(8, 3, 3, 3\), expected \(9, 3, 3, 3\)"):
        network(written(tmp_path, CURRENT.replace("num_output: 8", "num_output: 9"), "b.prototxt"), file)
    with pytest.raises(WeightsError, match="layer conv1 has 2 blobs, expected 1"):
        text = CURRENT.replace("num_output: 8", "num_output: 8 bias_term: false")
        network(written(tmp_path, text, "c.prototxt"), file)


@pytest.mark.parametrize("form", ["caffemodel", "safetensors", "caffemodel.h5"])
def test_weights_that_are_not_finite_are_refused_by_name(form, small, tmp_path):
    weights = {name: [blob.copy() for blob in blobs] for name, blobs in read_weights(small[1]).items()}
    weights["conv2"][0].flat[:3] = np.nan
    weights["conv2"][0].flat[3] = np.inf
    path = tmp_path / f"bad.{form}"
    if form == "caffemodel":
        write_caffemodel(path, weights, small[0])
    elif form == "safetensors":
        save_file({f"{name}.{i}": blob for name, blobs in weights.items() for i, blob in enumerate(blobs)}, path)
    else:
        with h5py.File(path, "w") as file:
            for name, blobs in weights.items():
                for i, blob in enumerate(blobs):
                    file[f"data/{name}/{i}"] = blob
    size = weights["conv2"][0].size
    with pytest.raises(WeightsError, match=f"layer conv2, blob 0 holds 3 NaN and 1 infinite of {size}; give"):
        network(small[0], path)


def test_a_file_of_torch_is_called_one(small, tmp_path):
    torch.save({"conv1.weight": torch.ones(2)}, tmp_path / "w.caffemodel")
    with pytest.raises(WeightsError, match=r"is a zip archive, such as torch writes.*MODEL=torch"):
        network(small[0], tmp_path / "w.caffemodel")


def test_a_blob_whose_numbers_do_not_fill_its_shape_is_refused(small, tmp_path):
    net = NetParameter()
    net.layer.add(name="conv1").blobs.add(data=[np.zeros(5, np.float32).tobytes()]).shape.dim.extend((2, 3))
    path = tmp_path / "w.caffemodel"
    path.write_bytes(net.SerializeToString())
    with pytest.raises(WeightsError, match=r"layer conv1, blob 0 holds 5 numbers, expected shape \(2, 3\)"):
        read_weights(path)


@pytest.mark.parametrize("names", [("conv1.kernel",), ("conv1",), ("conv1.0", "conv1.2")])
def test_safetensors_with_other_names_are_refused(names, tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({name: np.zeros(2, np.float32) for name in names}, path)
    with pytest.raises(WeightsError, match="conv1"):
        read_weights(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("layer { x {" + "x {" * 5000, "nested too deeply"),
        ('layers { layer { name: "p" type: "padding" } }', "no top"),
        ('layers { layer { name: "p" type: "padding" } bottom: "a" top: "b" } '
         'layers { layer { name: "c" type: "conv" } bottom: "x" bottom: "b" }', "reads 2 blobs"),
        ('layers { name: "a" type: # FOO\n FOO bottom: "data" }', "line 2"),
        ('input: "data" input_shape { dim: 1 dim: 3 dim: 999999999 dim: 999999999 } '
         'layer { name: "a" type: "ReLU" bottom: "data" top: "a" }', "more than"),
        ('input: "data" input_shape { dim: 1 dim: 3 dim: 9 dim: 9 } layer { name: "a" type: "Convolution" '
         'bottom: "data" top: "a" convolution_param { num_output: 4294967295 kernel_size: 9 } }', "weights of shape"),
    ],
)  # fmt: skip
def test_absurd_definitions_are_refused(text, said, tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    with pytest.raises(AtlasError, match=said):
        caffe_network("x", path, None, order="BGR", mean=None)
