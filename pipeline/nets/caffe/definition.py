"""Networks from Caffe's definitions and weights, of every format version, without Caffe."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format
from torch import fx

from pipeline.errors import DefinitionError, nearest
from pipeline.nets.caffe.hdf5 import filled
from pipeline.nets.caffe.layer import choice
from pipeline.nets.caffe.layers import INDICES, TYPES
from pipeline.nets.caffe.schema import NetParameter
from pipeline.nets.caffe.settings import unknown_settings
from pipeline.nets.caffe.translation import Translation
from pipeline.nets.caffe.upgrade import current_layers
from pipeline.nets.caffe.weights import Blobs, Shape, Weights, fit_mean, read_weights
from pipeline.nets.file_kind import refuse_page
from pipeline.nets.network import GraphBuilder, Network
from pipeline.nets.preprocessing import ORDERS, Preprocessing
from pipeline.text_files import read_text

_DATA = frozenset({"Data", "DummyData", "HDF5Data", "ImageData", "Input", "MemoryData", "WindowData"})
_DROPPED = frozenset(
    {
        *("Accuracy", "ContrastiveLoss", "EuclideanLoss", "HDF5Output", "HingeLoss", "InfogainLoss"),
        *("MultinomialLogisticLoss", "SigmoidCrossEntropyLoss", "Silence", "SoftmaxWithLoss"),
    }
)
_UNKNOWN_TYPE = re.compile(r'Enum type "caffe\.V1LayerParameter\.type_values" has no value named (\w+)')
_TRAINING_ONLY = frozenset(
    {
        *("LayerParameter", "V1LayerParameter", "V0LayerParameter", "NetParameter", "ParamSpec", "FillerParameter"),
        *("TransformationParameter", "DataParameter", "DummyDataParameter", "MemoryDataParameter"),
    }
)
# Settings of forks that choose how something is computed, or how it is trained.
_HARMLESS = frozenset(
    {
        *("bias_filler", "conv_algos_override", "cudnn_convolution_algo_seeker", "cudnn_math_override", "debug_info"),
        *("engine", "moving_average_fraction", "update_global_stats", "weight_filler"),
    }
)


# Far above published definitions, which have at most 2 MB and 1,500 layers. Parsing takes seconds a megabyte.
MOST_BYTES = 2**25
MOST_LAYERS = 20_000


@dataclass(frozen=True)
class Definition:
    """The test phase of a network definition.

    source : the file, for messages.
    layers : LayerParameters in the current form, without data layers, losses and layers of the training phase.
    inputs : blob → its shape without the batch; None if the definition does not state it.
    """

    source: str
    layers: tuple[Any, ...]
    inputs: Mapping[str, Shape | None]


def caffe_network(
    name: str,
    definition: str | Path,
    weights: str | Path | Blobs | None,
    *,
    order: str,
    mean: np.ndarray | Sequence[float] | None,
    gain: Sequence[float] | None = None,
    labels: Sequence[str] = (),
    class_layer: str | None = None,
    size: tuple[int, int] | None = None,
) -> Network:
    """The network of a Caffe definition with its weights.

    name : of the network.
    definition : path of the .prototxt file.
    weights : path of a .caffemodel or .safetensors file, or name of a layer → its arrays; None for zeros, when only
        the layer table is needed.
    order : channels as the network reads them: "RGB", "BGR" or "L".
    mean : in pixel levels and the network's channel order: one number a channel, or an image (channel, row, column),
        which is cropped to its centre; None for zero.
    gain : one factor a channel, applied after the mean; None for 1.
    labels, class_layer : as for `Network`.
    size : (height, width) of the input, in pixels; None for that of the definition.
    Raises DefinitionError or WeightsError if the files cannot be read or do not belong together.
    """
    stated = read_definition(definition)
    blob, shape = _input(stated, size, len(ORDERS.get(order, "RGB")))
    if len(shape) != 3:
        raise DefinitionError(f"{stated.source}: input {blob} has shape {shape}, expected (channels, height, width)")
    channels, height, width = shape
    if channels != len(ORDERS.get(order, range(channels))):  # Preprocessing refuses an unknown order
        raise DefinitionError(
            f"{stated.source}: input {blob} has {channels} channels, but order {order} has {len(ORDERS[order])}; "
            "set model.order"
        )
    mean = np.zeros(channels) if mean is None else fit_mean(np.asarray(mean, np.float64), height, width)
    gain = np.ones(channels) if gain is None else np.asarray(gain, np.float64)
    preprocessing = Preprocessing(height, width, order, mean, gain)
    builder = GraphBuilder(preprocessing)
    translation = Translation(stated.source, _weights(weights, stated), builder)
    translation.add_all(stated.layers, blob, shape, _others(stated, blob))
    if class_layer in translation.left_out and class_layer not in builder.layer_names:
        raise DefinitionError(
            f"{stated.source}: class layer {class_layer} cannot be computed, because of "
            f"{translation.left_out[class_layer]}; name a layer below it by model.class_layer, or null"
        )
    return builder.build(name, translation.output, labels, class_layer, notes=translation.notes)


def caffe_function(
    definition: str | Path, weights: str | Path | Blobs | None
) -> tuple[fx.GraphModule, Shape, dict[str, str]]:
    """The graph of a Caffe definition whose input need not be an image, such as a generator's code.

    Returns the graph (input and output with the batch first), the shape of the input without the batch, and name of a
    layer → name of its node. Arguments and errors as for `caffe_network`.
    """
    stated = read_definition(definition)
    blob, shape = _input(stated, None, 3)
    builder = GraphBuilder(None)
    translation = Translation(stated.source, _weights(weights, stated), builder)
    translation.add_all(stated.layers, blob, shape, _others(stated, blob))
    if translation.left_out:  # a function is wanted whole
        raise DefinitionError(next(iter(translation.left_out.values())).error)
    return builder.module(translation.output), shape, builder.layer_names


def weight_shapes(definition: str | Path) -> dict[str, tuple[Shape, ...]]:
    """Layer → shapes of its blobs, for every layer that has weights, in the order of the definition."""
    stated = read_definition(definition)
    weights, (blob, shape) = Weights(None, "weights"), _input(stated, None, 3)
    Translation(stated.source, weights, GraphBuilder(None)).add_all(stated.layers, blob, shape, _others(stated, blob))
    return weights.taken


def read_definition(path: str | Path) -> Definition:
    """The test phase of a .prototxt file, in the current form.

    Raises DefinitionError if the file is missing or cannot be parsed, with the line.
    """
    path = Path(path)
    where = f"definition {path}"
    if not path.is_file():
        raise DefinitionError(f"{where}: no such file; give its path by model.definition=…")
    refuse_page(path, where, DefinitionError)
    if path.stat().st_size > MOST_BYTES:
        raise DefinitionError(f"{where}: has more than {MOST_BYTES} bytes; give the definition, not the weights")
    net = _parse(read_text(path, errors="replace"), where)
    inputs = _stated_inputs(net, where)
    kept, absent = [], set()
    for layer in current_layers(net, where):
        if not _in_test_phase(layer, net.state):
            continue
        if layer.type in _DATA or not (layer.bottom or layer.type in TYPES or layer.type in INDICES):
            shapes = _data_shapes(layer)
            inputs.update((top, shapes[min(i, len(shapes) - 1)]) for i, top in enumerate(layer.top))
        elif _is_dropped(layer.type) or any(blob in absent for blob in layer.bottom):
            absent.update(layer.top)
        else:
            kept.append(layer)
    if not kept:
        raise DefinitionError(f"{where}: no layers; give the definition of a network")
    if len(kept) > MOST_LAYERS:
        raise DefinitionError(f"{where}: has {len(kept)} layers, more than {MOST_LAYERS}; give one network")
    return Definition(where, tuple(kept), inputs)


def _is_dropped(kind: str) -> bool:
    """Whether layers of a type compute a loss or a measure, or nothing; forks of Caffe have many more of them."""
    return kind in _DROPPED or "Loss" in kind or "Accuracy" in kind


def _parse(text: str, where: str) -> Any:
    """The NetParameter of a text; settings that it does not have are noted in the layers that state them."""
    try:
        return text_format.Parse(text, NetParameter())
    except text_format.ParseError:
        pass
    except RecursionError:
        raise _too_deep(where) from None
    try:
        text = _with_types(text)
        net = text_format.Parse(text, NetParameter(), allow_unknown_field=True)
    except text_format.ParseError as error:
        reason = str(error).splitlines()[0].split(" : ", 1)[-1].rsplit("': ", 1)[-1]  # without the line itself
        line = f", line {error.GetLine()}" if error.GetLine() is not None else ""
        raise DefinitionError(f"{where}{line}: {reason.rstrip('.')}; fix the line") from None
    except RecursionError:
        raise _too_deep(where) from None
    for setting in unknown_settings(text, NetParameter.DESCRIPTOR):
        layers = net.layer if net.layer else net.layers
        if not 0 <= setting.layer < len(layers) or setting.name in _HARMLESS:
            continue
        layer = layers[setting.layer]
        # A setting of a layer that is computed here must not be passed over, one of its training may be.
        if setting.message not in _TRAINING_ONLY or _is_of_type(setting.name, str(layer.type)):
            hint = nearest(setting.name, setting.known)
            layer.unknown_setting.append(f"{setting.name} in line {setting.line}{hint}")
    return net


def _too_deep(where: str) -> DefinitionError:
    return DefinitionError(f"{where}: its brackets are nested too deeply; give the definition of a network")


def _with_types(text: str) -> str:
    """The text of a definition in its second form, whose types are constants, with a fork's types as strings."""
    while True:
        try:
            text_format.Parse(text, NetParameter(), allow_unknown_field=True)
        except text_format.ParseError as error:
            unknown = _UNKNOWN_TYPE.search(str(error))
            if unknown is not None:
                before, text = text, re.sub(rf"\btype(\s*:\s*){unknown[1]}\b", rf'other_type\1"{unknown[1]}"', text)
                if text != before:  # a comment may stand before the constant
                    continue
        return text


def _is_of_type(setting: str, kind: str) -> bool:
    """Whether settings of that name can only be those of a layer's type, as relu6_param of ReLU6."""
    return setting.removesuffix("_param").replace("_", "") == kind.lower() != setting


def _stated_inputs(net: Any, where: str) -> dict[str, Shape | None]:
    """The inputs that a definition declares at its top, with shapes from `input_shape` or four `input_dim` each."""
    names = list(net.input)
    if net.input_shape:
        shapes = [tuple(shape.dim) for shape in net.input_shape]
    else:
        shapes = [tuple(net.input_dim[start : start + 4]) for start in range(0, len(net.input_dim), 4)]
    if shapes and len(shapes) != len(names):
        raise DefinitionError(f"{where}: {len(names)} inputs, but {len(shapes)} input shapes; give one for each")
    return {name: shapes[i][1:] if shapes else None for i, name in enumerate(names)}


def _data_shapes(layer: Any) -> list[Shape | None]:
    """The shapes of a data layer's outputs, without the batch; a single one holds for all outputs."""
    if layer.type == "Input" and layer.input_param.shape:
        return [tuple(shape.dim[1:]) for shape in layer.input_param.shape]
    if layer.type == "DummyData":
        data = layer.dummy_data_param
        if data.shape:
            return [tuple(shape.dim[1:]) for shape in data.shape]
        return list(zip(data.channels, data.height, data.width, strict=False)) or [None]
    if layer.type == "MemoryData":
        data = layer.memory_data_param
        return [(data.channels, data.height, data.width)]
    crop = layer.transform_param.crop_size
    return [(1 if layer.transform_param.force_gray else 3, crop, crop) if crop else None]


def _in_test_phase(layer: Any, state: Any) -> bool:
    if layer.include:
        return any(_meets(rule, state) for rule in layer.include)
    return not any(_meets(rule, state) for rule in layer.exclude)


def _meets(rule: Any, state: Any) -> bool:
    return (
        (not rule.HasField("phase") or choice(rule, "phase") == "TEST")
        and (not rule.HasField("min_level") or state.level >= rule.min_level)
        and (not rule.HasField("max_level") or state.level <= rule.max_level)
        and set(rule.stage) <= set(state.stage)
        and not set(rule.not_stage) & set(state.stage)
    )


def _input(stated: Definition, size: tuple[int, int] | None, channels: int) -> tuple[str, Shape]:
    """The name and shape of the input that the graph reads: the one that layers read, or the one image among them."""
    read = _read_inputs(stated)
    chosen = read
    if len(read) > 1:
        images = [name for name in read if _may_be_image(stated.inputs[name], channels)]
        chosen = ["data"] if "data" in images else images
    if len(chosen) != 1:
        names = ", ".join(read) or "none"
        raise DefinitionError(f"{stated.source}: inputs that layers read: {names}, expected one; state it by input: …")
    shape = stated.inputs[chosen[0]]
    if size is not None:
        return chosen[0], (shape[0] if shape else channels, *size)
    if not shape or min(shape) < 1:
        raise DefinitionError(
            f"{stated.source}: the size of input {chosen[0]} is not stated; add input_shape to the definition, "
            "or set model.size=[height,width]"
        )
    return chosen[0], shape


def _read_inputs(stated: Definition) -> list[str]:
    return list(dict.fromkeys(b for layer in stated.layers for b in layer.bottom if b in stated.inputs))


def _may_be_image(shape: Shape | None, channels: int) -> bool:
    return shape is None or (len(shape) == 3 and shape[0] == channels)


def _others(stated: Definition, blob: str) -> list[str]:
    """The inputs that layers read, besides the one that the graph reads."""
    return [name for name in _read_inputs(stated) if name != blob]


def _weights(weights: str | Path | Blobs | None, stated: Definition) -> Weights:
    if isinstance(weights, (str, Path)):
        return Weights(filled(read_weights(weights), stated.layers), f"weights {weights}")
    return Weights(weights, "weights")
