"""Small modules whose forward does what tracing finds hard: control flow on sizes, wrappers, writing in place, …"""

from __future__ import annotations

import math
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

SIDE = 24  # of the images that they read
UNUSUAL: list[Callable[[], nn.Module]] = []


def unusual(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    UNUSUAL.append(build)
    return build


class Small(nn.Module):
    """A stem of 6 channels and a head of 4 units."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 6, 3, 2, 1), nn.Linear(6, 4)

    def ended(self, x: Tensor) -> Tensor:
        return self.head(F.relu(x).mean((2, 3)))


# Decisions on sizes, devices and settings ---------------------------------------------------------------------


@unusual
class EnlargesSmallImages(Small):
    def forward(self, x):
        if x.shape[-1] < 32:
            x = F.interpolate(x, size=(32, 32))
        return self.ended(self.stem(x))


@unusual
class ShrinksUntilSmall(Small):
    def forward(self, x):
        x = self.stem(x)
        while x.shape[-1] > 4:
            x = F.max_pool2d(x, 2)
        return self.ended(x)


@unusual
class AssertsItsSize(Small):
    def forward(self, x):
        _, channels, height, width = x.shape
        assert height == width == SIDE, "wrong size"
        torch._assert(channels == 3, "wrong channels")
        return self.ended(self.stem(x))


@unusual
class UnpacksItsShape(Small):
    def forward(self, x):
        x = self.stem(x)
        y = x.view(x.size(0), 6, -1)
        return self.ended(y.view(x.size(0), 6, *x.size()[2:]))


@unusual
class LoopsOverChunks(Small):
    def __init__(self) -> None:
        super().__init__()
        self.each = nn.Conv2d(1, 2, 3, 2)

    def forward(self, x):
        return self.ended(torch.cat([self.each(plane) for plane in x.chunk(3, 1)], 1))


@unusual
class LoopsOverChannels(Small):
    def forward(self, x):
        x = self.stem(x)
        total = 0
        for at in range(x.size(1)):
            total = total + x[:, at : at + 1] * (at + 1)
        return self.ended(x + total)


@unusual
class BranchesOnTheDevice(Small):
    def forward(self, x):
        if x.is_cuda or x.device.type == "mps" or not x.is_contiguous():
            x = x.contiguous()
        return self.ended(self.stem(x.to(next(self.parameters()).device, x.dtype)))


@unusual
class DecidesBySettings(Small):
    """A handler of each name, a mode of training, and an argument that is never given."""

    def forward(self, x, mask=None, *, scale: float = 1.0):
        step = {"plain": self.ended, "none": None}.get("plain" if mask is None else "none")
        x = self.stem(x)
        if self.training:
            x = x + torch.randn_like(x)
        try:
            return step(x, missing=True)
        except TypeError:
            return step(x) * scale


# Writing in place ---------------------------------------------------------------------------------------------


@unusual
class WritesThroughSlices(Small):
    def forward(self, x):
        x = self.stem(x) * 1
        y = torch.zeros_like(x)
        y[:, ::2] = x[:, 1::2]
        y[:, 1::2] += x[:, ::2] * 2
        return self.ended(y)


@unusual
class WritesInto(Small):
    def forward(self, x):
        x = self.stem(x)
        held = torch.empty_like(x)
        torch.mul(x, 2, out=held)
        held.add_(1).clamp_(min=-1)
        held.masked_fill_(held > 3, 3.0)
        return self.ended(held)


@unusual
class FillsAStack(Small):
    """Maps written one by one into a new tensor."""

    def forward(self, x):
        x = self.stem(x)
        held = x.new_empty(x.shape[0], 2 * x.shape[1], *x.shape[2:])
        for place, part in enumerate((x.tanh(), -x)):
            held[:, place * 6 : place * 6 + 6].copy_(part)
        return self.ended(held[:, 3:9])


@unusual
class WritesThroughAliases(Small):
    """A channel, a column and a block, each another view of one map; and a shift of a map onto itself."""

    def forward(self, x):
        x = self.stem(x).clone()
        x[:, 0].relu_()
        x[..., 0] = 0
        x[:, :3] *= 2
        low = x[:, :, 1:]
        x[:, :, :-1] = low.clone()
        return self.ended(x + F.pad(low, (0, 0, 1, 0)))


@unusual
class ChangesAViewInPlace(Small):
    """Reads the changed tensor only through the view that was changed."""

    def forward(self, x):
        flat = (self.stem(x) * 2).flatten(1)
        flat.mul_(3)
        return self.ended(flat.view(-1, 6, SIDE // 2, SIDE // 2))


@unusual
class WritesBuffers(Small):
    """A counter, a running mean that evaluation does not use, and the last features."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.register_buffer("mean", torch.zeros(6))
        self.last = None

    def forward(self, x):
        self.calls += 1
        self.mean = self.mean + 0.01
        x = self.stem(x)
        self.last = x.detach()
        self.mean.mul_(0.9).add_(x.detach().mean((0, 2, 3)), alpha=0.1)
        return self.ended(x)


# Other kinds of modules and parameters ------------------------------------------------------------------------


class Standardised(nn.Conv2d):
    """A convolution whose weights are standardised at every call."""

    def forward(self, x):
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        spread = self.weight.std((1, 2, 3), keepdim=True)
        return self._conv_forward(x, (self.weight - mean) / (spread + 1e-5), self.bias)


class SamePadded(nn.Conv2d):
    """A convolution that pads to ⌈size / stride⌉, unevenly."""

    def forward(self, x):
        needed = [
            max((math.ceil(size / step) - 1) * step + kernel - size, 0)
            for size, step, kernel in zip(x.shape[2:], self.stride, self.kernel_size, strict=True)
        ]
        if any(needed):
            rows, columns = needed
            x = F.pad(x, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


@unusual
class Subclasses(Small):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.next = SamePadded(3, 6, 3, 2), Standardised(6, 6, 3, padding=1)

    def forward(self, x):
        return self.ended(self.next(F.relu(self.stem(x))))


@unusual
class Hooked(Small):
    """A hook that scales an output, and one that changes an input."""

    def __init__(self) -> None:
        super().__init__()
        self.stem.register_forward_hook(double)
        self.stem.register_forward_pre_hook(shift)

    def forward(self, x):
        return self.ended(self.stem(x))


def double(module: nn.Module, given: object, result: Tensor) -> Tensor:
    return result * 2


def shift(module: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
    return (given[0] + 0.5,)


class Symmetric(nn.Module):
    def forward(self, weight):
        return (weight + weight.flip(-1)) / 2


@unusual
def parametrized() -> nn.Module:
    module = plain()
    nn.utils.parametrize.register_parametrization(module[0], "weight", Symmetric())
    nn.utils.parametrizations.weight_norm(module[2])
    nn.utils.parametrizations.spectral_norm(module[4])
    nn.utils.parametrizations.orthogonal(module[8])
    return module


@unusual
def normed_as_before() -> nn.Module:
    """The older forms of weight and spectral normalisation, which compute the weight in a hook."""
    module = plain()
    module[0] = nn.utils.weight_norm(module[0])
    module[2] = nn.utils.spectral_norm(module[2])
    return module


def plain() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU(inplace=True), nn.Conv2d(6, 6, 3, 2),
        nn.ELU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4),
    )  # fmt: skip


@unusual
def lazy() -> nn.Module:
    module = nn.Sequential(nn.LazyConv2d(6, 3, 2), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4))
    module.eval()(torch.zeros(1, 3, SIDE, SIDE))
    return module


@unusual
class ParallelInside(Small):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.DataParallel(self.stem)

    def forward(self, x):
        return self.ended(self.stem(x))


@unusual
class CompiledInside(Small):
    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.compile(self.stem)
        self.head.compile()

    def forward(self, x):
        return self.ended(self.stem(x))


@unusual
class ScriptedInside(Small):
    """Its first block is scripted, its gate a scripted function."""

    def __init__(self) -> None:
        super().__init__()
        self.block = torch.jit.script(nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()))

    def forward(self, x):
        return self.ended(self.block(self.stem(x)))


@unusual
class HalfPrecisionInside(Small):
    def __init__(self) -> None:
        super().__init__()
        self.half()

    def forward(self, x):
        return self.ended(self.stem(x.to(self.stem.weight.dtype)))


@unusual
class CastsUpAndDown(Small):
    """Sums in double precision, a mask as numbers, a constant in half precision."""

    def forward(self, x):
        x = self.stem(x)
        x = (x.double() - x.to(torch.float64).mean((2, 3), keepdim=True)).to(torch.float32)
        x = x.type(torch.float64).float() * (x > 0).to(x.dtype)
        return self.ended(x + torch.ones(1, dtype=torch.half).float())


@unusual
class ListsOfParameters(Small):
    def __init__(self) -> None:
        super().__init__()
        self.scales = nn.ParameterList([torch.rand(6, 1, 1) + 0.5 for _ in range(3)])
        self.shifts = nn.ParameterDict({"low": torch.rand(6, 1, 1), "high": torch.rand(6, 1, 1)})
        self.steps = nn.ModuleDict({"a": nn.Conv2d(6, 6, 1), "b": nn.Conv2d(6, 6, 3, padding=1)})

    def forward(self, x):
        x = self.stem(x)
        for scale, (_, shift), step in zip(self.scales, self.shifts.items(), self.steps.values(), strict=False):
            x = x + F.relu(step(x) * scale + shift)
        return self.ended(x)


@unusual
class TiedWeights(Small):
    """One module under two paths, and a transposed convolution with the weights of another."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.second = nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x):
        x = self.second(F.relu(self.first(self.stem(x))))
        return self.ended(F.conv_transpose2d(x, self.first.weight, padding=1))


# What is called twice, one image at a time, batches elsewhere ---------------------------------------------------


@unusual
class UsedTwice(Small):
    def __init__(self) -> None:
        super().__init__()
        self.again, self.act = nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.act(self.stem(x))
        for _ in range(3):
            x = self.act(self.again(x)) + x
        return self.ended(x)


@unusual
class Siamese(Small):
    """Halves of the image as more images of a batch."""

    def forward(self, x):
        halves = torch.cat(x.split(SIDE // 2, dim=3), dim=0)
        left, right = self.ended(self.stem(halves)).chunk(2, dim=0)
        return left - right


@unusual
class Groups(Small):
    """Groups of channels as more images of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.next = nn.Conv2d(3, 3, 3)

    def forward(self, x):
        x = F.relu(self.stem(x))
        batch, channels, height, width = x.shape
        x = F.relu(self.next(x.view(batch * 2, channels // 2, height, width)))
        return self.head(x.mean((2, 3)).view(batch, -1))


@unusual
class OneImageAtATime(Small):
    def forward(self, x):
        x = self.stem(x).squeeze(0)
        return self.head(F.relu(x).mean((1, 2)))[None]


# Functions that torch calls otherwise ---------------------------------------------------------------------------


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(context, signal):
        (x,) = context.saved_tensors
        gate = torch.sigmoid(x)
        return signal * gate * (1 + x * (1 - gate))


@unusual
class CustomFunction(Small):
    def forward(self, x):
        return self.ended(Swish.apply(self.stem(x)))


@unusual
class Checkpointed(Small):
    def forward(self, x):
        return self.ended(checkpoint(self.stem, x, use_reentrant=False))


@unusual
class CheckpointedReentrant(Small):
    def forward(self, x):
        return self.ended(checkpoint(self.stem, x, use_reentrant=True))


class Gate(nn.Module):
    def forward(self, x):
        return torch.vmap(lambda plane: plane * torch.tanh(plane))(x)


@unusual
class Mapped(Small):
    """vmap over images in a submodule, and a functional call of another."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()

    def forward(self, x):
        x = torch.func.functional_call(self.stem, dict(self.stem.named_parameters()), (x,))
        return self.ended(self.gate(x))


@unusual
class WithoutGradient(Small):
    """no_grad and autocast that is switched off."""

    def forward(self, x):
        with torch.autocast("cpu", enabled=False):
            x = self.stem(x.float())
        with torch.no_grad():
            offset = x.mean((2, 3), keepdim=True) * 0.1
        return self.ended(x - offset.detach())


@unusual
class ConstantsInForward(Small):
    """Coordinates, a mask from numpy, a table that is built once and kept."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.table = nn.Conv2d(5, 6, 3, 2, 1), {}

    def forward(self, x):
        batch, _, height, width = x.shape
        if height not in self.table:
            self.table[height] = torch.linspace(-1, 1, height, device=x.device)
        rows = self.table[height].view(1, 1, -1, 1).expand(batch, 1, height, width)
        columns = torch.arange(width, device=x.device, dtype=x.dtype).expand(batch, 1, height, -1) / width
        x = self.stem(torch.cat([x, rows.to(x), columns], 1))
        mask = torch.from_numpy(np.tri(x.shape[2], x.shape[3], dtype=np.float32)).to(x)
        return self.ended(x * mask + torch.eye(x.shape[2])[: x.shape[2]].to(x))


@unusual
class Reshapes(Small):
    """As einops writes them: patches to channels and back, heads, a sum over named axes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mix = nn.Conv2d(12, 6, 1), nn.Linear(6, 6)

    def forward(self, x):
        b, c, h, w = x.shape
        x = x.reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4).reshape(b, 4 * c, h // 2, w // 2)
        x = self.stem(x)
        y = self.mix(torch.einsum("b c h w -> b h w c", x).reshape(b, -1, 6)).transpose(1, 2)
        return self.ended(x + y.reshape(b, 6, h // 2, w // 2))


@unusual
class GathersAndSorts(Small):
    def forward(self, x):
        x = self.stem(x).flatten(2)
        high, _ = x.topk(5, dim=2)
        low = x.sort(dim=2).values[:, :, :3]
        most = x.gather(2, x.argmax(dim=2, keepdim=True))
        return self.head(F.relu(torch.cat([high, low, most, x.cumsum(2)[:, :, -1:]], 2)).mean(2))


@unusual
class Recurrent(Small):
    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.GRU(6, 6, batch_first=True)

    def forward(self, x):
        x = self.stem(x).mean(3).transpose(1, 2)
        each, last = self.rows(x)
        return self.head(last[-1] + each.mean(1))


@unusual
class StepByStep(Small):
    """A recurrent cell over the columns, from a state of zeros with one row for each image."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(6, 6)

    def forward(self, x):
        columns = self.stem(x).mean(2)
        state = cell = torch.zeros(len(x), 6)
        for at in range(3):
            state, cell = self.cell(columns[:, :, at], (state, cell))
        return self.head(state)


@unusual
class KernelsOfTheImage(Small):
    """Kernels mixed for each image, applied to the images as groups of one."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels, self.router = nn.Parameter(torch.randn(3, 6, 6, 3, 3)), nn.Linear(6, 3)

    def forward(self, x):
        x = self.stem(x)
        batch, channels, height, width = x.shape
        shares = self.router(x.mean((2, 3))).softmax(1)
        kernels = torch.einsum("be,eoihw->boihw", shares, self.kernels).reshape(batch * 6, 6, 3, 3)
        x = F.conv2d(x.reshape(1, batch * channels, height, width), kernels, groups=batch, padding=1)
        return self.ended(x.view(batch, 6, height, width))


@unusual
class Attends(Small):
    """torch's attention over all positions of a map, sequence first, with the weights thrown away."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2)

    def forward(self, x):
        x = self.stem(x)
        y = x.flatten(2).permute(2, 0, 1)
        y, _ = self.attention(y, y, y)
        return self.ended(x + y.permute(1, 2, 0).view_as(x))


@unusual
class Ensemble(Small):
    """The mean of the probabilities of three networks."""

    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList(
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))
            for _ in range(3)
        )

    def forward(self, x):
        return torch.stack([member(x).softmax(-1) for member in self.members]).mean(0)


@unusual
class ByDistance(Small):
    """Scores by distance to prototypes, from places moved by the image itself."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.ReLU()
        self.register_buffer("prototypes", torch.randn(4, 6))

    def forward(self, x):
        x = self.stem(x)
        grid = F.affine_grid(torch.eye(2, 3)[None].expand(len(x), -1, -1), list(x.shape), align_corners=False)
        x = F.grid_sample(x, grid + x[:, :2].permute(0, 2, 3, 1) * 0.05, align_corners=False)
        return -torch.cdist(self.head(x).mean((2, 3)), self.prototypes)


@unusual
class Spectral(Small):
    def forward(self, x):
        x = self.stem(x)
        frequencies = torch.fft.rfft2(x, norm="ortho")
        frequencies = frequencies * torch.linspace(1, 0, frequencies.shape[-1]).to(x)
        return self.ended(torch.fft.irfft2(frequencies, s=x.shape[2:], norm="ortho"))


@unusual
class Samples(Small):
    """A fixed grid of places (as a spatial transformer has), and windows unfolded and folded."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([[[0.9, 0.1, 0.0], [-0.1, 0.9, 0.0]]]))

    def forward(self, x):
        x = self.stem(x)
        grid = F.affine_grid(self.theta.expand(len(x), -1, -1), list(x.shape), align_corners=False)
        x = F.grid_sample(x, grid, align_corners=False)
        columns = F.unfold(x, 2, stride=2)
        return self.ended(F.fold(columns * 2, x.shape[2:], 2, stride=2))


# Results ------------------------------------------------------------------------------------------------------

Named = namedtuple("Named", ["scores", "features"])


@dataclass
class Scores:
    logits: Tensor
    hidden: tuple[Tensor, ...] = ()
    loss: Tensor | None = None


class Returns(Small):
    """Scores of 4 classes and 6 features, in the container of that name."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x):
        features = F.relu(self.stem(x)).mean((2, 3))
        scores = self.head(features)
        return {
            "tuple": (scores, features),
            "list": [scores, features],
            "dict": {"out": scores, "aux": features},
            "namedtuple": Named(scores, features),
            "dataclass": Scores(scores, (features, features * 2)),
            "nested": {"heads": [{"scores": scores}, (features,)], "size": 3, "missing": None},
            "counted": (torch.tensor(3), scores.argmax(1), scores, features),
        }[self.kind]
