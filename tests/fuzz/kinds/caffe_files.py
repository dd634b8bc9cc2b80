"""Caffe's files: definitions, weights in both binary forms, and means."""

from __future__ import annotations

import io
import random

import h5py
import numpy as np

from pipeline.nets.caffe import caffe_network
from pipeline.nets.caffe.definition import read_definition
from pipeline.nets.caffe.hdf5 import filled
from pipeline.nets.caffe.schema import BlobProto, NetParameter
from pipeline.nets.caffe.weights import fit_mean, read_mean, read_weights
from tests.fuzz.kind import Kind
from tests.fuzz.mutation import mutated, mutated_text

_CURRENT = """name: "toy"
input: "data" input_shape { dim: 1 dim: 3 dim: 16 dim: 16 }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 4 kernel_size: 3 stride: 2 pad: 1 dilation: 1 group: 1 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" relu_param { negative_slope: 0.1 } }
layer { name: "norm1" type: "LRN" bottom: "conv1" top: "norm1" lrn_param { local_size: 3 alpha: 1e-4 beta: 0.75 } }
layer { name: "pool1" type: "Pooling" bottom: "norm1" top: "pool1"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "side" type: "Convolution" bottom: "pool1" top: "side"
  convolution_param { num_output: 4 kernel_h: 1 kernel_w: 1 } include { phase: TEST } }
layer { name: "bn" type: "BatchNorm" bottom: "side" top: "bn" }
layer { name: "scale" type: "Scale" bottom: "bn" top: "scale" scale_param { bias_term: true } }
layer { name: "both" type: "Concat" bottom: "scale" bottom: "pool1" top: "both" concat_param { axis: 1 } }
layer { name: "cut" type: "Slice" bottom: "both" top: "a" top: "b" slice_param { slice_point: 3 } }
layer { name: "sum" type: "Eltwise" bottom: "b" bottom: "b" top: "sum"
  eltwise_param { operation: SUM coeff: 1 coeff: -1 } }
layer { name: "flat" type: "Flatten" bottom: "sum" top: "flat" }
layer { name: "fc" type: "InnerProduct" bottom: "flat" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
_SECOND = """input: "data" input_dim: 1 input_dim: 3 input_dim: 9 input_dim: 9
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv" convolution_param { num_output: 2 kernel_size: 3 } }
layers { name: "odd" type: FORKED bottom: "conv" top: "odd" odd_param { size: 3 } }
layers { name: "pool" type: POOLING bottom: "conv" top: "pool" pooling_param { pool: AVE kernel_size: 2 } }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "pool" bottom: "label" }
"""
_FIRST = """input: "data" input_dim: 1 input_dim: 3 input_dim: 9 input_dim: 9
layers { layer { name: "pad" type: "padding" pad: 1 } bottom: "data" top: "pad" }
layers { layer { name: "conv" type: "conv" num_output: 2 kernelsize: 3 stride: 1 } bottom: "pad" top: "conv" }
layers { layer { name: "fc" type: "innerproduct" num_output: 3 } bottom: "conv" top: "fc" }
"""
_FURTHER = """input: "data" input_shape { dim: 1 dim: 4 dim: 8 dim: 8 }
layer { name: "up" type: "Deconvolution" bottom: "data" top: "up"
  convolution_param { num_output: 4 kernel_size: 4 stride: 2 pad: 1 group: 4 } }
layer { name: "crop" type: "Crop" bottom: "up" bottom: "data" top: "crop" crop_param { axis: 2 offset: 1 } }
layer { name: "shape" type: "Reshape" bottom: "crop" top: "shape"
  reshape_param { shape { dim: 0 dim: -1 dim: 4 dim: 4 } } }
layer { name: "order" type: "Permute" bottom: "shape" top: "order"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "power" type: "Power" bottom: "crop" top: "power" power_param { power: 2 scale: 0.5 shift: 1 } }
layer { name: "interp" type: "Interp" bottom: "power" top: "interp" interp_param { height: 12 width: 12 } }
layer { name: "shuffle" type: "ShuffleChannel" bottom: "interp" top: "shuffle" shuffle_channel_param { group: 2 } }
layer { name: "spp" type: "SPP" bottom: "data" top: "spp" spp_param { pyramid_height: 2 pool: MAX } }
layer { name: "tile" type: "Tile" bottom: "spp" top: "tile" tile_param { axis: 1 tiles: 2 } }
layer { name: "mvn" type: "MVN" bottom: "data" top: "mvn" }
layer { name: "prelu" type: "PReLU" bottom: "mvn" top: "prelu" }
"""
DEFINITIONS = (_CURRENT, _SECOND, _FIRST, _FURTHER)


class Definitions(Kind):
    """Definitions, as for a layer table: without weights."""

    costly = 3.0

    def make_seeds(self) -> list[str]:
        return [*DEFINITIONS]

    def case(self, random: random.Random) -> bytes:
        text = random.choice(self.seeds)
        if random.random() < 0.75:
            return mutated_text(text, self.seeds, random).encode()
        return mutated(text.encode(), [seed.encode() for seed in self.seeds], random)

    def read(self, case: bytes) -> None:
        path = self.folder / "net.prototxt"
        path.write_bytes(case)
        caffe_network("toy", path, None, order="BGR", mean=None)


class Caffemodels(Kind):
    """Weights in protobuf, of all three forms, with packed and unpacked numbers."""

    def make_seeds(self) -> list[bytes]:
        draw = np.random.default_rng(0)
        made = []
        for kind in ("<f4", "<f8"):
            net = NetParameter(name="toy")
            for name, shape in (("conv1", (4, 3, 3, 3)), ("fc", (5, 20))):
                layer = net.layer.add(name=name, type="Convolution")
                for dims in (shape, shape[:1]):
                    blob = layer.blobs.add()
                    blob.shape.dim.extend(dims)
                    (blob.data if kind == "<f4" else blob.double_data).append(
                        draw.normal(size=dims).astype(kind).tobytes()
                    )
            made.append(net.SerializeToString())
        old = NetParameter()
        blob = old.layers.add(name="conv", bottom=["data"], top=["conv"]).blobs.add(
            num=1, channels=2, height=3, width=1
        )
        blob.data.append(np.ones(6, "<f4").tobytes())
        made.append(old.SerializeToString())
        return made

    def case(self, random: random.Random) -> bytes:
        return mutated(random.choice(self.seeds), self.seeds, random)

    def read(self, case: bytes) -> None:
        path = self.folder / "net.caffemodel"
        path.write_bytes(case)
        definition = self.folder / "net.prototxt"
        if not definition.exists():
            definition.write_text(_CURRENT)
        filled(read_weights(path), read_definition(definition).layers)


class CaffeHdf5(Kind):
    """Weights in HDF5."""

    may_crash = True
    costly = 2.0

    def make_seeds(self) -> list[bytes]:
        file = io.BytesIO()
        with h5py.File(file, "w") as made:
            made["data/conv1/0"] = np.ones((4, 3, 3, 3), "f4")
            made["data/conv1/1"] = np.ones(4, "f4")
            made.create_dataset("data/a/b/0", data=np.zeros((8, 8)), chunks=(4, 4), compression="gzip")
            made["data/again"] = h5py.SoftLink("/data/conv1")
        return [file.getvalue()]

    def case(self, random: random.Random) -> bytes:
        return mutated(random.choice(self.seeds), self.seeds, random)

    def read(self, case: bytes) -> None:
        path = self.folder / "net.caffemodel.h5"
        path.write_bytes(case)
        read_weights(path)


class Means(Kind):
    """Mean images as .npy and .binaryproto."""

    def make_seeds(self) -> list[bytes]:
        made = []
        for array in (np.ones((3, 5, 6)), np.ones((1, 3, 4, 4), "f4"), np.asfortranarray(np.ones((3, 4, 4), ">i2"))):
            for version in ((1, 0), (2, 0), (3, 0)):
                file = io.BytesIO()
                np.lib.format.write_array(file, array, version)
                made.append(file.getvalue())
        blob = BlobProto(num=1, channels=3, height=4, width=4)
        blob.data.append(np.ones(48, "<f4").tobytes())
        return [*made, blob.SerializeToString()]

    def case(self, random: random.Random) -> bytes:
        case = mutated(random.choice(self.seeds), self.seeds, random)
        if case.startswith(b"\x93NUMPY") and random.random() < 0.5:  # a header whose length is right
            length = 2 if case[6:7] == b"\1" else 4
            head, data = case[8 + length :].partition(b"}")[::2]
            head = mutated_text((head + b"}").decode("latin1"), ["{'descr': '<f8', 'shape': (3, 4, 4)}"], random)
            encoded = head.encode("utf-8", "replace")[: 2 ** (8 * length) - 2] + b"\n"
            case = case[:8] + len(encoded).to_bytes(length, "little") + encoded + data
        return case

    def read(self, case: bytes) -> None:
        path = self.folder / ("mean.npy" if case[:1] == b"\x93" else "mean.binaryproto")
        path.write_bytes(case)
        fit_mean(read_mean(path), 3, 3)
