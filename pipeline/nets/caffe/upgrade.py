"""Conversion of Caffe's two old forms of a definition to the current one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import DefinitionError
from pipeline.nets.caffe.layers import TYPES
from pipeline.nets.caffe.schema import V1_TYPES, LayerParameter

_IRREGULAR = {  # types whose new name is not the old one in CamelCase
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}
_V1_TYPES = {
    old: _IRREGULAR.get(old, "".join(word.capitalize() for word in old.split("_"))) for old in V1_TYPES.split("|")
}
_TYPES_BY_CONSTANT = {kind.upper(): kind for kind in TYPES}
_V0_TYPES = {old.lower(): new for old, new in _V1_TYPES.items()} | {
    "conv": "Convolution",
    "images": "ImageData",
    "innerproduct": "InnerProduct",
    "pool": "Pooling",
}
_CROPS = ("data_param", "image_data_param", "window_data_param")


def current_layers(net: Any, where: str) -> list[Any]:
    """The layers of a NetParameter, in any of the three forms, as LayerParameters.

    net : NetParameter.
    where : the definition, for messages.
    Raises DefinitionError for a layer without a type, or a padding layer that cannot be folded into its reader.
    Source: Caffe's own upgrade of definitions.
    """
    if net.layer:
        return [_with_crop(layer) for layer in net.layer]
    if any(old.HasField("layer") for old in net.layers):
        return [_from_v0(old) for old in _without_padding(net.layers, where)]
    return [_with_crop(_from_v1(old, where)) for old in net.layers]


def _from_v1(old: Any, where: str) -> Any:
    constant = V1_TYPES.split("|")[old.type]
    if old.other_type:  # a fork's
        kind = _TYPES_BY_CONSTANT.get(old.other_type.replace("_", ""), old.other_type)
    elif constant == "NONE":
        raise DefinitionError(f"{where}: layer {old.name} has no type; give it one, as in type: CONVOLUTION")
    else:
        kind = _V1_TYPES[constant]
    layer = LayerParameter(name=old.name, type=kind, bottom=old.bottom, top=old.top)
    layer.unknown_setting.extend(old.unknown_setting)
    layer.include.extend(old.include)
    layer.exclude.extend(old.exclude)
    for field, value in old.ListFields():
        if field.name.endswith("_param"):
            getattr(layer, field.name).CopyFrom(value)
    return layer


def _with_crop(layer: Any) -> Any:
    """The layer with the crop size in transform_param; old data layers have it in their own parameters."""
    for name in _CROPS:
        if layer.HasField(name) and getattr(layer, name).crop_size and not layer.transform_param.crop_size:
            layer.transform_param.crop_size = getattr(layer, name).crop_size
    return layer


def _without_padding(layers: Any, where: str) -> list[Any]:
    """The V0 layers without padding layers, whose padding moves to the convolution or pooling that reads them."""
    padding = {}
    kept = []
    for old in layers:
        if old.layer.type == "padding":
            if not old.top or not old.bottom:
                raise DefinitionError(f"{where}: padding layer {old.layer.name} has no top or no bottom; give it both")
            padding[old.top[0]] = old
            continue
        if any(blob in padding for blob in old.bottom):
            if old.layer.type not in ("conv", "pool"):
                raise DefinitionError(
                    f"{where}: layer {old.layer.name} ({old.layer.type}) reads a padding layer, "
                    "expected a conv or pool; give it unpadded input"
                )
            if len(old.bottom) != 1:
                raise DefinitionError(
                    f"{where}: layer {old.layer.name} ({old.layer.type}) reads {len(old.bottom)} blobs, expected the "
                    "padding layer alone; correct its bottom"
                )
            pad = padding[old.bottom[0]]
            old.bottom[0] = pad.bottom[0]
            old.layer.pad = pad.layer.pad
        kept.append(old)
    return kept


def _from_v0(old: Any) -> Any:
    source = old.layer
    kind = _V0_TYPES.get(source.type, source.type)
    layer = LayerParameter(name=source.name, type=kind, bottom=old.bottom, top=old.top)
    layer.unknown_setting.extend(old.unknown_setting)
    layer.include.extend(old.include)
    layer.exclude.extend(old.exclude)
    for name, value in _v0_settings(source, kind).items():
        parameter, _, field = name.partition(".")
        target = getattr(layer, parameter)
        if isinstance(value, list):
            getattr(target, field).extend(value)
        else:
            setattr(target, field, value)
    return layer


def _v0_settings(source: Any, kind: str) -> Mapping[str, Any]:
    """The settings in the current form, "message.field" → value."""
    sliding = {"kernel_size": [source.kernelsize], "stride": [source.stride], "pad": [source.pad]}
    outputs = {"num_output": source.num_output, "bias_term": source.biasterm}
    settings: dict[str, dict[str, Any]] = {
        "Convolution": {"convolution_param": outputs | sliding | {"group": source.group}},
        "Pooling": {"pooling_param": sliding | {"pool": source.pool}},
        "InnerProduct": {"inner_product_param": outputs},
        "LRN": {
            "lrn_param": {
                "local_size": source.local_size,
                "alpha": source.alpha,
                "beta": source.beta,
                "k": source.k,
            }
        },
        "Dropout": {"dropout_param": {"dropout_ratio": source.dropout_ratio}},
        "Concat": {"concat_param": {"concat_dim": source.concat_dim}},
    }
    if kind in ("Data", "ImageData", "WindowData"):
        settings[kind] = {"transform_param": {"crop_size": source.cropsize}}
    return {
        f"{message}.{field}": value
        for message, fields in settings.get(kind, {}).items()
        for field, value in fields.items()
    }
