"""Backward passes from a position of a layer to the pixels, with different rules for rectifiers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.nets.cone import Cone
from pipeline.nets.operators import Concat, Identity, Operator, PRelu, Relu, Reshape, Slice
from pipeline.nets.portion import Step
from pipeline.nets.sliding import ChannelNorm, Convolution, WithinChannelNorm, padded

RULES = ("deconvnet", "gradient", "guided")
RECTIFIERS = frozenset({"relu", "relu6"})  # kinds of operators to which the rules apply, leaky ReLUs included


class BackwardPass:
    """One forward pass of a batch through a cone, kept for backward passes by several rules.

    The rules differ only at rectifiers. With the slope, the derivative of the rectifier at the value that it read:
    gradient : slope · signal.
    deconvnet : max(0, signal), independent of the value read; the slope of a leaky ReLU is ignored.
    guided : slope · max(0, signal).
    Max pooling passes the signal to the largest value; every other operator passes it on by its derivative. With
    deconvnet, a normalisation may pass it unchanged. The layer's own rectifier (or those of a concatenation) is
    skipped, and the signal at the pixels is not rectified.
    Sources: Simonyan et al. 2014; Zeiler & Fergus 2013; Springenberg et al. 2015; as in the Deep Visualization
    Toolbox (Yosinski et al. 2015), whose Caffe takes the derivative of normalisations.
    """

    def __init__(self, cone: Cone, image: Tensor, *, ignore_norms: bool) -> None:
        """The forward pass of a batch.

        image : centred, (batch, channel, row, column), the pixels of the cone's window.
        ignore_norms : deconvnet passes local response normalisation unchanged.
        """
        self.cone, self.ignore_norms = cone, ignore_norms
        self._skipped = _last_rectifiers(cone)
        self._graphs: dict[str, tuple[list[Tensor], Tensor]] = {}  # node → its inputs and its value
        self._slopes: dict[str, Tensor] = {}
        self._shapes = {cone.network.input: image.shape}
        values = {cone.network.input: image.contiguous(memory_format=torch.channels_last)}
        for step in cone.steps:
            values[step.node] = self._forward(step, step.inputs(values))
            self._shapes[step.node] = values[step.node].shape
        self._value = values[cone.steps[-1].node]

    def activations(self, units: Tensor, positions: Tensor) -> Tensor:
        """The activation of each item's unit at its position, (batch,).

        units : (batch,), channel numbers.
        positions : (batch, 2), (row, column) within the part of the layer that the cone computes.
        """
        return self._value[self._index(units, positions)]

    def signals(self, units: Tensor, positions: Tensor, rules: Sequence[str]) -> Tensor:
        """The signal at the pixels for a signal of 1.0 at each item's unit, (rule, batch, channel, row, column).

        units, positions : as for `activations`.
        rules : of RULES.
        """
        seed = torch.zeros_like(self._value)
        seed[self._index(units, positions)] = 1.0
        # One batch for all rules: a convolution prepares its weights once in each call.
        waiting = {self.cone.steps[-1].node: torch.cat([seed] * len(rules))}
        for step in reversed(self.cone.steps):
            above = waiting.pop(step.node, None)
            if above is None or not above.numel():  # nothing above reads this part
                continue
            below = self._back(step, above, rules)
            for parent, cut, signal in zip(step.parents, step.cuts, below, strict=True):
                self._add(waiting, parent, cut, signal, len(rules))
        shape = self._shapes[self.cone.network.input]
        arrived = waiting.get(self.cone.network.input)
        return seed.new_zeros(len(rules), *shape) if arrived is None else arrived.view(len(rules), *shape)

    def _forward(self, step: Step, inputs: list[Tensor]) -> Tensor:
        if isinstance(step.operator, Convolution):
            return step.run(inputs)
        if step.operator.kind in RECTIFIERS:
            value = step.run(inputs)
            if step.node not in self._skipped:
                self._slopes[step.node] = _slope(step.operator, inputs[0], value)
            return value
        with torch.enable_grad():
            leaves = [x.detach().requires_grad_(x.is_floating_point()) for x in inputs]
            value = step.run(leaves)
        self._graphs[step.node] = (leaves, value)
        return value.detach()

    def _back(self, step: Step, above: Tensor, rules: Sequence[str]) -> Sequence[Tensor]:
        """The signals at the inputs of a step, one for each parent; `above` may be overwritten."""
        if step.node in self._skipped:
            return [above]
        if isinstance(step.operator, Convolution):
            return [step.operator.transposed(above, step.rows, step.columns)]
        parts = above.chunk(len(rules))
        if step.operator.kind in RECTIFIERS:
            for rule, part in zip(rules, parts, strict=True):
                if rule != "gradient":
                    part.clamp_(min=0)
                if rule != "deconvnet":
                    part.mul_(self._slopes[step.node])
            return [above]
        return [torch.cat(kinds) for kinds in zip(*map(self._through, [step] * len(rules), parts, rules), strict=True)]

    def _through(self, step: Step, above: Tensor, rule: str) -> Sequence[Tensor]:
        """The signals at the inputs by one rule: the derivative, or the signal itself at a normalisation."""
        leaves, value = self._graphs[step.node]
        if rule == "deconvnet" and self.ignore_norms and isinstance(step.operator, (ChannelNorm, WithinChannelNorm)):
            margins = tuple(
                (part.wanted.start - part.given.start, part.given.stop - part.wanted.stop)
                for part in (step.rows, step.columns)
            )
            return [padded(above, margins)]
        if not value.requires_grad:  # detached, or of no operand's numbers
            return [torch.zeros_like(leaf) for leaf in leaves]
        given = [leaf for leaf in leaves if leaf.requires_grad]
        # An operand may not matter: y.expand_as(x) reads the size of x alone.
        signals = iter(torch.autograd.grad(value, given, above, retain_graph=True, allow_unused=True))
        found = [next(signals) if leaf.requires_grad else None for leaf in leaves]
        return [torch.zeros_like(x) if signal is None else signal for signal, x in zip(found, leaves, strict=True)]

    def _add(self, waiting: dict[str, Tensor], node: str, cut: tuple[slice, slice], signal: Tensor, rules: int) -> None:
        """Add the signal from one reader of a node to the sum over its readers so far."""
        shape = (self._shapes[node][0] * rules, *self._shapes[node][1:])
        if node not in waiting and signal.shape == shape:
            waiting[node] = signal
            return
        if node not in waiting:
            waiting[node] = signal.new_zeros(shape).contiguous(memory_format=_layout(shape))
        part = waiting[node][:, :, cut[0], cut[1]] if len(shape) == 4 else waiting[node]
        part += signal

    def _index(self, units: Tensor, positions: Tensor) -> tuple[Tensor, ...]:
        items = torch.arange(len(units), device=units.device)
        spatial = self._value.dim() == 4
        return (items, units, positions[:, 0], positions[:, 1]) if spatial else (items, units)


def _last_rectifiers(cone: Cone) -> frozenset[str]:
    """The nodes of the rectifiers whose outputs are the layer's values and have no other reader in the cone."""
    steps = {step.node: step for step in cone.steps}
    readers = Counter(parent for step in cone.steps for parent in step.parents)
    rectifiers, waiting = set(), [cone.steps[-1]]
    while waiting:
        step = waiting.pop()
        if step.operator.kind in RECTIFIERS:
            rectifiers.add(step.node)
        elif isinstance(step.operator, Identity | Reshape | Concat | Slice):
            waiting += [steps[parent] for parent in step.parents if parent in steps and readers[parent] == 1]
    return frozenset(rectifiers)


def _slope(operator: Operator, read: Tensor, value: Tensor) -> Tensor:
    """The derivative of a rectifier at the value that it read."""
    if isinstance(operator, Relu) and operator.slope == 0:
        return (value > 0).to(value.dtype)
    if isinstance(operator, Relu | PRelu):
        steep = operator.slope if isinstance(operator, Relu) else operator.slope.view(1, -1, *[1] * (read.dim() - 2))
        return torch.where(read > 0, torch.ones_like(read), steep * torch.ones_like(read))
    with torch.enable_grad():
        leaf = read.detach().requires_grad_()
        (slope,) = torch.autograd.grad(operator(leaf).sum(), leaf)
    return slope


def _layout(shape: Sequence[int]) -> torch.memory_format:
    return torch.channels_last if len(shape) == 4 else torch.contiguous_format
