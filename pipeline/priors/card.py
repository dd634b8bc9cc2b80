"""The card of a prior for a plan: its identity and form, and the cost of one code, without the weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from pipeline.card import PriorCard
from pipeline.priors.prior import Prior


def prior_card(prior: Prior) -> PriorCard:
    """Return the card that a plan stores of a prior."""
    macs, kept = generator_costs(prior.generator, prior.code_shape)
    return PriorCard(
        name=prior.name,
        digest=prior.digest,
        network=prior.network,
        network_digest=prior.network_digest,
        code_layer=prior.code_layer,
        code_shape=tuple(prior.code_shape),
        rectified=prior.rectified,
        height=prior.height,
        width=prior.width,
        order=prior.order,
        macs=macs,
        bytes=kept,
    )


def generator_costs(generator: nn.Module, code_shape: tuple[int, ...]) -> tuple[int, int]:
    """Multiply-accumulates of a generator's forward pass with one code, and bytes of its modules' outputs."""
    sizes: list[int] = []

    def note(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            sizes.append(4 * output.numel())

    parts = [part for part in generator.modules() if not any(True for _ in part.children())]
    hooks = [part.register_forward_hook(note) for part in parts]
    try:
        with torch.no_grad(), _Operations() as counter:
            generator(torch.zeros(1, *code_shape))
    finally:
        for hook in hooks:
            hook.remove()
    return max(1, counter.flops // 2), max(4, sum(sizes))


class _Operations(TorchDispatchMode):
    """Counts floating-point operations as torch's FlopCounterMode, which imports torch's compiler for seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled, so the compiler need not be told to leave this class alone

    def __torch_dispatch__(self, operation: Any, types: object, args: tuple = (), kwargs: dict | None = None) -> Any:
        given = kwargs or {}
        value = operation(*args, **given)
        count = flop_registry.get(operation.overloadpacket)
        if count is not None:
            self.flops += count(*args, **given, out_val=value)
        return value
