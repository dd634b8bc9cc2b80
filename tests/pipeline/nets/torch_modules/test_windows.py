"""What functions of torch do to windows: local ones stay local, with the right status, and nothing leaves a window."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from laws import check_cones, check_output, check_travels, images, opened
from torch import Tensor, nn

from pipeline.nets.cone import Cone
from pipeline.nets.network import Network
from pipeline.nets.network_card import window_statuses
from pipeline.nets.window import receptive_fields, window

SIDE = 18
SCALE = torch.linspace(0.5, 2, 4).view(4, 1, 1)
MIXING = torch.eye(4) + 0.1
IDENTITY = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])


class Between(nn.Module):
    """A function of maps of four channels between two convolutions, so that its input and its output are maps."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.below, self.above, self.function = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3), function

    def forward(self, x):
        return self.above(self.function(self.below(x))[:, :4])


def support(network: Network, layer: str, row: int, column: int) -> tuple[int, int, int, int]:
    """The bounding box of the pixels whose change was seen to change a position, for some images; top, left, …"""
    seen = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    for seed in range(3):
        image = (torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) * 80).requires_grad_()
        value = network.run(image, [layer])[layer][:, :, row, column]
        (gradient,) = torch.autograd.grad(value.square().sum(), image)
        seen |= (gradient != 0).any(0).any(0)
    rows, columns = seen.any(1).nonzero()[:, 0], seen.any(0).nonzero()[:, 0]
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def layer_norm_by_hand(x: Tensor) -> Tensor:
    return (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True) + 1e-3).sqrt()


def by_user(x: Tensor) -> Tensor:
    high = torch.maximum(x, -x)
    return torch.where(high > 1, high.sqrt(), high * high) + 0.1 * torch.sin(3 * x)


class Exponential(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        value = x.clamp(min=-1).exp()
        context.save_for_backward(value)
        return value

    @staticmethod
    def backward(context, signal):
        return signal * context.saved_tensors[0]


# name → (function, status, size of the window of two convolutions of 3 × 3 with it in between)
FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], str, tuple[int, int]]] = {
    # Padding, crops, shifts, strides, repetition
    "pad constant": (lambda x: F.pad(x, (1, 2, 0, 1)), "exact", (5, 5)),
    "pad value": (lambda x: F.pad(x, (2, 1, 1, 1), value=0.5), "exact", (5, 5)),
    "pad reflect": (lambda x: F.pad(x, (1, 2, 0, 1), mode="reflect"), "exact", (5, 5)),
    "pad replicate": (lambda x: F.pad(x, (1, 2, 0, 1), mode="replicate"), "exact", (5, 5)),
    "pad circular": (lambda x: F.pad(x, (1, 2, 0, 1), mode="circular"), "exact", (5, 5)),
    "pad channels": (lambda x: F.pad(x, (0, 0, 0, 0, 1, 1)), "probed", (5, 5)),
    "ZeroPad2d": (nn.ZeroPad2d((0, 1, 2, 1)), "exact", (5, 5)),
    "ConstantPad2d": (nn.ConstantPad2d(1, 2.0), "exact", (5, 5)),
    "ReflectionPad2d": (nn.ReflectionPad2d(2), "exact", (5, 5)),
    "crop by padding": (lambda x: F.pad(x, (-1, -2, -1, 0)), "exact", (5, 5)),
    "crop": (lambda x: x[:, :, 2:-3, 1:], "exact", (5, 5)),
    "crop with dots": (lambda x: x[..., 1:12], "exact", (5, 5)),
    "narrow": (lambda x: x.narrow(2, 1, 9), "exact", (5, 5)),
    "select rows": (lambda x: x.index_select(2, torch.tensor([7, 8, 9, 10, 11])), "exact", (5, 5)),
    "roll": (lambda x: x.roll((2, -1), (2, 3)), "exact", (5, 5)),
    "roll channels": (lambda x: x.roll(1, 1), "exact", (5, 5)),
    "flip": (lambda x: x.flip(3), "exact", (5, 5)),
    "flip channels and rows": (lambda x: x.flip((1, 2)), "exact", (5, 5)),
    "half turn": (lambda x: x.rot90(2, (2, 3)), "exact", (5, 5)),
    "strided slices": (lambda x: x[:, :, ::2, 1::3], "exact", (7, 9)),
    "repeat_interleave": (lambda x: x.repeat_interleave(2, 3), "exact", (5, 4)),
    "channels by number": (lambda x: x[:, [3, 1, 0, 2]], "exact", (5, 5)),
    "expand a channel": (lambda x: x * x[:, :1].expand(-1, 4, -1, -1), "exact", (5, 5)),
    "expand_as": (lambda x: x * x[:, 1:2].expand_as(x), "exact", (5, 5)),
    "expand a constant": (lambda x: x + SCALE.expand_as(x[0]), "probed", (5, 5)),
    # Resampling
    "nearest": (lambda x: F.interpolate(x, scale_factor=2), "exact", (4, 4)),
    "nearest-exact": (lambda x: F.interpolate(x, scale_factor=2, mode="nearest-exact"), "exact", (4, 4)),
    "bilinear": (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), "exact", (5, 5)),
    "bilinear, corners": (
        lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True), "exact", (5, 5),
    ),
    "bicubic": (lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"), "exact", (7, 7)),
    "area": (lambda x: F.interpolate(x, scale_factor=2, mode="area"), "exact", (4, 4)),
    "smaller": (lambda x: F.interpolate(x, size=(9, 7), mode="bilinear"), "exact", (8, 10)),
    "smaller, smoothed": (
        lambda x: F.interpolate(x, size=(9, 7), mode="bilinear", antialias=True), "exact", (10, 13),
    ),
    "Upsample": (nn.Upsample(scale_factor=(1.5, 2)), "exact", (4, 4)),
    "grid_sample": (
        lambda x: F.grid_sample(
            x, F.affine_grid(IDENTITY.expand(len(x), -1, -1), list(x.shape), align_corners=False), align_corners=False
        ),
        "probed", (5, 5),
    ),
    "adaptive mean, uneven": (lambda x: F.adaptive_avg_pool2d(x, (7, 5)), "exact", (11, 14)),
    "adaptive maximum, uneven": (lambda x: F.adaptive_max_pool2d(x, (7, 5)), "exact", (11, 14)),
    # Over channels
    "LayerNorm": (lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (4,)).permute(0, 3, 1, 2), "exact", (5, 5)),
    "LayerNorm, made contiguous": (
        lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (4,), SCALE.view(4)).permute(0, 3, 1, 2).contiguous(),
        "exact", (5, 5),
    ),
    "LayerNorm by hand": (layer_norm_by_hand, "probed", (5, 5)),
    "RMS norm": (lambda x: x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-3), "probed", (5, 5)),
    "normalize": (lambda x: F.normalize(x, dim=1), "probed", (5, 5)),
    "softmax": (lambda x: x.softmax(1), "exact", (5, 5)),
    "glu": (lambda x: F.glu(torch.cat([x, x.flip(1)], 1), 1), "probed", (5, 5)),
    "maxout": (lambda x: x.unflatten(1, (4, 1)).amax(2), "probed", (5, 5)),
    "mixed by einsum": (lambda x: torch.einsum("oc,bchw->bohw", MIXING, x), "probed", (5, 5)),
    "mixed by matmul": (lambda x: torch.matmul(MIXING, x.flatten(2)).view(x.shape), "probed", (5, 5)),
    "sorted channels": (lambda x: x.sort(1).values, "probed", (5, 5)),
    "local response, even": (lambda x: F.local_response_norm(x, 4), "probed", (5, 5)),
    # Between channels and positions
    "pixel_unshuffle": (lambda x: F.pixel_unshuffle(x, 2), "probed", (8, 8)),
    "channel_shuffle": (lambda x: F.channel_shuffle(x, 2), "exact", (5, 5)),
    "shuffled by hand": (lambda x: x.unflatten(1, (2, 2)).transpose(1, 2).reshape(x.shape), "exact", (5, 5)),
    "unfold and fold": (lambda x: F.fold(F.unfold(x, 2, stride=2), x.shape[2:], 2, stride=2), "probed", (5, 5)),
    "Tensor.unfold": (lambda x: x.unfold(2, 3, 1).unfold(3, 3, 1).mean((4, 5)), "probed", (7, 7)),
    "wavelet": (lambda x: x[:, :, ::2, ::2] + x[:, :, 1::2, 1::2], "exact", (8, 8)),
    # Sliding, written otherwise
    "blur of each channel": (
        lambda x: F.conv2d(x.flatten(0, 1)[:, None], torch.ones(1, 1, 3, 3), padding=1)[:, 0].view(x.shape),
        "probed", (7, 7),
    ),
    "conv3d": (lambda x: F.conv3d(x[:, None], torch.ones(1, 1, 3, 3, 3), padding=1)[:, 0], "probed", (7, 7)),
    "differences": (lambda x: torch.diff(x, dim=2), "probed", (6, 5)),
    "lp_pool2d": (lambda x: F.lp_pool2d(x, 2, 3, 2), "probed", (9, 9)),
    "pooled and unpooled": (
        lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2), "probed", (6, 6),
    ),
    "mean with a divisor": (lambda x: F.avg_pool2d(x, 3, 1, 1, divisor_override=4), "probed", (7, 7)),
    # Of each entry
    "by the user": (by_user, "exact", (5, 5)),
    "custom autograd function": (Exponential.apply, "exact", (5, 5)),
    "where": (lambda x: torch.where(x > 0, x, x * 0.1), "exact", (5, 5)),
    "masked": (lambda x: x.masked_fill(torch.ones(x.shape[2:]).tril(9) == 0, 0.5), "exact", (5, 5)),
    "an offset of each column": (lambda x: x + torch.arange(x.shape[3]), "probed", (5, 5)),
    "complex numbers": (lambda x: torch.view_as_real(torch.complex(x, x * 2))[..., 1], "probed", (5, 5)),
    "minimum with a mean": (lambda x: torch.minimum(x, F.avg_pool2d(x, 3, 1, 1)), "exact", (7, 7)),
}  # fmt: skip
LOOSE = frozenset({"sorted channels", "adaptive maximum, uneven", "pooled and unpooled", "smaller, smoothed"})
# Their gradient at a few images misses some pixels that another image would show.


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_local_function_keeps_its_locality_and_says_how_that_is_known(name):
    function, status, size = FUNCTIONS[name]
    torch.manual_seed(0)
    module = Between(function)
    network = opened(module, SIDE)
    check_output(network, module, images(2, SIDE))
    assert network.layer("above").spatial and window_statuses(network)["above"] == status
    rows, columns = receptive_fields(network, "above")
    assert (rows.size, columns.size) == size
    check_cones(network, images(2, SIDE))
    check_travels(network, images(1, SIDE))
    row, column = network.layer("above").centre
    seen, box = window(network, "above", row, column), support(network, "above", row, column)
    assert name in LOOSE or (seen.top, seen.left, seen.bottom, seen.right) == box


WHOLE: dict[str, Callable[[Tensor], Tensor]] = {
    "group norm": lambda x: F.group_norm(x, 2),
    "instance norm": lambda x: F.instance_norm(x),
    "gate of the mean": lambda x: x * F.adaptive_avg_pool2d(x, 1).sigmoid(),
    "gate that is expanded": lambda x: x * x.mean((2, 3), keepdim=True).expand_as(x),
    "softmax over positions": lambda x: x.flatten(2).softmax(2).view(x.shape),
    "attention": lambda x: (x.flatten(2).transpose(1, 2) @ x.flatten(2)).softmax(2).mean(1).view(-1, 1, 18, 18) * x,
    "Fourier filter": lambda x: torch.fft.irfft2(torch.fft.rfft2(x) * torch.linspace(1, 0, 10), s=x.shape[2:]),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_a_function_of_all_positions_says_whole_image(name):
    torch.manual_seed(0)
    network = opened(Between(WHOLE[name]), SIDE)
    assert window_statuses(network)["above"] == "whole image"
    check_cones(network, images(1, SIDE), ["above"])


def test_what_no_rule_covers_and_reads_less_than_the_image_is_an_upper_bound():
    """Rows that become columns."""
    torch.manual_seed(0)
    module = Between(lambda x: x.transpose(2, 3))
    network = opened(module, SIDE)
    assert window_statuses(network)["above"] == "upper bound"
    assert window_statuses(network)["below"] == "exact"
    check_output(network, module, images(2, SIDE))
    check_cones(network, images(2, SIDE))


ENTRYWISE: dict[str, Callable[[Tensor], Tensor]] = {
    name: getattr(torch, name)
    for name in (
        "abs", "exp", "exp2", "expm1", "sin", "cos", "tan", "sinh", "cosh", "asinh", "atan", "tanh", "sigmoid", "erf",
        "erfc", "square", "neg", "relu", "selu", "sinc", "frac", "nan_to_num",
    )
} | {
    name: getattr(F, name)
    for name in (
        "relu6", "elu", "celu", "gelu", "silu", "mish", "hardswish", "hardsigmoid", "hardtanh", "leaky_relu",
        "softplus", "softsign", "logsigmoid", "hardshrink", "softshrink", "tanhshrink",
    )
} | {
    "clamp": lambda x: x.clamp(-1, 1),
    "clamp_min": lambda x: torch.clamp_min(x, -0.2),
    "clip": lambda x: torch.clip(x, max=0.7),
    "log": lambda x: torch.log(x.abs() + 1),
    "log2": lambda x: torch.log2(x * x + 1),
    "log10": lambda x: torch.log10(x * x + 1),
    "log1p": lambda x: torch.log1p(x.abs()),
    "sqrt": lambda x: torch.sqrt(x * x + 1),
    "rsqrt": lambda x: torch.rsqrt(x * x + 1),
    "reciprocal": lambda x: torch.reciprocal(x * x + 1),
    "pow": lambda x: torch.pow(x, 3),
    "power of a number": lambda x: 2**x,
    "number over it": lambda x: 1 / (x * x + 1),
    "number minus it": lambda x: 3 - x,
    "remainder": lambda x: x % 0.7,
    "lerp": lambda x: torch.lerp(x, x * 2, 0.3),
    "addcmul": lambda x: torch.addcmul(x, x, x, value=0.5),
    "addcdiv": lambda x: torch.addcdiv(x, x, x * x + 1),
    "atan2": lambda x: torch.atan2(x, x * x + 1),
    "hypot": lambda x: torch.hypot(x, x + 1),
    "logaddexp": lambda x: torch.logaddexp(x, -x),
    "xlogy": lambda x: torch.xlogy(x, x.abs() + 1),
    "fmod": lambda x: torch.fmod(x, 0.7),
    "minimum": lambda x: torch.minimum(x, x * 2),
    "max of two": lambda x: torch.max(x, x * 2),
    "where": lambda x: torch.where(x > 0.1, x, 0.5 * x),
    "where of a constant": lambda x: torch.where(x > 0, x, torch.zeros(())),
    "masked by a comparison": lambda x: x * (x > 0),
    "threshold": lambda x: F.threshold(x, 0.1, -0.3),
    "rounded straight through": lambda x: x + (x.round() - x).detach(),
    "scaled by a map": lambda x: x * torch.linspace(0, 1, SIDE).view(1, 1, SIDE, 1).expand(1, 1, SIDE, SIDE),
    "to and back": lambda x: x.to(torch.float64).to(torch.float32),
}  # fmt: skip


@pytest.mark.parametrize("name", ENTRYWISE)
def test_a_function_of_each_entry_leaves_the_window_as_it_is(name):
    torch.manual_seed(0)
    module = Between(ENTRYWISE[name])
    network = opened(module, SIDE)
    check_output(network, module, images(2, SIDE))
    rows, columns = receptive_fields(network, "above")
    assert (rows.size, rows.stride, rows.first) == (columns.size, columns.stride, columns.first) == (5, 1, -1)
    assert set(window_statuses(network).values()) == {"exact"}


def test_the_list_of_functions_is_long_enough_to_mean_any_name():
    assert len(ENTRYWISE) >= 60


# Random networks -----------------------------------------------------------------------------------------------

BLOCKS = [
    "pad reflect", "crop", "roll", "flip", "strided slices", "bilinear", "smaller", "adaptive mean, uneven",
    "LayerNorm", "LayerNorm by hand", "shuffled by hand", "unfold and fold", "blur of each channel", "by the user",
    "expand_as", "minimum with a mean", "lp_pool2d", "pad circular",
]  # fmt: skip


class Stack(nn.Module):
    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.names = names
        self.convs = nn.ModuleList(nn.Conv2d(3 if at == 0 else 4, 4, 3, padding=1) for at in range(len(names)))

    def forward(self, x):
        for conv, name in zip(self.convs, self.names, strict=True):
            y = FUNCTIONS[name][0](F.relu(conv(x)))
            if min(y.shape[2:]) < 6:  # too small for what follows
                break
            x = y + x if y.shape == x.shape else y
        return x


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(names=st.lists(st.sampled_from(BLOCKS), min_size=2, max_size=4), at=st.tuples(*[st.floats(0, 0.999)] * 2))
def test_a_cone_computes_the_full_value_at_any_position_of_random_networks(names, at):
    torch.manual_seed(0)
    network, image = opened(Stack(names), SIDE), images(2, SIDE)
    last = network.layers[list(network.layers)[-1]]
    row, column = int(at[0] * last.height), int(at[1] * last.width)
    given_image = image.clone().requires_grad_()
    value = network.run(given_image, [last.name])[last.name]
    (gradient,) = torch.autograd.grad(value[:, :, row, column].sum(), given_image)
    seen = window(network, last.name, row, column)
    part = (slice(None), slice(None), slice(seen.top, seen.bottom), slice(seen.left, seen.right))
    assert gradient.abs().sum() == gradient[part].abs().sum() or torch.isclose(
        gradient.abs().sum(), gradient[part].abs().sum(), rtol=1e-5
    )
    assert torch.count_nonzero(gradient) == torch.count_nonzero(gradient[part])
    found = Cone(network, last.name, (row, column)).values(image[part])
    assert (found - value[:, :, row, column]).abs().max() <= 1e-4 * value.abs().max()
    assert window_statuses(network)[last.name] in ("exact", "probed")
