"""What cannot be computed is left out and named; everything beside it and below it is a layer as before."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from caffe_files import random_image, random_weights, values

from pipeline.errors import DefinitionError, UnitError
from pipeline.nets.caffe import caffe_function, caffe_network, read_definition, weight_shapes
from pipeline.nets.caffe.alignment import aligned_offset

DATA = 'input: "data" input_shape { dim: 1 dim: 3 dim: 19 dim: 17 }\n'
INFO = 'input: "data" input_shape { dim: 1 dim: 3 dim: 19 dim: 17 } input: "im_info" input_shape { dim: 1 dim: 3 }\n'
CONV1 = (
    'layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" '
    "convolution_param { num_output: 4 kernel_size: 3 } }\n"
)
RELU1 = 'layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }\n'


def conv(name: str, bottom: str) -> str:
    return (
        f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" '
        "convolution_param { num_output: 4 kernel_size: 3 } }\n"
    )


def layer(kind: str, name: str, bottoms: str, tops: str = "", settings: str = "") -> str:
    read = " ".join(f'bottom: "{bottom}"' for bottom in bottoms.split())
    made = " ".join(f'top: "{top}"' for top in (tops if tops else name).split())
    return f'layer {{ name: "{name}" type: "{kind}" {read} {made} {settings} }}\n'


def network(folder, text: str, weights=None, **settings):
    path = folder / "net.prototxt"
    path.write_text(text)
    weights = random_weights(path) if weights is None else weights
    return caffe_network("net", path, weights, order="BGR", mean=None, **settings)


UNKNOWN = {
    "at the end": (
        DATA + CONV1 + layer("Python", "roi", "conv1", "rois", 'python_param { module: "m" layer: "L" }'),
        ["conv1"],
        ["left out: roi (Python): has a type that cannot be computed here"],
    ),
    "in the middle": (
        DATA + CONV1 + RELU1 + layer("Correlation", "corr", "conv1") + conv("conv2", "corr") + conv("conv3", "conv2"),
        ["conv1", "relu1"],
        ["left out: corr (Correlation): has a type that cannot be computed here; and above: conv2, conv3"],
    ),
    "beside": (
        DATA
        + CONV1
        + layer("PriorBox", "prior", "conv1 data")
        + conv("conv2", "conv1")
        + layer("Concat", "both", "prior conv2")
        + conv("conv3", "conv2"),
        ["conv1", "conv2", "conv3"],
        ["left out: prior (PriorBox): has a type that cannot be computed here; and above: both"],
    ),
    "in place": (
        DATA + CONV1 + layer("Swirl", "swirl", "conv1", "conv1") + conv("conv2", "conv1"),
        ["conv1"],
        ["left out: swirl (Swirl): has a type that cannot be computed here; and above: conv2"],
    ),
    "several of one type": (
        DATA
        + CONV1
        + layer("PriorBox", "prior1", "conv1 data")
        + layer("PriorBox", "prior2", "conv1 data")
        + layer("Concat", "priors", "prior1 prior2", settings="concat_param { axis: 2 }")
        + layer("DetectionOutput", "found", "priors conv1"),
        ["conv1"],
        ["left out: prior1, prior2 (PriorBox): has a type that cannot be computed here; and above: priors, found"],
    ),
    "with several outputs": (
        DATA + CONV1 + layer("Fork", "fork", "conv1", "left right") + conv("conv2", "right") + conv("conv3", "conv1"),
        ["conv1", "conv3"],
        ["left out: fork (Fork): has a type that cannot be computed here; and above: conv2"],
    ),
    "of a typing error": (
        DATA + CONV1 + layer("Convolutoin", "conv2", "conv1"),
        ["conv1"],
        ["left out: conv2 (Convolutoin): has a type that cannot be computed here (nearest: Convolution)"],
    ),
    "of a setting": (
        DATA + CONV1 + layer("Softmax", "prob", "conv1", settings="softmax_param { axis: 2 }"),
        ["conv1"],
        ["left out: prob (Softmax): works along axis 2, expected axis 1, the channels"],
    ),
    "of an unknown setting": (
        DATA + CONV1 + "# why not\n" + layer("LRN", "norm", "conv1", settings="lrn_param { local_sise: 3 }") + RELU1,
        ["conv1", "relu1"],
        ["left out: norm (LRN): has an unknown setting: local_sise in line 4 (nearest: local_size)"],
    ),
    "of positions": (
        DATA + CONV1 + layer("ArgMax", "best", "conv1", settings="argmax_param { axis: 1 }"),
        ["conv1"],
        ["left out: best (ArgMax): gives values that no pixel changes gradually, so they are no activations"],
    ),
    "of a mask": (
        DATA
        + CONV1
        + layer("Pooling", "pool", "conv1", "pool mask", "pooling_param { kernel_size: 2 stride: 2 }")
        + layer("Power", "half", "mask")
        + conv("conv2", "pool"),
        ["conv1", "pool", "conv2"],
        ["left out: half (Power): reads mask, the mask of a pooling, whose values are positions"],
    ),
    "of a mask of windows that overlap": (
        DATA
        + CONV1
        + layer("Pooling", "pool", "conv1", "pool mask", "pooling_param { kernel_size: 3 stride: 2 }")
        + layer("Upsample", "up", "pool mask", settings="upsample_param { scale: 2 }"),
        ["conv1", "pool"],
        ["left out: up (Upsample): reads the mask of a pooling whose windows overlap"],
    ),
    "of a mask of another size": (
        DATA
        + CONV1
        + layer("Pooling", "pool", "conv1", "pool mask", "pooling_param { kernel_size: 2 stride: 2 }")
        + layer("Upsample", "up", "pool mask", settings="upsample_param { scale: 2 }"),
        ["conv1", "pool"],
        ["left out: up (Upsample): makes a map of (18, 16), but its mask points into one of (17, 15)"],
    ),
    "of a second input": (
        INFO + CONV1 + layer("Power", "scaled", "im_info") + conv("conv2", "conv1"),
        ["conv1", "conv2"],
        ["left out: scaled (Power): reads input im_info, expected the image, data"],
    ),
    "that reads a second input": (
        INFO + CONV1 + layer("Proposal", "rois", "conv1 im_info") + layer("ROIPooling", "pool", "conv1 rois"),
        ["conv1"],
        ["left out: rois (Proposal): has a type that cannot be computed here; and above: pool"],
    ),
    "of values in another order": (
        DATA
        + CONV1
        + layer("Permute", "perm", "conv1", settings="permute_param { order: 0 order: 2 order: 3 order: 1 }")
        + layer("Flatten", "flat", "perm")
        + layer("Reshape", "rows", "flat", settings="reshape_param { shape { dim: 0 dim: -1 dim: 2 } }")
        + layer("Softmax", "prob", "rows", settings="softmax_param { axis: 2 }"),
        ["conv1", "flat"],
        [
            "left out: prob (Softmax): works along axis 2, expected axis 1, the channels",
            "not listed: perm, rows: the values of the layer below in another order",
        ],
    ),
    "with two blobs where one is expected": (
        DATA + CONV1 + layer("ReLU", "both", "conv1 data"),
        ["conv1"],
        ["left out: both (ReLU): reads 2 blobs, expected 1"],
    ),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_does_not_depend_on_an_unknown_layer_is_shown(case, tmp_path):
    text, shown, notes = UNKNOWN[case]
    found = network(tmp_path, text)
    assert list(found.layers) == shown
    assert list(found.notes) == notes
    assert all("\n" not in note for note in found.notes)


def test_the_layers_below_have_the_values_and_the_digest_of_the_network_without_it(tmp_path):
    text = DATA + CONV1 + RELU1 + conv("conv2", "conv1")
    weights = {name: (np.ones((4, size, 3, 3)), np.ones(4)) for name, size in (("conv1", 3), ("conv2", 4))}
    whole = network(tmp_path, text, weights)
    cut = network(tmp_path, text + layer("Python", "roi", "conv1") + layer("Concat", "all", "roi conv2"), weights)
    assert cut.digest == whole.digest
    assert not whole.notes and len(cut.notes) == 1


def test_a_blob_that_a_later_layer_makes_again_is_found_again(tmp_path):
    text = DATA + CONV1 + layer("Swirl", "swirl", "conv1", "x") + layer("ReLU", "again", "conv1", "x")
    found = network(tmp_path, text + conv("conv2", "x"))
    assert list(found.layers) == ["conv1", "again", "conv2"]
    assert found.layers["conv2"].parents == (found.layers["again"].node,)


@pytest.mark.parametrize(
    "rest",
    [
        layer("Accuracy", "accuracy", "fc label"),
        layer("SoftmaxWithLoss", "loss", "fc label"),
        layer("SmoothL1Loss", "loss", "fc label"),
        layer("MultiBoxLoss", "loss", "fc label") + layer("Power", "half", "loss"),
        layer("SegAccuracy", "accuracy", "fc label"),
        'layer { name: "quiet" type: "Silence" bottom: "label" bottom: "mask" }\n',
        layer("HDF5Output", "out", "fc"),
    ],
)
def test_what_only_measures_is_passed_over_without_a_note(rest, tmp_path):
    data = layer("Python", "data", "", "data label", 'python_param { module: "m" layer: "L" }')
    text = (
        data
        + CONV1
        + layer("Pooling", "pool", "conv1", "pool mask", "pooling_param { kernel_size: 2 stride: 2 }")
        + layer("InnerProduct", "fc", "pool", settings="inner_product_param { num_output: 5 }")
        + rest
    )
    (tmp_path / "net.prototxt").write_text(text)
    found = caffe_network("net", tmp_path / "net.prototxt", None, order="BGR", mean=None, size=(19, 17))
    assert list(found.layers) == ["conv1", "pool", "fc"]
    assert found.notes == ()
    assert found.class_layer == "fc"


@pytest.mark.parametrize("kind", ["AnnotatedData", "ImageSegData", "DenseImageData", "CPMData", "Python"])
def test_a_data_layer_of_a_fork_is_an_input(kind, tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(layer(kind, "in", "", "data label", "transform_param { crop_size: 21 }") + CONV1)
    assert read_definition(path).inputs["data"] == (3, 21, 21)
    assert caffe_network("net", path, None, order="BGR", mean=None).preprocessing.height == 21


# Inputs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "order", "chosen"),
    [
        (
            'input: "data" input: "im_info" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 } input_shape { dim: 1 dim: 3 }',
            3,
            8,
        ),
        ('input: "rois" input: "data" input_dim: [4, 5, 1, 1, 1, 3, 9, 9]', 3, 9),
        ('input: "im_info" input: "data" input_dim: [1, 3, 6, 6, 1, 1, 7, 7]', 1, 7),
        ('input: "data" input: "im_info" input_dim: [1, 3, 6, 6, 1, 3, 7, 7]', 3, 6),
    ],
)
def test_the_image_is_found_among_several_inputs(inputs, order, chosen, tmp_path):
    other = "rois" if "rois" in inputs else "im_info"
    text = inputs + layer("Power", "one", "data") + layer("Mystery", "two", f"{other} data")
    (tmp_path / "net.prototxt").write_text(text)
    found = caffe_network("net", tmp_path / "net.prototxt", {}, order="BGR" if order == 3 else "L", mean=None)
    assert found.preprocessing.height == chosen
    assert list(found.layers) == ["one"]


def test_two_images_without_a_name_that_tells_them_apart_are_refused(tmp_path):
    text = 'input: "a" input: "b" input_dim: [1, 3, 8, 8, 1, 3, 8, 8]' + layer("Eltwise", "sum", "a b")
    with pytest.raises(DefinitionError, match="inputs that layers read: a, b, expected one"):
        network(tmp_path, text)


# Errors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        (
            layer("Python", "roi", "conv1") + conv("fc8", "roi"),
            r"roi \(Python\): has a type that cannot be computed here",
        ),
        (layer("Python", "fc8", "conv1"), r"fc8 \(Python\): has a type that cannot be computed here"),
        (
            layer("Softmax", "fc8", "conv1", settings="softmax_param { axis: 3 }"),
            r"fc8 \(Softmax\): works along axis 3",
        ),
        (layer("ArgMax", "fc8", "conv1"), r"fc8 \(ArgMax\): gives values that no pixel changes"),
        (layer("A", "a", "conv1") + layer("B", "b", "a") + conv("fc8", "b"), r"a \(A\): has a type"),
    ],
)
def test_a_class_layer_that_cannot_be_computed_is_an_error_that_names_the_reason(rest, reason, tmp_path):
    with pytest.raises(DefinitionError, match=rf"class layer fc8 cannot be computed, because of {reason}.*model\."):
        network(tmp_path, DATA + CONV1 + rest, class_layer="fc8")
    assert network(tmp_path, DATA + CONV1 + rest, class_layer="conv1").class_layer == "conv1"
    with pytest.raises(UnitError, match="layer fc9: not in network"):
        network(tmp_path, DATA + CONV1 + rest, class_layer="fc9")


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (layer("Python", "roi", "data"), "layer roi has type 'Python', which cannot be computed here"),
        (layer("Python", "roi", "data") + conv("conv1", "roi"), "layer roi has type 'Python'"),
        (layer("ArgMax", "best", "data"), "layer best (ArgMax) gives values"),
        (layer("Reshape", "r", "data", settings="reshape_param { shape { dim: 0 dim: -1 dim: 17 } }"), "only reorders"),
    ],
)
def test_a_definition_of_which_nothing_can_be_computed_is_an_error(layers, message, tmp_path):
    with pytest.raises(DefinitionError) as caught:
        network(tmp_path, DATA + layers, {})
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_function_is_wanted_whole(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(DATA + CONV1 + layer("Python", "roi", "conv1"))
    with pytest.raises(DefinitionError, match="layer roi has type 'Python'"):
        caffe_function(path, None)
    assert list(weight_shapes(path)) == ["conv1"]


# Names that are used twice --------------------------------------------------------------------------------


TWICE = DATA + CONV1 + layer("ReLU", "relu", "conv1", "conv1") + conv("conv2", "conv1")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (TWICE + layer("ReLU", "relu", "conv2", "conv2"), ["conv1", "relu", "conv2", "relu#2"]),
        (
            TWICE + layer("ReLU", "relu", "conv2", "conv2") + layer("Sigmoid", "relu", "conv2", "x"),
            ["conv1", "relu", "conv2", "relu#2", "relu#3"],
        ),
        (
            TWICE + layer("ReLU", "relu", "conv2", "x") + layer("TanH", "relu#2", "x", "y"),
            ["conv1", "relu", "conv2", "relu#3", "relu#2"],
        ),
        (TWICE + layer("ReLU", "conv2", "conv2", "x"), ["conv1", "relu", "conv2", "conv2#2"]),
        (
            DATA + layer("ReLU", "conv1", "data", "x") + CONV1,
            ["conv1", "conv1#2"],
        ),
        (
            DATA + CONV1 + layer("Pooling", "pool", "conv1", settings="pooling_param { kernel_size: 2 stride: 2 }")
            + layer("Pooling", "pool", "pool", "p2", "pooling_param { kernel_size: 2 stride: 2 }"),
            ["conv1", "pool", "pool#2"],
        ),
        (TWICE.replace('name: "relu"', ""), ["conv1", "conv1#2", "conv2"]),
    ],
)  # fmt: skip
def test_a_name_that_is_used_twice_gets_a_number(text, names, tmp_path):
    found = network(tmp_path, text)
    assert list(found.layers) == names
    assert not found.notes


def test_weights_belong_to_the_first_layer_of_a_name(tmp_path):
    text = DATA + CONV1 + conv("conv1", "conv1").replace('top: "conv1"', 'top: "x"') + conv("conv2", "conv1")
    found = network(tmp_path, text, class_layer="conv1")
    assert found.class_layer == "conv1"
    assert list(found.layers) == ["conv1", "conv2"]
    assert found.notes == (
        "left out: conv1 (Convolution): has the name of an earlier layer with weights, and weights are found by name; "
        "give it its own name",
    )


@pytest.mark.parametrize(("second", "shared"), [("w", True), ("v", False)])
def test_weights_of_one_name_can_be_shared_by_the_names_of_parameters(second, shared, tmp_path):
    named = ' param {{ name: "{}" }} param {{ name: "b" }} '
    one, two = (
        f'layer {{ name: "conv" type: "Convolution" bottom: "{bottom}" top: "{top}" {named.format(name)} '
        "convolution_param { num_output: 3 kernel_size: 3 pad: 1 } }"
        for bottom, top, name in (("data", "a", "w"), ("a", "b", second))
    )
    found = network(tmp_path, DATA + one + two)
    assert list(found.layers) == (["conv", "conv#2"] if shared else ["conv"])
    if shared:
        first, other = (found.operator(found.layer(name).node) for name in found.layers)
        assert torch.equal(first.weight, other.weight)


def test_layers_of_one_name_compute_what_layers_of_two_names_compute(tmp_path):
    text = TWICE + layer("ReLU", "relu", "conv2", "conv2")
    twice = network(tmp_path, text)
    image = random_image(twice)
    weights = random_weights(tmp_path / "net.prototxt")
    apart = network(tmp_path, TWICE + layer("ReLU", "second", "conv2", "conv2"), weights)
    assert np.array_equal(values(twice, image)["relu#2"], values(apart, image)["second"])


# Crop without settings ------------------------------------------------------------------------------------


def test_a_crop_without_settings_lies_where_its_blobs_lie_on_each_other(tmp_path):
    """HED: a padding of 35 moves conv1 by 34 pixels, and the deconvolution of each side by half its kernel."""
    text = (
        'input: "data" input_shape { dim: 1 dim: 3 dim: 20 dim: 24 }'
        + CONV1.replace("kernel_size: 3", "kernel_size: 3 pad: 35")
        + layer("Pooling", "pool1", "conv1", settings="pooling_param { kernel_size: 2 stride: 2 }")
        + layer("Convolution", "side1", "conv1", settings="convolution_param { num_output: 1 kernel_size: 1 }")
        + layer("Convolution", "side2", "pool1", settings="convolution_param { num_output: 1 kernel_size: 1 }")
        + layer(
            "Deconvolution", "up2", "side2", settings="convolution_param { num_output: 1 kernel_size: 4 stride: 2 }"
        )
        + layer("Crop", "crop1", "side1 data")
        + layer("Crop", "crop2", "up2 data")
        + layer("Concat", "sides", "crop1 crop2")
    )
    found = network(tmp_path, text)
    starts = {name: found.operator(found.layer(name).node).start for name in ("crop1", "crop2")}
    assert starts == {"crop1": (34, 34), "crop2": (35, 35)}
    assert found.layer("sides").height == 20
    assert found.notes == (
        "cropped where the two blobs lie on each other: crop1 at 34, 34, crop2 at 35, 35; no offset is stated, and the "
        "Caffe of FCN and HED does so; state crop_param { offset: 0 } to crop at 0",
    )
    stated = text.replace('top: "crop1"', 'top: "crop1" crop_param { offset: 34 }')
    stated = stated.replace('top: "crop2"', 'top: "crop2" crop_param { offset: 35 }').replace(
        '"crop2" type', '"crop1" type'
    )
    same = network(tmp_path, stated)
    assert list(same.layers)[-3:] == ["crop1", "crop1#2", "sides"] and same.notes == ()
    image = random_image(same)
    assert np.array_equal(values(same, image)["sides"], values(found, image)["sides"])


@pytest.mark.parametrize(
    ("between", "offset"),
    [
        (layer("InnerProduct", "other", "conv1", settings="inner_product_param { num_output: 2 }"), None),
        (layer("Pooling", "other", "conv1", settings="pooling_param { kernel_size: 2 stride: 2 }"), None),  # scales
        (layer("Pooling", "other", "conv1", settings="pooling_param { kernel_size: 2 }"), None),  # half a pixel
        (layer("Pooling", "other", "conv1", settings="pooling_param { kernel_size: 3 }"), (1, 1)),
        (
            layer(
                "Convolution", "other", "conv1", settings="convolution_param { num_output: 2 kernel_size: 3 hole: 2 }"
            ),
            (2, 2),
        ),
        (layer("ReLU", "other", "conv1"), (0, 0)),
    ],
)
def test_the_offset_is_found_from_strides_and_paddings(between, offset, tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(DATA + CONV1 + between)
    assert aligned_offset(read_definition(path).layers, "conv1", "other") == offset
    assert aligned_offset(read_definition(path).layers, "conv1", "data") is None  # it begins inside
