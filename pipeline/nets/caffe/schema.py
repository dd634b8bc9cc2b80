"""The messages of Caffe's files, as protobuf classes that are built at import from a table of the fields used.

No generated code depends on a version of protobuf, and the same classes read the text form. Field numbers are those of
Caffe's schema. Fields of a file that are not in the table are skipped. Forks of Caffe add fields of their own, under
numbers that contradict each other: these are read from the text form alone and have numbers of ours, from 100000 on.
Binary files are read for weights alone, by messages without any other field.
"""

from __future__ import annotations

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

V1_TYPES = (  # by number, from 0
    "NONE|ACCURACY|BNLL|CONCAT|CONVOLUTION|DATA|DROPOUT|EUCLIDEAN_LOSS|FLATTEN|HDF5_DATA|HDF5_OUTPUT|IM2COL|"
    "IMAGE_DATA|INFOGAIN_LOSS|INNER_PRODUCT|LRN|MULTINOMIAL_LOGISTIC_LOSS|POOLING|RELU|SIGMOID|SOFTMAX|"
    "SOFTMAX_LOSS|SPLIT|TANH|WINDOW_DATA|ELTWISE|POWER|SIGMOID_CROSS_ENTROPY_LOSS|HINGE_LOSS|MEMORY_DATA|"
    "ARGMAX|THRESHOLD|DUMMY_DATA|SLICE|MVN|ABSVAL|SILENCE|CONTRASTIVE_LOSS|EXP|DECONVOLUTION"
)

# Settings of layers that forks of Caffe add, "name message".
_EXTENSIONS = (
    "bn_param BNParameter|interp_param InterpParameter|norm_param NormalizeParameter|permute_param PermuteParameter|"
    "relu6_param ReLU6Parameter|split_param EngineParameter|mish_param EngineParameter|"
    "shuffle_channel_param ShuffleChannelParameter|unpooling_param UnpoolingParameter|"
    "upsample_param UpsampleParameter|clip_param ClipParameter|swish_param SwishParameter|crop_param CropParameter"
)
# Settings of layers that are younger than the second form of a definition, which forks of that time have in it.
_YOUNGER = (
    "batch_norm_param BatchNormParameter|bias_param BiasParameter|elu_param ELUParameter|"
    "flatten_param FlattenParameter|log_param ExpParameter|mvn_param MVNParameter|prelu_param PReLUParameter|"
    "reduction_param ReductionParameter|reshape_param ReshapeParameter|scale_param ScaleParameter|"
    "tile_param TileParameter"
)


_ENGINES = "DEFAULT|CAFFE|CUDNN|MKL2017|MKLDNN"  # "Engine" in the table


def _extra(lists: str) -> str:
    """The fields of a list as entries of the table, with numbers of ours."""
    entries = (f"{100_000 + place} {field}" for place, field in enumerate(lists.split("|")))
    return ", ".join([*entries, "200000 unknown_setting string*"])


# message → its fields "number name type", "*" repeated, "=" default, "A|B" an enumeration from 0.
# Integers of all widths are encoded alike, so one type stands for them.
_TABLE = {
    "BlobShape": "1 dim int*",
    # Packed numbers are encoded as bytes. Read as bytes, the weights are not converted to Python floats one by one.
    "BlobProto": "1 num int, 2 channels int, 3 height int, 4 width int, 5 data bytes*, 7 shape BlobShape, "
    "8 double_data bytes*",
    # The same message for files that do not pack their numbers.
    "UnpackedBlob": "5 data float*, 8 double_data double*",
    "NetParameter": "1 name string, 2 layers V1LayerParameter*, 3 input string*, 4 input_dim int*, "
    "5 force_backward bool, 6 state NetState, 7 debug_info bool, 8 input_shape BlobShape*, "
    "100 layer LayerParameter*",
    "NetState": "1 phase TRAIN|TEST=TEST, 2 level int, 3 stage string*",
    "NetStateRule": "1 phase TRAIN|TEST, 2 min_level int, 3 max_level int, 4 stage string*, 5 not_stage string*",
    "LayerParameter": "1 name string, 2 type string, 3 bottom string*, 4 top string*, 5 loss_weight float*, "
    "6 param ParamSpec*, 7 blobs BlobProto*, 8 include NetStateRule*, 9 exclude NetStateRule*, "
    "10 phase TRAIN|TEST, 11 propagate_down bool*, 100 transform_param TransformationParameter, "
    "104 concat_param ConcatParameter, 106 convolution_param ConvolutionParameter, 107 data_param DataParameter, "
    "108 dropout_param DropoutParameter, 109 dummy_data_param DummyDataParameter, "
    "110 eltwise_param EltwiseParameter, 111 exp_param ExpParameter, 115 image_data_param DataParameter, "
    "117 inner_product_param InnerProductParameter, 118 lrn_param LRNParameter, "
    "124 sigmoid_param EngineParameter, 127 tanh_param EngineParameter, "
    "119 memory_data_param MemoryDataParameter, 121 pooling_param PoolingParameter, 122 power_param PowerParameter, "
    "123 relu_param ReLUParameter, 125 softmax_param SoftmaxParameter, 126 slice_param SliceParameter, "
    "129 window_data_param DataParameter, 131 prelu_param PReLUParameter, 133 reshape_param ReshapeParameter, "
    "134 log_param ExpParameter, 135 flatten_param FlattenParameter, 139 batch_norm_param BatchNormParameter, "
    "140 elu_param ELUParameter, 141 bias_param BiasParameter, 142 scale_param ScaleParameter, "
    "143 input_param InputParameter, 120 mvn_param MVNParameter, 136 reduction_param ReductionParameter, "
    f"138 tile_param TileParameter, {_extra(_EXTENSIONS)}",
    "V1LayerParameter": "1 layer V0LayerParameter, 2 bottom string*, 3 top string*, 4 name string, "
    f"5 type {V1_TYPES}, 6 blobs BlobProto*, 7 blobs_lr float*, 8 weight_decay float*, 9 concat_param ConcatParameter, "
    "10 convolution_param ConvolutionParameter, 11 data_param DataParameter, 12 dropout_param DropoutParameter, "
    "15 image_data_param DataParameter, 17 inner_product_param InnerProductParameter, 18 lrn_param LRNParameter, "
    "19 pooling_param PoolingParameter, 20 window_data_param DataParameter, 21 power_param PowerParameter, "
    "22 memory_data_param MemoryDataParameter, 24 eltwise_param EltwiseParameter, "
    "26 dummy_data_param DummyDataParameter, 30 relu_param ReLUParameter, 31 slice_param SliceParameter, "
    "32 include NetStateRule*, 33 exclude NetStateRule*, 35 loss_weight float*, "
    "36 transform_param TransformationParameter, 39 softmax_param SoftmaxParameter, 41 exp_param ExpParameter, "
    f"1001 param string*, 200001 other_type string, {_extra(_EXTENSIONS + '|' + _YOUNGER)}",
    "V0LayerParameter": "1 name string, 2 type string, 3 num_output int, 4 biasterm bool=true, "
    "5 weight_filler FillerParameter, 6 bias_filler FillerParameter, 7 pad int, 8 kernelsize int, 9 group int=1, "
    "10 stride int=1, 11 pool MAX|AVE|STOCHASTIC, 12 dropout_ratio float=0.5, 13 local_size int=5, "
    "14 alpha float=1, 15 beta float=0.75, 16 source string, 17 scale float=1, 18 meanfile string, "
    "19 batchsize int, 20 cropsize int, 21 mirror bool, 22 k float=1, 50 blobs BlobProto*, 51 blobs_lr float*, "
    "52 weight_decay float*, 65 concat_dim int=1",
    "ParamSpec": "1 name string, 2 share_mode STRICT|PERMISSIVE, 3 lr_mult float=1, 4 decay_mult float=1",
    "FillerParameter": "1 type string, 2 value float, 3 min float, 4 max float=1, 5 mean float, 6 std float=1, "
    "7 sparse int=-1, 8 variance_norm FAN_IN|FAN_OUT|AVERAGE",
    "TransformationParameter": "1 scale float=1, 2 mirror bool, 3 crop_size int, 4 mean_file string, "
    "5 mean_value float*, 6 force_color bool, 7 force_gray bool",
    "DataParameter": "1 source string, 2 scale float=1, 3 mean_file string, 4 batch_size int, 5 crop_size int, "
    "6 mirror bool",
    "DummyDataParameter": "1 data_filler FillerParameter*, 2 num int*, 3 channels int*, 4 height int*, 5 width int*, "
    "6 shape BlobShape*",
    "MemoryDataParameter": "1 batch_size int, 2 channels int, 3 height int, 4 width int",
    "InputParameter": "1 shape BlobShape*",
    "BatchNormParameter": "1 use_global_stats bool, 2 moving_average_fraction float=0.999, 3 eps float=1e-5, "
    "100000 scale_bias bool, 100001 scale_filler FillerParameter, 100002 bias_filler FillerParameter, "
    "100003 engine Engine",
    "BNParameter": "1 scale_filler FillerParameter, 2 shift_filler FillerParameter, 3 bn_mode LEARN|INFERENCE, "
    "4 slope_filler FillerParameter, 5 bias_filler FillerParameter, 6 momentum float=0.9, 7 eps float=1e-5, "
    "8 frozen bool, 9 var_eps float=1e-10, 10 moving_average bool, 11 decay float=0.05, 12 axis int=1, "
    "13 engine Engine",
    "BiasParameter": "1 axis int=1, 2 num_axes int=1, 3 filler FillerParameter",
    "ClipParameter": "1 min float, 2 max float",
    "ConcatParameter": "1 concat_dim int=1, 2 axis int=1",
    "ConvolutionParameter": "1 num_output int, 2 bias_term bool=true, 3 pad int*, 4 kernel_size int*, 5 group int=1, "
    "6 stride int*, 7 weight_filler FillerParameter, 8 bias_filler FillerParameter, 9 pad_h int, 10 pad_w int, "
    "11 kernel_h int, 12 kernel_w int, 13 stride_h int, 14 stride_w int, 15 engine Engine, "
    "16 axis int=1, 17 force_nd_im2col bool, 18 dilation int*, 100000 hole int*, 100001 hole_h int, 100002 hole_w int",
    "CropParameter": "1 axis int=2, 2 offset int*",
    "DropoutParameter": "1 dropout_ratio float=0.5, 100000 scale_train bool=true",
    "ELUParameter": "1 alpha float=1",
    "EngineParameter": "1 engine Engine",
    "EltwiseParameter": "1 operation PROD|SUM|MAX=SUM, 2 coeff float*, 3 stable_prod_grad bool=true",
    "ExpParameter": "1 base float=-1, 2 scale float=1, 3 shift float",
    "FlattenParameter": "1 axis int=1, 2 end_axis int=-1",
    "InnerProductParameter": "1 num_output int, 2 bias_term bool=true, 3 weight_filler FillerParameter, "
    "4 bias_filler FillerParameter, 5 axis int=1, 6 transpose bool",
    "InterpParameter": "1 height int, 2 width int, 3 zoom_factor int=1, 4 shrink_factor int=1, 5 pad_beg int, "
    "6 pad_end int, 7 interp_type string=bilinear",
    "LRNParameter": "1 local_size int=5, 2 alpha float=1, 3 beta float=0.75, "
    "4 norm_region ACROSS_CHANNELS|WITHIN_CHANNEL, 5 k float=1, 6 engine Engine",
    "MVNParameter": "1 normalize_variance bool=true, 2 across_channels bool, 3 eps float=1e-9",
    "NormalizeParameter": "1 across_spatial bool=true, 2 scale_filler FillerParameter, 3 channel_shared bool=true, "
    "4 eps float=1e-10",
    "PermuteParameter": "1 order int*",
    # ceil_mode is how a fork of Caffe spells round_mode. Only the text form uses it; its number is made up here.
    "PoolingParameter": "1 pool MAX|AVE|STOCHASTIC, 2 kernel_size int*, 3 stride int*, 4 pad int*, 5 kernel_h int, "
    "6 kernel_w int, 7 stride_h int, 8 stride_w int, 9 pad_h int, 10 pad_w int, 11 engine Engine, "
    "12 global_pooling bool, 13 round_mode CEIL|FLOOR, 1013 ceil_mode bool=true",
    "PowerParameter": "1 power float=1, 2 scale float=1, 3 shift float",
    "PReLUParameter": "1 filler FillerParameter, 2 channel_shared bool",
    "ReductionParameter": "1 operation NONE|SUM|ASUM|SUMSQ|MEAN=SUM, 2 axis int, 3 coeff float=1",
    "ReLU6Parameter": "1 negative_slope float",
    "ReLUParameter": "1 negative_slope float, 2 engine Engine",
    "ReshapeParameter": "1 shape BlobShape, 2 axis int, 3 num_axes int=-1",
    "ScaleParameter": "1 axis int=1, 2 num_axes int=1, 3 filler FillerParameter, 4 bias_term bool, "
    "5 bias_filler FillerParameter",
    "ShuffleChannelParameter": "1 group int",
    "SliceParameter": "1 slice_dim int=1, 2 slice_point int*, 3 axis int=1",
    "SoftmaxParameter": "1 engine Engine, 2 axis int=1",
    "SwishParameter": "1 beta float=1",
    "TileParameter": "1 axis int=1, 2 tiles int",
    "UnpoolingParameter": "1 unpool MAX|AVE|TILE, 2 kernel_size int*, 3 stride int*, 4 pad int*, 5 kernel_h int, "
    "6 kernel_w int, 7 stride_h int, 8 stride_w int, 9 pad_h int, 10 pad_w int, 11 unpool_size int*, "
    "12 unpool_h int, 13 unpool_w int",
    "UpsampleParameter": "1 scale int, 2 scale_h int, 3 scale_w int, 4 pad_out_h bool, 5 pad_out_w bool, "
    "6 upsample_h int, 7 upsample_w int",
    # What binary files are read for.
    "TrainedNet": "2 layers TrainedV1Layer*, 100 layer TrainedLayer*",
    "TrainedLayer": "1 name string, 7 blobs BlobProto*",
    "TrainedV1Layer": "1 layer TrainedV0Layer, 4 name string, 6 blobs BlobProto*",
    "TrainedV0Layer": "1 name string, 50 blobs BlobProto*",
}

_FIELD = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "int": _FIELD.TYPE_INT64,
    "bool": _FIELD.TYPE_BOOL,
    "float": _FIELD.TYPE_FLOAT,
    "double": _FIELD.TYPE_DOUBLE,
    "string": _FIELD.TYPE_STRING,
    "bytes": _FIELD.TYPE_BYTES,
}


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="caffe_fields_used.proto", package="caffe", syntax="proto2")
    for name, fields in _TABLE.items():
        message = file.message_type.add(name=name)
        for line in fields.split(", "):
            _add_field(message, line)
    return file


def _add_field(message: descriptor_pb2.DescriptorProto, line: str) -> None:
    number, name, kind = line.split(" ")
    kind = _ENGINES if kind == "Engine" else kind
    kind, _, default = kind.partition("=")
    label = _FIELD.LABEL_REPEATED if kind.endswith("*") else _FIELD.LABEL_OPTIONAL
    kind = kind.rstrip("*")
    field = message.field.add(name=name, number=int(number), label=label)
    if default:
        field.default_value = default
    if "|" in kind:
        values = message.enum_type.add(name=f"{name}_values")
        for value, constant in enumerate(kind.split("|")):
            values.value.add(name=constant, number=value)
        field.type, field.type_name = _FIELD.TYPE_ENUM, f".caffe.{message.name}.{values.name}"
    elif kind in _TYPES:
        field.type = _TYPES[kind]
    else:
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".caffe.{kind}"


_POOL = descriptor_pool.DescriptorPool()
_POOL.AddSerializedFile(_file().SerializeToString())


def _message(name: str) -> type:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"caffe.{name}"))


NetParameter = _message("NetParameter")
LayerParameter = _message("LayerParameter")
TrainedNet = _message("TrainedNet")
BlobProto = _message("BlobProto")
UnpackedBlob = _message("UnpackedBlob")
