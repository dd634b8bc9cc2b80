"""Reads Caffe definitions and weights, of every format version, into the common form of a network."""

from pipeline.nets.caffe.definition import caffe_function, caffe_network, read_definition, weight_shapes
from pipeline.nets.caffe.weights import fit_mean, read_mean, read_weights

__all__ = [
    "caffe_function",
    "caffe_network",
    "fit_mean",
    "read_definition",
    "read_mean",
    "read_weights",
    "weight_shapes",
]
