"""A torch module as a `Network`: recorded, translated, and compared with the module itself."""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from pipeline.errors import DefinitionError
from pipeline.nets.network import Network
from pipeline.nets.preprocessing import Preprocessing
from pipeline.nets.torch_modules.capture import Capture, output_value, prepared
from pipeline.nets.torch_modules.recording import first_line, part_at, record
from pipeline.nets.torch_modules.translation import Translation

TOLERANCE = 1e-3  # of the largest value; folding batch normalisation changes values by about 1e-6
ROUNDINGS = 4  # times the module's own rounding error
IMAGES = 5  # of noise, on which the module is recorded and compared


def torch_network(
    name: str,
    module: nn.Module,
    preprocessing: Preprocessing,
    labels: Sequence[str] = (),
    class_layer: str | None = None,
    output: str | None = None,
) -> Network:
    """The network that a module computes in evaluation mode, in float32; the module itself is not changed.

    A layer is named by the path of the module that returned it ("layer1.0.conv1", "layer1.0"), with "#2" appended at
    the second use of a module. The result of a function is named by the module that called it and the function
    ("layer1.0.add"). Channels-last maps and sequences of tokens become maps too, (channel, row, column). A sequence
    that begins with a class token is a layer of that token; its patches are the layer NAME@patches.

    Functions without a rule of their own are kept as recorded: they are exact, and what they read is measured.

    name : of the network.
    module : reads (batch, channel, row, column), pixels minus the mean, multiplied by the gain.
    labels, class_layer : as for `Network`.
    output : which of several results is the network's, such as "logits"; None for the first.
    Raises DefinitionError if the module cannot process images of the given size, or if the translated graph does not
    reproduce its output and the values of its layers.
    """
    images = _noise(preprocessing)
    module = prepared(name, module, images)
    with _uncompiled():
        capture = Capture(name, module, images)
        translation = Translation(capture, preprocessing)
        value = output_value(name, capture.first, output)
        try:
            network = translation.network(value, labels, class_layer)
            with torch.no_grad():
                try:
                    _compare(network, translation, capture, module, images)
                except DefinitionError:  # rounding errors may grow on the way up, as the module's own do
                    _compare(network, translation, capture, module, images, copy.deepcopy(module).double())
        except (RuntimeError, TypeError, IndexError) as error:  # of a call that does not run alone
            raise DefinitionError(
                f"network {name}: what was recorded of its forward cannot be run again: {first_line(error)}; "
                "put the part that computes in an unusual way into a module of its own"
            ) from error
    found = [".".join(map(str, path)) for path, at in capture.first.result.items() if capture.depends(at)]
    if len(found) > 1 and output is None:
        taken = found[[at for at in capture.first.result.values() if capture.depends(at)].index(value)]
        network.notes = (
            f"of its results {', '.join(found)} the first is shown, {taken}; model.output=… picks another",
        )
    return network


def _uncompiled() -> AbstractContextManager:
    """A context in which compiled modules run as they were written; torch's compiler is not loaded for it."""
    loaded = "torch._dynamo" in sys.modules
    return torch.compiler.set_stance("force_eager") if loaded else nullcontext()


def _noise(size: Preprocessing) -> Tensor:
    """Test images as the module reads them: Gaussian noise with the spread of pixel levels."""
    shape = (IMAGES, size.channels, size.height, size.width)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 50
    return noise * torch.from_numpy(size.gain).float().view(1, -1, 1, 1)


def _compare(
    network: Network,
    translation: Translation,
    capture: Capture,
    module: nn.Module,
    images: Tensor,
    exact: nn.Module | None = None,
) -> None:
    """Raise DefinitionError unless the network reproduces the values of its layers and the module's output.

    The output is compared for other images too, because a module may decide by values.

    exact : the module in double precision; a difference of a few times the module's own rounding error passes.
    """
    gain = torch.from_numpy(network.preprocessing.gain).float().view(1, -1, 1, 1)
    second = capture.second
    given = second.values[second.image].tensor
    values = _every_value(network, given / gain)
    doubles = None if exact is None else record(network.name, exact, given.double(), capture.leaves).values
    for name, value in translation.layers.items():
        form, recorded = translation.forms[value], second.values[value]
        if recorded.intact:
            double = None if doubles is None else doubles[value].tensor
            _expect_close(network.name, name, form.order.unrolled(values[form.node]), recorded.tensor, double)
    if not capture.fixed:  # image 0 of the first recording is image 1 of the second
        form, output = translation.returned, translation.output
        one, other = (form.order.rolled(each.values[output].tensor, form.shape) for each in (capture.first, second))
        if (one[0] - other[1]).abs().max() > TOLERANCE * one.abs().max():
            raise DefinitionError(
                f"network {network.name}: what its forward returns for an image depends on the other images of the "
                "batch; take means and the like over the axes of one image"
            )
    form, (path,) = translation.returned, [p for p, at in capture.first.result.items() if at == translation.output][:1]
    for others in (second.values[second.image].tensor, images[4:5], -images[1:2], torch.zeros_like(images[:1])):
        if capture.fixed and len(others) > 1:
            continue
        result = part_at(module(others.clone()), path)
        double = None if exact is None else part_at(exact(others.double()), path)
        _expect_close(network.name, "output", form.order.unrolled(network.graph(others / gain)), result, double)


def _every_value(network: Network, image: Tensor) -> dict[str, Tensor]:
    values = {network.input: image}
    for node in network.nodes:
        values[node] = network.operator(node)(*(values[parent] for parent in network.parents(node)))
    return values


def _expect_close(network: str, layer: str, ours: Tensor, theirs: Tensor, exact: Tensor | None) -> None:
    difference = _distance(ours, theirs) if ours.shape == theirs.shape else float("inf")
    rounding = 0.0 if exact is None else _distance(exact, theirs)
    largest = float(theirs.masked_fill(theirs.isinf(), 0).abs().max())
    if not difference <= TOLERANCE * largest + ROUNDINGS * rounding:
        raise DefinitionError(
            f"network {network}: the recorded graph's {layer} differs from the module's own by {difference:.3g}; "
            "its forward may draw at random, or decide by the values of tensors"
        )


def _distance(a: Tensor, b: Tensor) -> float:
    """The largest difference; equal infinities, such as padding below a maximum, do not differ."""
    return float((a - b).masked_fill(a == b, 0).abs().max())
