"""torchvision, also where its compiled operators do not fit this build of torch: none of them is run here."""

from __future__ import annotations

import importlib

import torch

try:
    import torchvision
except RuntimeError:
    OPERATORS = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    torchvision = importlib.import_module("torchvision")

__all__ = ["torchvision"]
