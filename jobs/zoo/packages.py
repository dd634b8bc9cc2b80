"""The publishers' packages, imported once for all architectures."""

from __future__ import annotations

import importlib

import torch

try:
    import torchvision
except RuntimeError:  # its compiled operators do not fit this build of torch; none of them is run here
    OPERATORS = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    torchvision = importlib.import_module("torchvision")

import pytorchcv.model_provider
import timm
import transformers

__all__ = ["pytorchcv", "timm", "torchvision", "transformers"]
