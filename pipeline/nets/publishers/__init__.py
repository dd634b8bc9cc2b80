"""Networks by their publisher's name, with what its card states: timm, torchvision and the Hugging Face hub."""

from pipeline.nets.publishers.published import Published
from pipeline.nets.publishers.registry import PUBLISHERS, open_published

__all__ = ["PUBLISHERS", "Published", "open_published"]
