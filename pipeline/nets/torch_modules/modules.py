"""Translation of torch's modules into operators."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import nn

from pipeline.nets.operators import Identity, Pointwise, PRelu, Relu
from pipeline.nets.torch_modules.functions import (
    Made,
    Operand,
    Shape,
    adaptive,
    avg_pool2d,
    batch_norm,
    conv2d,
    conv_transpose2d,
    free,
    linear,
    local_response_norm,
    max_pool2d,
    reshape,
    softmax,
)  # fmt: skip


def from_module(module: nn.Module, operand: Operand, result: Shape) -> Made:
    """The operator of a leaf module that reads one operand, or None.

    None for a module with hooks and for a subclass that overrides `forward`, because they may compute something else.

    result : shape of the module's output.
    """
    hooks = (module._forward_hooks, module._forward_pre_hooks)
    if any(hooks):
        return None
    for kind, make in _MODULES.items():
        if isinstance(module, kind) and type(module).forward is kind.forward:
            return make(module, operand, result)
    return None


def _conv_module(module: nn.Conv2d, operand: Operand, result: Shape) -> Made:
    if module.padding_mode != "zeros":
        return None
    weight, bias = free(module.weight), free(module.bias)
    return conv2d(result, operand, weight, bias, module.stride, module.padding, module.dilation, module.groups)


def _deconv_module(module: nn.ConvTranspose2d, operand: Operand, result: Shape) -> Made:
    weight, bias = free(module.weight), free(module.bias)
    numbers = (module.stride, module.padding, module.output_padding, module.groups, module.dilation)
    return conv_transpose2d(result, operand, weight, bias, *numbers)


def _linear_module(module: nn.Linear, operand: Operand, result: Shape) -> Made:
    return linear(result, operand, free(module.weight), free(module.bias))


def _batch_norm_module(module: nn.BatchNorm2d, operand: Operand, result: Shape) -> Made:
    arrays = (module.running_mean, module.running_var, free(module.weight), free(module.bias))
    return batch_norm(result, operand, *arrays, eps=module.eps)


def _pointwise_module(module: nn.Module, operand: Operand, result: Shape) -> Made:
    function = copy.deepcopy(module)
    if getattr(function, "inplace", False):  # the value that it reads is a layer too
        function.inplace = False
    return Pointwise(function, type(module).__name__.lower()), (operand,)


_POINTWISE = (
    nn.ReLU6, nn.Sigmoid, nn.Tanh, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.ELU,
    nn.SELU, nn.CELU, nn.Softplus, nn.Softsign, nn.LogSigmoid, nn.Tanhshrink, nn.Softshrink, nn.Hardshrink,
    nn.Threshold,
)  # fmt: skip

_MODULES: dict[type[nn.Module], Callable[..., Made]] = {
    nn.Conv2d: _conv_module,
    nn.ConvTranspose2d: _deconv_module,
    nn.Linear: _linear_module,
    nn.BatchNorm2d: _batch_norm_module,
    nn.BatchNorm1d: _batch_norm_module,
    nn.SyncBatchNorm: _batch_norm_module,
    nn.LocalResponseNorm: lambda m, x, result: local_response_norm(result, x, m.size, m.alpha, m.beta, m.k),
    nn.MaxPool2d: lambda m, x, result: max_pool2d(
        result, x, m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, m.return_indices
    ),
    nn.AvgPool2d: lambda m, x, result: avg_pool2d(
        result, x, m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad, m.divisor_override
    ),
    nn.AdaptiveAvgPool2d: lambda m, x, result: adaptive("mean", x, result),
    nn.AdaptiveMaxPool2d: lambda m, x, result: None if m.return_indices else adaptive("max", x, result),
    nn.ReLU: lambda m, x, result: (Relu(), (x,)),
    nn.LeakyReLU: lambda m, x, result: (Relu(m.negative_slope), (x,)),
    nn.PReLU: lambda m, x, result: (PRelu(free(m.weight)), (x,)),
    nn.Softmax: lambda m, x, result: softmax(result, x, m.dim),
    nn.Softmax2d: lambda m, x, result: softmax(result, x, 1),
    nn.Flatten: lambda m, x, result: reshape(x, result),
    nn.Unflatten: lambda m, x, result: reshape(x, result),
    **dict.fromkeys(
        (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout),
        lambda m, x, result: (Identity(), (x,)),
    ),
    **dict.fromkeys(_POINTWISE, _pointwise_module),
}
