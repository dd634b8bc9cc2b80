"""A torchvision of a few tiny networks: its functions, classes and errors as in torchvision 0.28."""

from torchvision import models as models

__version__ = "0.28.0"
