"""An independent implementation of back-projection: every operator as a matrix of derivatives, without torch.

The matrices are built by loops in float64, for whole images. A signal is multiplied by the transposed matrices; only
rectifiers follow a rule.
"""

from __future__ import annotations

import itertools

import numpy as np

from pipeline.nets.network import Network


class HandNetwork:
    """A network at one image: the value of every node, without the batch, and its derivatives by its parents."""

    def __init__(self, network: Network, image: np.ndarray) -> None:
        self.network = network
        self.values, self.matrices = {network.input: image}, {}
        for node in network.nodes:
            operator, inputs = network.operator(node), [self.values[parent] for parent in network.parents(node)]
            if is_rectifier(operator):
                self.matrices[node] = [np.diag(slopes(operator, inputs[0]).ravel())]
            else:
                self.matrices[node] = jacobians(operator, inputs)
            self.values[node] = forward(operator, inputs, self.matrices[node]).reshape(network.shape(node))

    def back(self, layer: str, unit: tuple[int, ...], rule: str, ignore_norms: bool = False) -> np.ndarray:
        """The signal at the image for 1.0 at a unit (index into the layer's value); the layer's ReLU is skipped."""
        network, own = self.network, self.network.layer(layer).node
        signals = {node: np.zeros(value.size) for node, value in self.values.items()}
        signals[own][np.ravel_multi_index(unit, self.values[own].shape)] = 1.0
        while network.operator(own).kind == "identity":
            own = network.parents(own)[0]
        for node in reversed(network.ancestors([network.layer(layer).node])):
            operator, above = network.operator(node), signals[node]
            below = [matrix.T @ above for matrix in self.matrices[node]]
            if is_rectifier(operator):
                (slope,) = (matrix.diagonal() for matrix in self.matrices[node])
                by_rule = {"gradient": slope * above, "deconvnet": np.maximum(above, 0)}
                by_rule["guided"] = slope * np.maximum(above, 0)
                below = [above if node == own else by_rule[rule]]
            elif operator.kind == "norm" and rule == "deconvnet" and ignore_norms:
                below = [above]
            for parent, signal in zip(network.parents(node), below, strict=True):
                signals[parent] += signal
        return signals[network.input].reshape(self.values[network.input].shape)


def is_rectifier(operator) -> bool:
    return type(operator).__name__ in ("Relu", "PRelu") or operator.kind == "relu6"


def forward(operator, inputs: list[np.ndarray], matrices: list[np.ndarray]) -> np.ndarray:
    kind, x = type(operator).__name__, inputs[0]
    if operator.kind == "relu6":
        return np.clip(x, 0, 6)
    if kind == "Pointwise":
        return sigmoid(x)
    if kind == "Softmax":
        return shares(x)
    if kind == "Power":
        return (operator.shift + operator.scale * x) ** operator.power
    if kind == "Product":
        return x * np.prod([factor.reshape(factor.shape[0], 1, 1) for factor in inputs[1:]], axis=0)
    if kind in ("ChannelNorm", "WithinChannelNorm"):
        return x * norm_scale(operator, x) ** -operator.beta
    total = sum(matrix @ value.ravel() for matrix, value in zip(matrices, inputs, strict=True))
    bias = getattr(operator, "bias", None)
    if bias is not None:
        total = (total.reshape(len(bias), -1) + bias.numpy()[:, None]).ravel()
    return total


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def shares(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(axis=0))
    return powers / powers.sum(axis=0)


def slopes(operator, x: np.ndarray) -> np.ndarray:
    """The derivative of a rectifier."""
    if operator.kind == "relu6":
        return ((x > 0) & (x < 6)).astype(float)
    slope = operator.slope
    if not isinstance(slope, float):
        slope = slope.numpy().reshape(-1, *[1] * (x.ndim - 1))
    return np.where(x > 0, 1.0, slope)


def jacobians(operator, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """The derivative by each input, (output, input), with both flattened."""
    kind, x = type(operator).__name__, inputs[0]
    if kind in BY_LOOPS:
        return [BY_LOOPS[kind](operator, x)]
    sizes = [value.size for value in inputs]
    if kind == "InnerProduct":
        return [operator.weight.numpy()]
    if kind in ("Identity", "Reshape"):
        return [np.eye(x.size)]
    if kind == "Affine":
        return [np.diag(np.repeat(operator.weight.numpy(), x.size // len(x)))]
    if kind == "Sum":
        return [np.eye(size) * weight for size, weight in zip(sizes, operator.coefficients or [1] * 9, strict=False)]
    if kind == "Concat":
        return np.split(np.eye(sum(sizes)), np.cumsum(sizes)[:-1], axis=1)
    if kind == "Slice":
        each = x.size // len(x)
        return [np.eye(x.size)[operator.start * each : operator.stop * each]]
    if kind == "Maximum":
        winner = np.argmax([value.ravel() for value in inputs], axis=0)
        return [np.diag((winner == place).astype(float)) for place in range(len(inputs))]
    if kind == "Product":  # a map and one factor a channel
        factor, each = inputs[1].ravel(), x.size // len(x)
        by_factor = np.repeat(np.eye(len(factor)), each, axis=0) * x.ravel()[:, None]
        return [np.diag(np.repeat(factor, each)), by_factor]
    if kind == "Pointwise":
        y = sigmoid(x).ravel()
        return [np.diag(y * (1 - y))]
    if kind == "Power":
        inner = operator.shift + operator.scale * x.ravel()
        return [np.diag(operator.power * operator.scale * inner ** (operator.power - 1))]
    raise AssertionError(f"no matrix for {kind}")


def convolution(operator, x: np.ndarray) -> np.ndarray:
    weight, (channels, height, width) = operator.weight.numpy(), x.shape
    rows, columns = (operator.reach[a].outputs(x.shape[1 + a]) for a in (0, 1))
    matrix = np.zeros((len(weight), rows, columns, channels, height, width))
    each, (down, across) = weight.shape[1], operator.stride
    for o, c, u, v in np.ndindex(*weight.shape):
        channel = o // (len(weight) // operator.groups) * each + c
        for i, j in np.ndindex(rows, columns):
            y = i * down - operator.padding[0] + u * operator.dilation[0]
            z = j * across - operator.padding[1] + v * operator.dilation[1]
            if 0 <= y < height and 0 <= z < width:
                matrix[o, i, j, channel, y, z] += weight[o, c, u, v]
    return matrix.reshape(len(weight) * rows * columns, -1)


def deconvolution(operator, x: np.ndarray) -> np.ndarray:
    weight, (channels, height, width) = operator.weight.numpy(), x.shape
    spans = [operator.reach[a].size for a in (0, 1)]
    rows, columns = (
        (x.shape[1 + a] - 1) * operator.stride[a] - 2 * operator.padding[a] + spans[a] + operator.extra[a]
        for a in (0, 1)
    )
    each = weight.shape[1]
    matrix = np.zeros((each * operator.groups, rows, columns, channels, height, width))
    for c, o, u, v in np.ndindex(*weight.shape):
        out = c // (channels // operator.groups) * each + o
        for y, z in np.ndindex(height, width):
            i = y * operator.stride[0] - operator.padding[0] + u * operator.dilation[0]
            j = z * operator.stride[1] - operator.padding[1] + v * operator.dilation[1]
            if 0 <= i < rows and 0 <= j < columns:
                matrix[out, i, j, c, y, z] += weight[c, o, u, v]
    return matrix.reshape(each * operator.groups * rows * columns, -1)


def pooling(operator, x: np.ndarray) -> np.ndarray:
    """The maximum (the first of equal values) or the mean (divided by the area inside the padded map)."""
    channels, height, width = x.shape
    rows, columns = (operator.reach[a].outputs(x.shape[1 + a], operator.rounding) for a in (0, 1))
    matrix = np.zeros((channels, rows, columns, channels, height, width))
    for c, i, j in np.ndindex(channels, rows, columns):
        top, left = (n * operator.stride[a] - operator.padding[a] for a, n in enumerate((i, j)))
        bottom, right = top + operator.kernel[0], left + operator.kernel[1]
        places = [
            (y, z)
            for y in range(max(top, 0), min(bottom, height))
            for z in range(max(left, 0), min(right, width))
        ]  # fmt: skip
        if type(operator).__name__ == "MaxPool":
            y, z = max(places, key=lambda at: x[c, at[0], at[1]])
            matrix[c, i, j, c, y, z] = 1.0
            continue
        edge = operator.padding if operator.count_padding else (0, 0)
        area = (min(bottom, height + edge[0]) - max(top, -edge[0])) * (
            min(right, width + edge[1]) - max(left, -edge[1])
        )
        for y, z in places:
            matrix[c, i, j, c, y, z] = 1 / area
    return matrix.reshape(channels * rows * columns, -1)


def global_pooling(operator, x: np.ndarray) -> np.ndarray:
    matrix = np.zeros((len(x), *x.shape))
    for c, plane in enumerate(x):
        if operator.mode == "mean":
            matrix[c, c] = 1 / plane.size
        else:
            matrix[c, c][np.unravel_index(plane.argmax(), plane.shape)] = 1.0
    return matrix.reshape(len(x), -1)


def neighbours(operator, x: np.ndarray, at: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """The positions whose squares a normalisation sums at a position."""
    c, y, z = at
    half = (operator.size - 1) // 2
    if type(operator).__name__ == "ChannelNorm":
        found = [(c - half + n, y, z) for n in range(operator.size)]
    else:
        steps = itertools.product(range(operator.size), repeat=2)
        found = [(c, y - half + u, z - half + v) for u, v in steps]
    return [one for one in found if all(0 <= n < size for n, size in zip(one, x.shape, strict=True))]


def norm_rate(operator) -> float:
    area = operator.size if type(operator).__name__ == "ChannelNorm" else operator.size**2
    return operator.alpha / area


def norm_scale(operator, x: np.ndarray) -> np.ndarray:
    scale = np.zeros_like(x)
    for at in np.ndindex(*x.shape):
        total = sum(x[one] ** 2 for one in neighbours(operator, x, at))
        scale[at] = getattr(operator, "k", 1.0) + norm_rate(operator) * total
    return scale


def norm(operator, x: np.ndarray) -> np.ndarray:
    scale, matrix = norm_scale(operator, x), np.zeros(x.shape + x.shape)
    for at in np.ndindex(*x.shape):
        matrix[at][at] += scale[at] ** -operator.beta
        for one in neighbours(operator, x, at):
            inner = 2 * norm_rate(operator) * x[one]
            matrix[at][one] -= operator.beta * x[at] * scale[at] ** (-operator.beta - 1) * inner
    return matrix.reshape(x.size, x.size)


def softmax(operator, x: np.ndarray) -> np.ndarray:
    y = shares(x).reshape(len(x), -1)
    matrix = np.zeros((*y.shape, *y.shape))
    for o, c, at in np.ndindex(len(y), len(y), y.shape[1]):
        matrix[o, at, c, at] = y[o, at] * ((o == c) - y[c, at])
    return matrix.reshape(x.size, x.size)


BY_LOOPS = {
    "Convolution": convolution,
    "Deconvolution": deconvolution,
    "MaxPool": pooling,
    "AveragePool": pooling,
    "GlobalPool": global_pooling,
    "ChannelNorm": norm,
    "WithinChannelNorm": norm,
    "Softmax": softmax,
}
