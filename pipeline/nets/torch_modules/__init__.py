"""Reads torch modules into the common form of a network: recorded call by call, then translated."""

from pipeline.nets.torch_modules.state_dict import load_state
from pipeline.nets.torch_modules.torch_network import torch_network
from pipeline.nets.torch_modules.weights import read_state

__all__ = ["load_state", "read_state", "torch_network"]
