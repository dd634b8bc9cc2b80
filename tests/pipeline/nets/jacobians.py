"""An independent implementation of back-projection: every operator as a matrix of derivatives, without torch.

The matrices are built by loops in float64, for whole images. A signal is multiplied by the transposed matrices; only
rectifiers follow a rule.
"""

from __future__ import annotations

import itertools

import numpy as np

from pipeline.nets.network import Network
from pipeline.nets.sliding import MaxPool


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
        return x * np.prod([spread(factor, x) for factor in inputs[1:]], axis=0)
    if kind == "ScaledSum":
        return x * spread(inputs[2], x) + inputs[1]
    if kind in FORWARD:
        return FORWARD[kind](operator, x)
    if kind == "Constant":
        return operator.weight.numpy()
    if kind == "Elementwise":
        return x * np.tanh(spread(inputs[1], x))
    if kind == "Opaque":
        return row_softmax(x)[0]
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
    if kind == "TokenConcat":  # (channel, token, 1): every channel holds all of its tokens, map by map
        ends, matrices = np.cumsum([size // len(x) for size in sizes]), []
        for end, size in zip(ends, sizes, strict=True):
            matrix, each = np.zeros((len(x), ends[-1], len(x), size // len(x))), size // len(x)
            for c, at in np.ndindex(len(x), each):
                matrix[c, end - each + at, c, at] = 1.0
            matrices.append(matrix.reshape(-1, size))
        return matrices
    if kind == "Elementwise":  # of two operands: the first, times tanh of the second, one number a channel
        gate = np.tanh(spread(inputs[1], x))
        return [np.diag(gate.ravel()), by_channel(x * (1 - gate**2))]
    if kind == "Opaque":  # the softmax of each row, and a second operand that only gives its size
        return [row_softmax(x)[1], np.zeros((x.size, inputs[1].size))]
    if kind in MOVED:
        return [
            np.stack([np.eye(x.size)[at] if at >= 0 else np.zeros(x.size) for at in MOVED[kind](operator, x).ravel()])
        ]
    if kind == "Product" and sizes[0] == sizes[1]:
        return [np.diag(inputs[1].ravel()), np.diag(x.ravel())]
    if kind == "Product":  # a map and one factor a channel
        return [np.diag(spread(inputs[1], x).ravel()), by_channel(x)]
    if kind == "ScaledSum":
        return [np.diag(spread(inputs[2], x).ravel()), np.eye(x.size), by_channel(x)]
    if kind == "Pointwise":
        y = sigmoid(x).ravel()
        return [np.diag(y * (1 - y))]
    if kind == "Power":
        inner = operator.shift + operator.scale * x.ravel()
        return [np.diag(operator.power * operator.scale * inner ** (operator.power - 1))]
    raise AssertionError(f"no matrix for {kind}")


def spread(factor: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A factor, one for each value of x or for each of its channels, in the shape of x."""
    return factor if factor.shape == x.shape else np.broadcast_to(factor.reshape(len(x), 1, 1), x.shape)


def by_channel(x: np.ndarray) -> np.ndarray:
    """The derivative of a map, scaled by one factor a channel, by the factors."""
    return np.repeat(np.eye(len(x)), x.size // len(x), axis=0) * x.ravel()[:, None]


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


def places(x: np.ndarray) -> np.ndarray:
    return np.arange(x.size).reshape(x.shape)


def enlarged(operator, x: np.ndarray) -> np.ndarray:
    """The place of the input that each output repeats; −1 beyond the input."""
    rows, columns = (
        operator.size if operator.size is not None else [x.shape[1 + a] * operator.factor[a] for a in (0, 1)]
    )
    out = np.full((len(x), rows, columns), -1)
    for c, i, j in np.ndindex(*out.shape):
        y, z = ((n + operator.start[a]) // operator.factor[a] for a, n in enumerate((i, j)))
        if y < x.shape[1] and z < x.shape[2]:
            out[c, i, j] = places(x)[c, y, z]
    return out


def interpolation(operator, x: np.ndarray) -> np.ndarray:
    """Every output from its four neighbours among the inputs that are not left out."""
    inner = places(x)[:, operator.before : x.shape[1] - operator.after, operator.before : x.shape[2] - operator.after]
    matrix = np.zeros((len(x), *operator.size, x.size))
    for c, i, j in np.ndindex(len(x), *operator.size):
        down, across = (n * (inner.shape[1 + a] - 1) / max(1, operator.size[a] - 1) for a, n in enumerate((i, j)))
        for u, v in itertools.product((0, 1), repeat=2):
            y, z = int(down + 1e-9) + u, int(across + 1e-9) + v
            share = (1 - abs(down - y)) * (1 - abs(across - z))
            if y < inner.shape[1] and z < inner.shape[2]:
                matrix[c, i, j, inner[c, y, z]] += share
    return matrix.reshape(-1, x.size)


def marks(operator, x: np.ndarray) -> np.ndarray:
    """1 at the first largest value of every window."""
    pool = MaxPool(operator.kernel, operator.stride, operator.padding, operator.rounding)
    return pooling(pool, x).max(axis=0)


def groups(operator, x: np.ndarray) -> list[np.ndarray]:
    """The places of the values that are normalised or reduced together."""
    kind, whole = type(operator).__name__, places(x)
    if kind == "UnitNorm":
        return [whole.ravel()] if operator.everywhere else list(whole.reshape(len(x), -1).T)
    together = operator.across if kind == "Standardized" else operator.axis == 1
    return [whole.ravel()] if together else list(whole.reshape(len(x), -1))


def unit_norm(operator, x: np.ndarray) -> np.ndarray:
    matrix, scale = np.zeros((x.size, x.size)), np.repeat(operator.scale.numpy(), x.size // len(x))
    for group in groups(operator, x):
        own = x.ravel()[group]
        norm = np.sqrt((own**2).sum() + operator.epsilon)
        matrix[np.ix_(group, group)] = np.eye(len(own)) / norm - np.outer(own, own) / norm**3
    return matrix * scale[:, None]


def standardized(operator, x: np.ndarray) -> np.ndarray:
    matrix = np.zeros((x.size, x.size))
    for group in groups(operator, x):
        count, own = len(group), x.ravel()[group] - x.ravel()[group].mean()
        inner = np.eye(count) - 1 / count
        if operator.scaled:
            deviation = np.sqrt((own**2).mean())
            below = deviation + operator.epsilon
            inner = inner / below - np.outer(own, own) / (count * deviation * below**2)
        matrix[np.ix_(group, group)] = inner
    return matrix


def reduction(operator, x: np.ndarray) -> np.ndarray:
    slope = {"SUM": np.ones_like(x), "ASUM": np.sign(x), "SUMSQ": 2 * x, "MEAN": np.ones_like(x)}[operator.operation]
    matrix = np.zeros((len(groups(operator, x)), x.size))
    for row, group in enumerate(groups(operator, x)):
        share = operator.coefficient / (len(group) if operator.operation == "MEAN" else 1)
        matrix[row, group] = slope.ravel()[group] * share
    return matrix


def unit(operator, x: np.ndarray) -> np.ndarray:
    out = np.zeros(x.size)
    for group in groups(operator, x):
        own = x.ravel()[group]
        out[group] = own / np.sqrt((own**2).sum() + operator.epsilon)
    return out * np.repeat(operator.scale.numpy(), x.size // len(x))


def centred(operator, x: np.ndarray) -> np.ndarray:
    out = np.zeros(x.size)
    for group in groups(operator, x):
        own = x.ravel()[group] - x.ravel()[group].mean()
        out[group] = own / (own.std() + operator.epsilon) if operator.scaled else own
    return out


def reduced(operator, x: np.ndarray) -> np.ndarray:
    inner = {"ASUM": np.abs(x), "SUMSQ": x**2}.get(operator.operation, x).ravel()
    total = np.mean if operator.operation == "MEAN" else np.sum
    return np.array([operator.coefficient * total(inner[group]) for group in groups(operator, x)])


def row_softmax(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The softmax along the columns of each row, and its derivative."""
    out, matrix = np.zeros_like(x), np.zeros(x.shape + x.shape)
    for c, i in np.ndindex(*x.shape[:2]):
        out[c, i] = shares(x[c, i])
        matrix[c, i, :, c, i] = np.diag(out[c, i]) - np.outer(out[c, i], out[c, i])
    return out, matrix.reshape(x.size, x.size)


def layer_normed(operator, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=0)
    weight, bias = (array.numpy().reshape(-1, 1, 1) for array in (operator.weight, operator.bias))
    return centred / np.sqrt(x.var(axis=0) + operator.epsilon) * weight + bias


def layer_norm(operator, x: np.ndarray) -> np.ndarray:
    matrix, count = np.zeros(x.shape + x.shape), len(x)
    for i, j in np.ndindex(*x.shape[1:]):
        own = x[:, i, j] - x[:, i, j].mean()
        deviation = np.sqrt((own**2).mean() + operator.epsilon)
        inner = np.eye(count) - 1 / count - np.outer(own, own) / (count * deviation**2)
        matrix[:, i, j, :, i, j] = operator.weight.numpy()[:, None] * inner / deviation
    return matrix.reshape(x.size, x.size)


def resize(operator, x: np.ndarray) -> np.ndarray:
    rows, columns = operator.rows.numpy(), operator.columns.numpy()
    matrix = np.zeros((len(x), len(rows), len(columns), *x.shape))
    for c, i, j, y, z in np.ndindex(len(x), *rows.shape[:1], *columns.shape[:1], *x.shape[1:]):
        matrix[c, i, j, c, y, z] = rows[i, y] * columns[j, z]
    return matrix.reshape(-1, x.size)


def uneven_maximum(operator, x: np.ndarray) -> np.ndarray:
    matrix, (down, across) = np.zeros((len(x), *operator.outputs, *x.shape)), operator.outputs
    for c, i, j in np.ndindex(len(x), down, across):
        rows, columns = (
            range(n * size // count, -(-(n + 1) * size // count))
            for n, size, count in zip((i, j), x.shape[1:], (down, across), strict=True)
        )
        y, z = max(itertools.product(rows, columns), key=lambda at: x[c, at[0], at[1]])
        matrix[c, i, j, c, y, z] = 1.0
    return matrix.reshape(-1, x.size)


def moved(operator, x: np.ndarray) -> np.ndarray:
    """The place of the input that each output repeats; −1 where it is filled."""
    channels, rows, columns = (index.numpy() for index in (operator.channels, operator.rows, operator.columns))
    out = places(x)[np.ix_(channels, rows, columns)]
    out[:, rows < 0] = -1
    out[:, :, columns < 0] = -1
    return out


def filled(operator, x: np.ndarray) -> np.ndarray:
    index = moved(operator, x)
    return np.where(index < 0, operator.fill, x.ravel()[index])


def tokens(operator, x: np.ndarray) -> np.ndarray:
    stop = operator.start + int(np.prod(operator.shape[1:]))
    return places(x)[:, operator.start : stop]


# Operators whose outputs are inputs at other places: the place of each output's input.
MOVED = {
    "ChannelOrder": lambda operator, x: places(x)[operator.order.numpy()],
    "Rearrangement": lambda operator, x: operator.order.numpy(),
    "Tiled": lambda operator, x: np.tile(places(x), (1, operator.rows, operator.columns)),
    "Crop": lambda operator, x: places(x)[
        :,
        operator.start[0] : operator.start[0] + operator.size[0],
        operator.start[1] : operator.start[1] + operator.size[1],
    ],
    "Enlarged": enlarged,
    "Moved": moved,
    "Tokens": tokens,
}
FORWARD = {
    "Detach": lambda operator, x: x,
    "LayerNorm": layer_normed,
    "Moved": filled,
    "UnitNorm": unit,
    "Standardized": centred,
    "Reduction": reduced,
    "Switches": marks,
}
BY_LOOPS = {
    "Constant": lambda operator, x: np.zeros((operator.weight.numel(), x.size)),
    "Detach": lambda operator, x: np.zeros((x.size, x.size)),
    "LayerNorm": layer_norm,
    "Resize": resize,
    "UnevenMaxPool": uneven_maximum,
    "Interpolation": interpolation,
    "Reduction": reduction,
    "Standardized": standardized,
    "Switches": lambda operator, x: np.zeros((x.size, x.size)),
    "UnitNorm": unit_norm,
    "Convolution": convolution,
    "Deconvolution": deconvolution,
    "MaxPool": pooling,
    "AveragePool": pooling,
    "GlobalPool": global_pooling,
    "ChannelNorm": norm,
    "WithinChannelNorm": norm,
    "Softmax": softmax,
}
