"""torch modules, traced and translated into the one form of a network."""

from pipeline.nets.torch_modules.state_dict import load_state, read_state
from pipeline.nets.torch_modules.translation import torch_network

__all__ = ["load_state", "read_state", "torch_network"]
