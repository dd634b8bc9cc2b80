"""Modules with control flow, wrappers, hooks, writing in place and the like become networks that give the same."""

from __future__ import annotations

import pickle
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import unusual_modules
from laws import check_cones, check_layers, check_layout, check_output, check_travels, images, opened
from torch import nn
from unusual_modules import SIDE, UNUSUAL, OneImageAtATime, Returns, Small, plain

from pipeline.errors import DefinitionError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated"),
    pytest.mark.filterwarnings("ignore:.*spectral_norm.*deprecated"),
    pytest.mark.filterwarnings("ignore:.*torch.jit"),
    pytest.mark.filterwarnings("ignore:.*None of the inputs have requires_grad"),
]


def seeded(build) -> nn.Module:
    torch.manual_seed(1)
    return build()


@pytest.mark.parametrize("build", UNUSUAL, ids=lambda build: build.__name__)
def test_unusual_modules_obey_every_law(build):
    """Output and layers as the module's, cones as the whole, pickling, float64, and a digest of the weights alone."""
    module = seeded(build)
    network, count = opened(module, SIDE), 1 if build is OneImageAtATime else 2
    check_output(network, module, images(3 if count > 1 else 1, SIDE))
    assert check_layers(network, module, images(count, SIDE)) >= 2
    check_cones(network, images(count, SIDE))
    check_layout(network, images(count, SIDE))
    check_travels(network, images(count, SIDE))
    assert opened(seeded(build), SIDE).digest == network.digest


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        torch.compile,
        lambda module: nn.DataParallel(torch.compile(module)),
        lambda module: torch.compile(nn.DataParallel(module)),
        lambda module: module.half(),
        lambda module: module.train(),
        lambda module: module.to(memory_format=torch.channels_last),
    ],
    ids=["parallel", "compiled", "both", "both the other way round", "half", "training", "channels last"],
)
def test_a_wrapped_module_is_as_the_module_inside(wrap):
    inner, wrapped = opened(seeded(plain), SIDE), opened(wrap(seeded(plain)), SIDE)
    assert list(wrapped.layers) == [str(number) for number in range(9)]
    assert wrapped.layers == inner.layers
    if next(wrap(seeded(plain)).parameters()).dtype == torch.float32:
        assert wrapped.digest == inner.digest


def test_a_lazy_module_takes_its_sizes_from_the_images_and_the_same_weights_each_time():
    def lazy() -> nn.Module:
        return nn.Sequential(nn.LazyConv2d(6, 3, 2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4))

    first = opened(lazy(), SIDE)
    torch.manual_seed(7)
    module = lazy()
    assert opened(module, SIDE).digest == first.digest
    assert nn.parameter.is_lazy(module[0].weight), "the module itself is left as it was"
    assert list(first.layers) == ["0", "1", "2", "3"]
    assert first.shape(first.layer("0").node) == (6, 11, 11)
    with pytest.raises(DefinitionError, match="its lazy modules cannot take their sizes .*check model.size"):
        opened(nn.Sequential(nn.LazyLinear(4), nn.Conv2d(9, 2, 3)), SIDE)


def test_hooks_lie_inside_the_layer_of_their_module():
    """As a hook that is registered last would see it."""
    module = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    plain_value = opened(module, SIDE).run(images(1, SIDE), ["0"])["0"]
    module[0].register_forward_hook(lambda part, given, result: result * 2)
    hooked = opened(module, SIDE)
    assert torch.allclose(hooked.run(images(1, SIDE), ["0"])["0"], 2 * plain_value)
    assert [layer.name for layer in hooked.layers.values()] == ["0.conv2d", "0", "1"]


# Results -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, scores, features",
    [
        ("tuple", "0", "1"),
        ("list", "0", "1"),
        ("dict", "out", "aux"),
        ("namedtuple", "scores", "features"),
        ("dataclass", "logits", "hidden.0"),
        ("nested", "heads.0.scores", "heads.1.0"),
        ("counted", "2", "3"),
    ],
)
def test_a_result_that_is_no_tensor_gives_its_first_or_the_named_one(kind, scores, features):
    module = seeded(lambda: Returns(kind))
    first, named = opened(module, SIDE), opened(module, SIDE, output=scores)
    assert first.class_layer == named.class_layer == "head"
    assert first.digest == named.digest
    other = opened(module, SIDE, output=features)
    assert other.class_layer == "mean" and other.layer("mean").channels == 6
    assert other.output == other.layer("mean").node
    assert "head" in other.layers, "what another result needs stays a layer"
    with pytest.raises(DefinitionError) as caught:
        opened(module, SIDE, output="logit")
    assert str(caught.value).startswith("network net: model.output=logit: its forward returns ")
    assert f"{scores} 4" in str(caught.value) and f"{features} 6" in str(caught.value)


# What cannot be shown ----------------------------------------------------------------------------------------


class DecidesByAMean(Small):
    """Both of the images that it is recorded with, and all others that it is compared with, go the same way."""

    def forward(self, x):
        x = self.stem(x)
        if x.mean() > -1e9:
            x = x + 1
        return self.ended(x)


class DecidesByALoop(Small):
    def forward(self, x):
        x = self.stem(x)
        while x.abs().amax() > 1:
            x = x / 2
        return self.ended(x)


class ReadsANumber(Small):
    def forward(self, x):
        x = self.stem(x)
        return self.ended(x / float(x.abs().max()))


class ReadsAnItem(Small):
    def forward(self, x):
        x = self.stem(x)
        return self.ended(x * x.std().item())


class DrawsNoise(Small):
    def forward(self, x):
        return self.ended(self.stem(x) + torch.randn(1))


class DrawsNoiseLikeIt(Small):
    def forward(self, x):
        x = self.stem(x)
        return self.ended(x * torch.rand_like(x[:, :1]))


class DrawsPlaces(Small):
    def forward(self, x):
        x = self.stem(x)
        return self.ended(x[:, :, :, torch.randperm(x.shape[3])])


class DrawsWithNumpy(Small):
    def forward(self, x):
        return self.ended(self.stem(x) * torch.from_numpy(np.random.rand(6, 1, 1)).float())


class DropsChannels(Small):
    def forward(self, x):
        return self.ended(F.dropout2d(self.stem(x), 0.3, training=True))


def swish(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(x)


@cache
def scripted_swish() -> torch.jit.ScriptFunction:
    return torch.jit.script(swish)


class CallsAScriptedFunction(Small):
    def forward(self, x):
        return self.ended(scripted_swish()(self.stem(x)))


class LeavesTorch(Small):
    def forward(self, x):
        x = self.stem(x)
        return self.ended(x * torch.from_numpy(x.detach().numpy() ** 2))


class MixesImages(Small):
    def forward(self, x):
        x = self.stem(x)
        return self.ended(x - x.mean(0))


class ReturnsNumbers(Small):
    def forward(self, x):
        return {"count": 3, "missing": None}


class ReturnsAClass(Small):
    def forward(self, x):
        return self.ended(self.stem(x)).argmax(1)


class ReturnsOneNumber(Small):
    def forward(self, x):
        return self.ended(self.stem(x)).sum()


class ReturnsAConstant(Small):
    def forward(self, x):
        return torch.ones(len(x), 4)


class Fails(Small):
    def forward(self, x):
        raise KeyError("features")


class WantsMore(Small):
    def forward(self, x, mask):
        return self.ended(self.stem(x * mask))


class Differentiates(Small):
    """The gradient of its own features."""

    def forward(self, x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.stem(x).square().sum(), x)
        return self.ended(self.stem(slope))


class HoldsAFile(Small):
    def __init__(self) -> None:
        super().__init__()
        self.file = open(__file__)  # noqa: SIM115

    def forward(self, x):
        return self.ended(self.stem(x))


def scripted() -> nn.Module:
    return torch.jit.script(plain())


def traced() -> nn.Module:
    return torch.jit.trace(plain().eval(), torch.zeros(1, 3, SIDE, SIDE))


@pytest.mark.filterwarnings("ignore:unclosed file")
@pytest.mark.parametrize(
    "build, words",
    [
        (DecidesByAMean, "decides by the values of a tensor.*keep decisions on values out of it"),
        (DecidesByALoop, "decides by the values of a tensor"),
        (ReadsANumber, "decides by the values of a tensor"),
        (ReadsAnItem, "decides by the values of a tensor"),
        (DrawsNoise, "randn: a constant differs between two runs; its forward may draw at random"),
        (DrawsNoiseLikeIt, "rand_like: its forward may draw at random"),
        (DrawsPlaces, "randperm: .*its forward may draw at random"),
        (DrawsWithNumpy, "reads a value that no torch function made"),
        (DropsChannels, "dropout that is active in evaluation mode is random"),
        (CallsAScriptedFunction, "reads a value that no torch function made; put the code that makes it into a module"),
        (LeavesTorch, "reads a value that no torch function made"),
        (MixesImages, "depends on the other images of the batch"),
        (ReturnsNumbers, "its forward returns dict, with no numbers that depend on the image"),
        (ReturnsAClass, "its forward returns Tensor, with no numbers that depend on the image"),
        (ReturnsOneNumber, "does not have one row for each image; keep the batch first"),
        (ReturnsAConstant, "no numbers that depend on the image"),
        (Fails, "cannot take a batch of 2 images of 3×24×24: 'features'"),
        (WantsMore, "missing 1 required positional argument: 'mask'"),
        (Differentiates, "cannot be run again|no torch function made"),
        (HoldsAFile, "HoldsAFile cannot be copied .*give a function that builds it"),
        (scripted, "a TorchScript module hides what it computes; give the Python module"),
        (traced, "a TorchScript module hides what it computes; give the Python module"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_recorded_is_refused_in_one_line(build, words):
    with pytest.raises(DefinitionError, match=words) as caught:
        opened(seeded(build), SIDE)
    assert str(caught.value).startswith("network net: ") and "\n" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


class ChecksThatValuesAreFinite(Small):
    def forward(self, x):
        x = self.stem(x)
        if torch.isnan(x).any() or not x.isfinite().all():
            raise ValueError("not finite")
        return self.ended(x)


def test_asking_whether_values_are_finite_is_no_decision():
    module = seeded(ChecksThatValuesAreFinite)
    check_output(opened(module, SIDE), module, images(2, SIDE))


def test_the_digest_is_the_same_in_another_process():
    builds = ("Reshapes", "ScriptedInside", "CustomFunction", "WritesThroughSlices")
    code = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "import torch, unusual_modules\n"
        "from laws import opened\n"
        "for name in sys.argv[3:]:\n"
        "    torch.manual_seed(1); print(opened(getattr(unusual_modules, name)(), unusual_modules.SIDE).digest)\n"
    )
    here = Path(__file__).parent
    command = [sys.executable, "-W", "ignore", "-c", code, str(here), str(here.parent), *builds]
    elsewhere = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert elsewhere == [opened(seeded(getattr(unusual_modules, name)), SIDE).digest for name in builds]
