"""The publishers' packages, imported once for all architectures."""

from __future__ import annotations

import pytorchcv.model_provider
import timm
import transformers

from jobs.zoo.vision import torchvision

__all__ = ["pytorchcv", "timm", "torchvision", "transformers"]
