"""What a GPU runs, part by part, on a device that the caller gives: each part compares with the CPU."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / folder) for folder in (".", "methods", "nets", "training/priors")] + [str(HERE.parents[1])]

import golden  # noqa: E402
from cards import ASCENT, STYLE  # noqa: E402
from cards import DEVICE as SIZES  # noqa: E402
from folder_prior import untrained  # noqa: E402
from networks import NETWORKS  # noqa: E402
from tiny_prior import network  # noqa: E402

from pipeline.compute import compute  # noqa: E402
from pipeline.methods.ascent import compute as ascent_compute  # noqa: E402
from pipeline.methods.ascent.regularizers import percentiles  # noqa: E402
from pipeline.methods.ascent.settings import StyleRecord  # noqa: E402
from pipeline.methods.ascent.task import AscentTask  # noqa: E402
from pipeline.methods.dgn import compute as dgn_compute  # noqa: E402
from pipeline.methods.dgn.settings import RunRecord  # noqa: E402
from pipeline.methods.dgn.task import DgnTask  # noqa: E402
from pipeline.methods.memorisation import compute as memorisation_compute  # noqa: E402
from pipeline.methods.tops import compute as tops_compute  # noqa: E402
from pipeline.nets import operators, rearranging, sliding  # noqa: E402
from pipeline.nets.backward import RULES, BackwardPass  # noqa: E402
from pipeline.nets.cone import layer_cone  # noqa: E402
from pipeline.nets.interval import Interval  # noqa: E402
from pipeline.priors.card import prior_card  # noqa: E402
from pipeline.priors.generator import Generator, GeneratorShape  # noqa: E402
from pipeline.priors.windowed import windowed  # noqa: E402
from pipeline.resources import Resources  # noqa: E402
from pipeline.store.shard import Shard  # noqa: E402

CLOSE = {"rtol": 1e-3, "atol": 1e-3}
COMPUTING = (ascent_compute, dgn_compute, memorisation_compute, tops_compute)


@dataclass(frozen=True)
class Place:
    """A device. entered : gives a context in which it can be used."""

    device: torch.device
    entered: Callable[[], AbstractContextManager] = nullcontext


@contextmanager
def computing(place: Place) -> Iterator[None]:
    """Let tasks compute on the device."""
    kept = [module.prepare for module in COMPUTING]
    for module in COMPUTING:
        module.prepare = lambda *given, prepare=module.prepare: (prepare(*given), place.device)[1]
    try:
        with place.entered():
            yield
    finally:
        for module, prepare in zip(COMPUTING, kept, strict=True):
            module.prepare = prepare


# The parts --------------------------------------------------------------------------------------------


def tasks(place: Place) -> None:
    """Every kind of task gives its golden numbers."""
    with computing(place):
        made = golden.results()
    kept = json.loads(golden.FILE.read_text())
    for kind, result in made.items():
        for name, values in result["numbers"].items():
            assert np.allclose(values, kept[kind]["numbers"][name], **CLOSE), (kind, name, values)


def styles(place: Place) -> None:
    """All regularizers, step rules, transforms and both canvases climb as on the CPU."""
    net = network()
    regularizers = {"decay": 0.02, "blur_radius": 0.7, "blur_every": 2, "small_val_percentile": 15.0,
                    "small_norm_percentile": 20.0, "px_benefit_percentile": 10.0,
                    "px_abs_benefit_percentile": 15.0}  # fmt: skip
    for number, changes in enumerate((
        {"policy": "constant", "start_image": "randu"},
        {"policy": "progress", "jitter": 0.2},
        {"policy": "progress01", "direction": "minimize", "start_image": "mean"},
        {"keep": "last", "keep_from": 2},
    )):  # fmt: skip
        ascent = replace(ASCENT, canvas=("window", "image")[number % 2], start=("item", "reference")[number // 2])
        style = StyleRecord(replace(STYLE, **regularizers, **changes), ascent, 0, SIZES)
        for layer in ("conv1", "prob"):
            _same(place, AscentTask(net.digest, layer, (0, 2, 3), (0,), style, 2, 1.0), Resources(net))


def windows(place: Place) -> None:
    """Generators climb on windows as on the CPU, with pairs of units and with probabilities."""
    net, prior = network(), untrained(entries=5)
    resources = Resources(net, None, {prior.digest: prior})
    settings = replace(golden._run_settings(), fresh_starts=2)
    run = RunRecord("run", prior_card(prior), settings, None, 0, SIZES)
    for layer in ("conv1", "fc", "prob"):
        items = (((1, 1.0),), ((2, 1.0), (3, 0.5)))
        _same(place, DgnTask(net.digest, layer, items, (0,), run, 0.3, 2, 1.0), resources)
    shape = GeneratorShape((3, 5, 4), (28, 24), 6, 8, 3, 14, 0.2, 0.7, notch=True)  # whose code is stretched
    drawing, codes = Generator(shape).eval().requires_grad_(False), torch.randn(2, 3, 5, 4)
    window = Interval(3, 9), Interval(0, 24)
    expected = windowed(drawing, shape.code, *window)(codes)
    with place.entered():
        _equal(place, windowed(drawing.to(place.device), shape.code, *window)(codes.to(place.device)), expected)


def _same(place: Place, task: AscentTask | DgnTask, resources: Resources) -> None:
    expected = Shard(compute(task, resources), "here")
    with computing(place):
        made = Shard(compute(task, resources), "there")
    for name in ("status", "attempt", "activation", "activation_float", "trace"):
        got, wanted = (np.asarray(shard.array(name), np.float64) for shard in (made, expected))
        assert np.allclose(got, wanted, **CLOSE, equal_nan=True), (task.layer, name, got, wanted)


def networks(place: Place) -> None:
    """Whole passes, cones and backward passes of networks with every kind of structure equal those on the CPU."""
    for build in NETWORKS.values():
        net = build()
        size = net.preprocessing
        image = torch.randn(2, 3, size.height, size.width, generator=torch.Generator().manual_seed(1)) * 50
        names = list(net.layers)
        expected = net.run(image, names)
        with place.entered():
            moved = net.to(device=place.device)
            for name, value in moved.run(image.to(place.device), names).items():
                _equal(place, value, expected[name])
            for name in names:
                layer, cone = net.layer(name), layer_cone(moved, name, "window")
                at = cone.window
                part = image[:, :, at.top : at.bottom, at.left : at.right].to(place.device)
                row, column = layer.centre
                whole = expected[name][:, :, row, column] if expected[name].dim() == 4 else expected[name]
                _equal(place, cone.values(part), whole)
                units = torch.zeros(2, dtype=torch.int64, device=place.device)
                leaf = part.requires_grad_()
                (slope,) = torch.autograd.grad(cone.activations(leaf, units).sum(), leaf)
                assert slope.device.type == place.device.type


def parts(place: Place) -> None:
    """Operators that the networks lack give the CPU's values, and their gradients exist."""
    random = torch.Generator().manual_seed(2)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    x = numbers(2, 4, 6, 7)
    for operator in (
        sliding.Interpolation((9, 5), 1, 0),
        sliding.Enlarged((2, 3), (1, 0)),
        sliding.Switches((2, 2), (2, 2), (0, 0), "caffe"),
        sliding.Crop((1, 2), (3, 3)),
        sliding.AveragePool((3, 2), (2, 2), (1, 1), "torch", count_padding=False),
        sliding.WithinChannelNorm(3, 0.5, 0.75),
        rearranging.Moved([3, 0, 1], [-1, 0, 1, 5], [6, 5, -1, 0], 2.0),
        rearranging.Resize(numbers(3, 6), numbers(4, 7)),
        rearranging.UnevenMaxPool((4, 3)),
        rearranging.Constant(numbers(3, 2, 2)),
        rearranging.TokenConcat(),
        rearranging.LayerNorm(numbers(4), numbers(4), 1e-5),
        operators.ChannelOrder([2, 2, 0]),
        operators.Rearrangement(torch.randperm(4 * 6 * 7, generator=random).view(7, 6, 4)),
        operators.Tiled(2, 1),
        operators.UnitNorm(numbers(4), 1e-5, True),
        operators.Standardized(True, True, 1e-5),
        operators.PRelu(numbers(4).abs()),
        operators.GlobalPool("max"),
    ):
        expected = operator(x)
        with place.entered():
            given = x.to(place.device).requires_grad_()
            got = operator.to(place.device)(given)
            _equal(place, got, expected)
            if got.requires_grad:
                torch.autograd.grad(got.square().sum(), given, allow_unused=True)
    for percentile in (0.0, 12.5, 50.0, 99.0, 100.0):
        values = numbers(3, 41).round(decimals=1)
        with place.entered():
            got = percentiles(values.to(place.device), percentile)
            assert torch.equal(got.cpu(), percentiles(values, percentile))


def backward(place: Place) -> None:
    """Back-projections by every rule equal those on the CPU."""
    net = NETWORKS["caffenet_like"]()
    size = net.preprocessing
    image = torch.randn(2, 3, size.height, size.width, generator=torch.Generator().manual_seed(1)) * 50
    units, positions = torch.tensor([0, 1]), torch.tensor([[0, 0], [0, 0]])
    layer = next(name for name in reversed(list(net.layers)) if net.layers[name].kind == "fc")

    def signals(where: torch.device) -> Tensor:
        cone = layer_cone(net.to(device=where), layer, "window")
        passed = BackwardPass(cone, image.to(where), ignore_norms=False)
        return passed.signals(units.to(where), positions.to(where), RULES)

    expected = signals(torch.device("cpu"))
    with place.entered():
        _equal(place, signals(place.device), expected)


def training(place: Place) -> None:
    """A prior trains, resumes from its checkpoint, measures its errors and is written."""
    import test_training as tested

    from pipeline.training.priors import training as trained
    from pipeline.training.priors.process_group import ProcessGroup

    group = ProcessGroup(0, 1, place.device)
    with tempfile.TemporaryDirectory() as folder, place.entered():
        snapshots: list[int] = []
        for until in (4, 8):
            request = trained.PriorRequest("tiny_fc", "fc", tested.RECIPE, "free", 16, 8, None, until)
            kept, held_out = tested.pictures().split(8, 0)
            made = trained.train_prior(
                request, tested.network(), kept, held_out, Path(folder), log=lambda line: None, group=group,
                metrics=lambda step, measured: None, snapshot=lambda step, shown, drawn: snapshots.append(step),
            )  # fmt: skip
        assert made is not None and snapshots
        assert all(np.isfinite(error.pixel) for error in made.errors.values())
        stored = made.prior.generator.state_dict().values()
        assert all(value.device.type == "cpu" for value in stored)


def _equal(place: Place, got: Tensor, expected: Tensor) -> None:
    assert got.device.type == place.device.type
    scale = max(1.0, float(expected.detach().abs().max()))
    assert (got.detach().cpu() - expected.detach()).abs().max() <= 1e-3 * scale


PARTS = {part.__name__: part for part in (tasks, styles, windows, networks, parts, backward, training)}
