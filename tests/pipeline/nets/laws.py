"""Laws that every network made from a torch module obeys, checked against the module itself."""

from __future__ import annotations

import pickle
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.nets.cone import Cone
from pipeline.nets.network import Layer, Network
from pipeline.nets.preprocessing import Preprocessing
from pipeline.nets.torch_modules import torch_network
from pipeline.nets.window import window

GAIN = (0.01, 0.02, 0.03)


def preprocessing(side: int, width: int | None = None) -> Preprocessing:
    return Preprocessing(side, width or side, "RGB", np.array([120.0, 110.0, 100.0]), np.array(GAIN))


def images(batch: int, side: int, width: int | None = None) -> Tensor:
    """Centred images, in pixel levels."""
    return torch.randn(batch, 3, side, width or side, generator=torch.Generator().manual_seed(5)) * 60


def as_the_module_reads(image: Tensor) -> Tensor:
    return image * torch.tensor(GAIN, dtype=image.dtype).view(1, 3, 1, 1)


def opened(module: nn.Module, side: int, **named: object) -> Network:
    return torch_network("net", module, preprocessing(side), **named)


def check_close(got: Tensor, expected: Tensor, what: object, tolerance: float = 1e-4) -> None:
    """Within a share of the largest value."""
    assert got.shape == expected.shape, (what, got.shape, expected.shape)
    assert (got - expected).abs().max() <= tolerance * expected.abs().max() + 1e-30, what


@torch.no_grad()
def check_output(network: Network, module: nn.Module, image: Tensor) -> None:
    """The network gives what the module gives in evaluation mode and in float32."""
    with torch.compiler.set_stance("force_eager"):
        check_close(network.graph(image), module.float().eval()(as_the_module_reads(image)), "output")


@torch.no_grad()
def returned(module: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """Name of a layer → what the module of that path returned, from hooks of its own, with "#2" at the second use."""
    found: dict[str, Tensor] = {}
    uses: dict[str, int] = {}

    def keep(path: str):
        def hook(part: nn.Module, given: object, result: object) -> None:
            uses[path] = uses.get(path, 0) + 1
            name = path if uses[path] == 1 else f"{path}#{uses[path]}"
            first = result[0] if isinstance(result, (tuple, list)) else result
            if isinstance(first, Tensor):
                found[name] = first.clone()  # before the next module overwrites it in place

        return hook

    parts = {path: part for path, part in module.named_modules() if path and _is_part(path, part)}
    hooks = [part.register_forward_hook(keep(path)) for path, part in parts.items()]
    with torch.compiler.set_stance("force_eager"):
        module.float().eval()(as_the_module_reads(image))
    for hook in hooks:
        hook.remove()
    return found


def _is_part(path: str, part: nn.Module) -> bool:
    """Whether a module has a layer: not a wrapper, one that computes weights, or one that takes no hooks."""
    wrapper = path.endswith((".module", "._orig_mod"))
    return not wrapper and ".parametrizations." not in path and not isinstance(part, torch.jit.ScriptModule)


@torch.no_grad()
def check_layers(network: Network, module: nn.Module, image: Tensor, without: Iterable[str] = ()) -> int:
    """Every module's output is the layer of its path, but for those named; returns how many there are.

    Maps must be equal entry by entry, sequences and channels-last maps in the order that fits.
    """
    expected = returned(module, image)
    values = network.run(image, list(network.layers))
    assert set(expected) - set(values) == set(without)
    for name in expected.keys() - set(without):
        got, own = values[name], expected[name]
        if len(image) == 1 and own.shape[:1] != (1,):  # of a module that takes one image at a time
            own = own[None]
        if own.dim() in (2, 4) and len(own) != len(image):  # parts of an image as more images, either way round
            orders = (own.flatten(1), own.flatten(1).unflatten(0, (-1, len(image))).transpose(0, 1))
            own = min((each.reshape(got.shape) for each in orders), key=lambda each: float((got - each).abs().max()))
        elif got.shape != own.shape:
            got, own = _alike(got, own)
        check_close(got, own, name)
    return len(expected) - len(set(without))


def _alike(got: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """A map (batch, channel, row, column) and a tensor that holds the same otherwise laid out, as rows of channels."""
    channels = got.shape[1]
    if own.dim() == 3 and own.shape[1] == len(got) and own.shape[2] == channels:  # (token, batch, channel)
        own = own.transpose(0, 1)
    elif own.shape[-1] != channels:
        own = own.movedim(1, -1)
    own = own.reshape(len(got), -1, channels)
    got = got.flatten(2).transpose(1, 2) if got.dim() == 4 else got[:, None]
    return got, own[:, : 1 if got.shape[1] == 1 else None]


def positions(layer: Layer) -> list[tuple[int, int]]:
    """Two corners and the centre of a layer's map."""
    return sorted({(0, 0), layer.centre, (layer.height - 1, layer.width - 1)})


def check_cones(network: Network, image: Tensor, layers: Iterable[str] | None = None, tolerance: float = 1e-4) -> None:
    """What a position's cone computes from its window is the full value, and no other pixel decides it."""
    for name in network.layers if layers is None else layers:
        layer = network.layer(name)
        given = image.clone().requires_grad_()
        value = network.run(given, [name])[name]
        scale = value.detach().abs().max()
        for row, column in positions(layer):
            at = value[:, :, row, column] if value.dim() == 4 else value
            (gradient,) = torch.autograd.grad(at.sum(), given, retain_graph=True)
            seen, cone = window(network, name, row, column), Cone(network, name, (row, column))
            inside = (slice(None), slice(None), slice(seen.top, seen.bottom), slice(seen.left, seen.right))
            outside = gradient.clone()
            outside[inside] = 0
            assert not outside.any(), f"{name} at {row}, {column}: the gradient leaves the window {seen}"
            with torch.no_grad():
                found = cone.values(image[inside])
            assert (found - at).abs().max() <= tolerance * scale + 1e-30, (name, row, column)


@torch.no_grad()
def check_travels(network: Network, image: Tensor) -> None:
    """A network survives pickling, and another precision changes its values by rounding alone."""
    names = list(network.layers)
    expected = network.run(image, names)
    again = pickle.loads(pickle.dumps(network))
    double = network.to(dtype=torch.float64).run(image.double(), names)
    assert again.digest == again._digest() == network.digest
    for name, value in again.run(image, names).items():
        assert torch.equal(value, expected[name]), name
        assert double[name].dtype == torch.float64, name
        check_close(double[name], expected[name].double(), name, 1e-3)


@torch.no_grad()
def check_layout(network: Network, image: Tensor) -> None:
    """Images whose channels lie last in memory, as mining gives them, have the same values."""
    names = list(network.layers)
    expected = network.run(image, names)
    for name, value in network.run(image.contiguous(memory_format=torch.channels_last), names).items():
        check_close(value, expected[name], name)
