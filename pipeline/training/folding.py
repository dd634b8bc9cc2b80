"""Batch normalisations folded into the convolutions and inner products before them."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights


def fold(trained: nn.Sequential, plain: nn.Sequential) -> nn.Sequential:
    """Return `plain` with weights that make it the same function at rest as `trained`.

    trained : with normalisations `bnN` behind `convN` or `fcN`, which `plain` lacks.
    """
    state = {name: value for name, value in trained.state_dict().items() if not name.startswith("bn")}
    children = dict(trained.named_children())
    for name, norm in children.items():
        if not name.startswith("bn"):
            continue
        below = f"conv{name[2:]}" if f"conv{name[2:]}" in children else f"fc{name[2:]}"
        fuse = fuse_conv_bn_weights if below.startswith("conv") else fuse_linear_bn_weights
        layer = children[below]
        ones, zeros = torch.ones_like(norm.running_var), torch.zeros_like(norm.running_mean)
        scale, shift = (norm.weight, norm.bias) if norm.affine else (ones, zeros)
        weight, bias = fuse(layer.weight, layer.bias, norm.running_mean, norm.running_var, norm.eps, scale, shift)
        state[f"{below}.weight"], state[f"{below}.bias"] = weight.detach(), bias.detach()
    plain.load_state_dict(state)
    return plain.eval()
