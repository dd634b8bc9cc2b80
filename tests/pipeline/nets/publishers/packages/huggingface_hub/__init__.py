"""The part of huggingface_hub that decides whether it may use the network."""

from huggingface_hub import constants as constants
