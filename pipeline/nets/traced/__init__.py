"""torch modules, traced and translated into the one form of a network."""

from pipeline.nets.traced.model import torch_network
from pipeline.nets.traced.state import load_state, read_state

__all__ = ["load_state", "read_state", "torch_network"]
