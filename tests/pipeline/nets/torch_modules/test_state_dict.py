"""The tensors of a file that are a module's are found wherever they are, and misfits are named."""

from __future__ import annotations

import logging
import pickle
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from pipeline.errors import WeightsError
from pipeline.nets.torch_modules import load_state

State = dict[str, Tensor]


def small(width: int = 4, seed: int = 2) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 2))


class Net(nn.Module):
    """A network with names in place of numbers, for which a prefix can be anything."""

    def __init__(self, seed: int = 2, depth: int = 1) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.layer1 = nn.ModuleDict({str(i): nn.Conv2d(4, 4, 1) for i in range(depth)})
        self.out = nn.Linear(4, 2)


def state(seed: int = 2, depth: int = 1) -> State:
    return Net(seed, depth).state_dict()


def under(prefix: str, seed: int = 2) -> State:
    return {f"{prefix}{name}": value for name, value in state(seed).items()}


def seed_of(content: dict, key: str | None = None, module: nn.Module | None = None) -> int:
    """The seed of the network whose weights were loaded."""
    module = Net(seed=99) if module is None else module
    load_state(module, content, "w.pt", key)
    loaded = [value for name, value in module.named_parameters() if name.endswith("conv.weight")][0]
    return next(seed for seed in range(10) if torch.equal(Net(seed).conv.weight, loaded))


def compiled(module: nn.Module) -> nn.Module:
    return torch.compile(module, backend="eager")


def refused(content: dict, module: nn.Module | None = None, source: str = "w.pt", key: str | None = None) -> str:
    module = Net() if module is None else module
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        load_state(module, content, source, key)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert "\n" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    return str(caught.value)


# Prefixes and containers -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "module.",
        "model.",
        "net.",
        "backbone.",
        "_orig_mod.",
        "module._orig_mod.",
        "teacher.",
        "a.b.c.module.",
        "x.",
    ],
)
@pytest.mark.parametrize("containers", [[], ["state_dict"], ["net"], ["checkpoint", "model", "0"], ["module"]])
def test_any_common_prefix_in_any_container_is_found(prefix, containers):
    content: dict = under(prefix, seed=5)
    for container in containers:
        content = {container: content, "epoch": {"best": torch.tensor(3)}}
    assert seed_of(content) == 5


@pytest.mark.parametrize("between", ["module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"])
def test_a_wrapper_of_a_part_is_passed_over(between):
    """As torchvision's example saves VGG, whose features alone are DataParallel."""
    content = {name.replace("layer1.", f"layer1.{between}."): value for name, value in under("model.", 5).items()}
    assert seed_of(content) == 5


@pytest.mark.parametrize("wrap", [nn.DataParallel, compiled, lambda net: nn.ModuleDict({"net": net})])
@pytest.mark.parametrize("prefix", ["", "module.", "model."])
def test_a_wrapped_module_takes_the_weights_of_the_module_inside(wrap, prefix):
    assert seed_of(under(prefix, 5), module=wrap(Net(99))) == 5


def test_weights_that_are_saved_module_by_module_are_found():
    net = Net(5)
    content = {name: part.state_dict() for name, part in net.named_children()}
    assert seed_of({"best": content, "lr": torch.tensor(0.1)}) == 5


def test_a_module_whose_names_contain_those_of_wrappers_is_loaded():
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Linear(2, 2)
            self._orig_mod = nn.ModuleDict({"module": nn.Linear(2, 2)})

    torch.manual_seed(0)
    module, source = Both(), Both()
    load_state(module, {"model": source.state_dict()}, "w.pt")
    assert torch.equal(module._orig_mod["module"].weight, source._orig_mod["module"].weight)


def test_half_precision_becomes_the_type_of_the_module():
    content = {name: value.bfloat16() if value.is_floating_point() else value for name, value in state(5).items()}
    module = Net()
    load_state(module, content, "w.pt")
    assert module.conv.weight.dtype == torch.float32
    assert torch.equal(module.conv.weight, Net(5).conv.weight.bfloat16().float())


def test_a_lazy_module_takes_its_shapes_from_the_file():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # lazy modules are declared experimental
        module = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(2))
    source = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    load_state(module, {"model": source.state_dict()}, "w.pt")
    assert torch.equal(module(torch.ones(1, 3, 4, 4)), source(torch.ones(1, 3, 4, 4)))


def test_one_of_two_names_of_a_shared_tensor_is_enough():
    """As safetensors files hold shared tensors."""
    module = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    module["b"].weight = module["a"].weight
    content = {name: torch.ones_like(value) for name, value in module.state_dict().items() if name != "b.weight"}
    load_state(module, content, "w.safetensors")
    assert module["b"].weight.eq(1).all()


# Several sets of weights -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "average",
    [
        "ema",
        "model_ema",
        "state_dict_ema",
        "ema_state_dict",
        "averaged_model",
        "swa_model",
        "modelEma",
        "momentum_encoder",
        "ema.module",
    ],  # fmt: skip
)
@pytest.mark.parametrize("nested", [True, False])
def test_plain_weights_come_before_their_moving_average(average, nested, caplog):
    plain, averaged = ("model.", f"{average}.")
    content = under(averaged, 6) | under(plain, 5)
    if nested:
        content = {average: state(6), "model": state(5)}
    with caplog.at_level(logging.WARNING, "atlas"):
        assert seed_of(content) == 5
    assert caplog.messages == [
        f"weights w.pt: takes the weights below model, not {average}, which fit too; model.weights_key=… chooses"
    ]
    assert seed_of(content, key=average) == 6


def test_a_moving_average_alone_is_taken_without_a_word(caplog):
    assert seed_of({"ema": state(6), "optimizer": {"exp_avg": state(7)}}) == 6
    assert seed_of({"model_state": {}, "optim": state(7), "ema": {"module": under("module.", 6)}}) == 6
    assert caplog.messages == []


def test_the_outermost_weights_are_taken_before_copies_beside_them(caplog):
    assert seed_of(state(5) | {"backup": state(6)}) == 5
    assert "takes the weights of the outermost dict, not backup" in caplog.text


def test_of_two_sets_that_fit_none_is_guessed():
    content = {"student": under("module.backbone.", 5), "teacher": under("backbone.", 6)}
    assert refused(content) == (
        "weights w.pt: holds 2 sets of weights that fit, student.module.backbone, teacher.backbone; "
        "choose one by model.weights_key=student.module.backbone"
    )
    assert seed_of(content, key="teacher") == 6
    assert seed_of(content, key="student.module") == 5
    assert seed_of({"state": content}, key="teacher") == seed_of({"state": content}, key="state.teacher") == 6
    assert "holds nothing below 'techer' (nearest: teacher), but student, teacher" in refused(content, key="techer")


def test_the_same_weights_twice_are_no_question(caplog):
    assert seed_of({"state_dict": state(5), "model": under("module.", 5)}) == 5
    assert caplog.messages == []


def test_a_set_that_does_not_fit_is_no_candidate():
    generator = {"conv.weight": torch.zeros(4, 8, 3, 3), "out.weight": torch.zeros(2, 4)}
    assert seed_of({"generator": generator, "encoder": state(5), "decoder": under("net.", 5)}) == 5


def test_a_part_with_the_same_names_does_not_replace_the_whole():
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

    weight = {name.removeprefix("conv."): value for name, value in state(5).items() if name.startswith("conv.")}
    content = {f"{prefix}conv.{name}": value for prefix in ("", "block.") for name, value in weight.items()}
    assert "block.conv.weight is not of this network and 1 more" in refused(content, One())


# Normalized and pruned weights -----------------------------------------------------------------------


def normalized(norm: Callable[[nn.Module], nn.Module]) -> nn.Module:
    net = small()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of the older functions
        net[0], net[4] = norm(net[0]), norm(net[4])
    return net.eval()


NORMS = {
    "weight_norm": (nn.utils.weight_norm, parametrizations.weight_norm),
    "spectral_norm": (nn.utils.spectral_norm, parametrizations.spectral_norm),
}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("source", [0, 1])
@pytest.mark.parametrize("target", [0, 1])
def test_older_and_newer_names_of_normalized_weights_are_the_same(norm, source, target):
    saved, module = normalized(NORMS[norm][source]), normalized(NORMS[norm][target])
    for value in module.parameters():
        value.data.zero_()
    load_state(module, {"model": saved.state_dict()}, "w.pt")
    image = torch.randn(1, 3, 9, 9)
    assert torch.allclose(module(image), saved(image), atol=1e-6)


@pytest.mark.parametrize("norm", [*NORMS["weight_norm"], lambda net: parametrizations.weight_norm(net, dim=None),
                                  lambda net: prune.random_unstructured(net, "weight", 0.5)])  # fmt: skip
def test_normalized_and_pruned_weights_fit_a_plain_module(norm):
    saved, module = normalized(norm), small(seed=99)
    load_state(module, {"model": saved.state_dict()}, "w.pt")
    image = torch.randn(1, 3, 9, 9)
    assert torch.allclose(module(image), saved(image), atol=1e-6)


# More tensors than the module has --------------------------------------------------------------------


@pytest.mark.parametrize(
    "extra",
    [
        {"total_ops": torch.zeros(1), "conv.total_params": torch.zeros(1)},  # of a profiler
        {"n_averaged": torch.tensor(3)},
        {"layer1.attn_mask": torch.zeros(3, 3), "layer1.relative_position_index": torch.zeros(3)},
        {"logit_scale": torch.tensor(2.6)},
        {"optimizer": {"state": {"0": {"exp_avg": torch.zeros(3)}}}},
    ],
)
def test_tensors_that_decide_nothing_are_passed_over(extra, caplog):
    assert seed_of(state(5) | extra) == 5
    assert seed_of({"state_dict": state(5) | extra}) == 5
    assert caplog.messages == []


@pytest.mark.parametrize("prefix", ["criterion.", "loss_fn.", "other.", "head."])
def test_what_is_not_below_the_prefix_is_passed_over(prefix):
    assert seed_of(under("model.", 5) | {f"{prefix}weight": torch.ones(3)}) == 5


def test_heads_that_the_module_lacks_are_left_out_and_logged(caplog):
    heads = {"aux1.conv.weight": torch.ones(2), "AuxLogits.fc.bias": torch.ones(2), "fc.weight": torch.ones(2, 2)}
    assert seed_of({"model": under("module.", 5) | {f"module.{name}": value for name, value in heads.items()}}) == 5
    assert caplog.messages == [
        "weights w.pt, model.module: leaves out aux1.conv.weight, AuxLogits.fc.bias, fc.weight, "
        "heads that this network does not have"
    ]


def test_counters_of_batch_normalisation_may_be_missing():
    content = {name: value for name, value in state(5).items() if "num_batches" not in name}
    assert seed_of(content) == 5


@pytest.mark.parametrize("prefix", ["", "model."])
def test_weights_of_a_deeper_network_are_refused(prefix):
    """All of the module's tensors are there and fit, but the network is another."""
    deeper = {f"{prefix}{name}": value for name, value in state(5, depth=3).items()}
    where = "weights w.pt, model" if prefix else "weights w.pt"
    assert refused(deeper) == (
        f"{where}: layer1.1.weight is not of this network and 3 more; give the weights of this network"
    )
    tree: dict = {}
    for name, value in deeper.items():  # nested by module
        *path, last = name.split(".")
        inner = tree
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = value
    assert "layer1.1.weight is not of this network" in refused(tree)


@pytest.mark.parametrize("name", ["layer2.0.weight", "conv2.weight", "out2.bias", "extra", "stem.weight"])
def test_a_tensor_that_may_matter_is_refused(name):
    assert f"{name} is not of this network; give" in refused(state() | {name: torch.ones(2)})


# Tensors that do not fit -----------------------------------------------------------------------------


def test_a_state_of_another_network_is_refused_by_name_and_changes_nothing():
    content = small(width=5).state_dict()
    content["head.bias"] = content.pop("4.bias")
    content["extra"] = torch.zeros(1)
    assert refused(content, small(width=4), "other.pt") == (
        "weights other.pt: 0.weight has shape (5, 3, 3, 3), expected (4, 3, 3, 3); 4.bias is missing "
        "(nearest: head.bias); head.bias is not of this network and 1 more; give the weights of this network"
    )


def test_a_misfit_in_a_container_is_named_with_it():
    content = under("model.", 5)
    del content["model.norm.running_var"]
    assert refused({"optimizer": state(), "state_dict": content}) == (
        "weights w.pt, state_dict.model: norm.running_var is missing; give the weights of this network"
    )


def test_weights_without_a_name_of_the_network_show_the_names_they_have():
    assert refused({"state_dict": {f"features.{i}.weight": torch.ones(2) for i in range(5)}}) == (
        "weights w.pt: none of its 5 tensors has a name of this network; it holds state_dict.features.0.weight, "
        "state_dict.features.1.weight, state_dict.features.2.weight, …, "
        "expected conv.weight, conv.bias, norm.weight, …; "
        "give the weights of this network"
    )


def test_an_empty_state_is_refused():
    assert "holds no tensors by name" in refused({})


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_one_number_fits_one_number(shape):
    module = nn.ParameterDict({"scale": nn.Parameter(torch.tensor(1.0)), "other": nn.Parameter(torch.ones(1))})
    load_state(module, {name: torch.full(shape, 3.0) for name in ("scale", "other")}, "w.pt")
    assert (module["scale"].item(), module["other"].tolist()) == (3.0, [3.0])


# Values that are not finite --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, values, words",
    [
        ("conv.weight", [torch.nan] * 3, "conv.weight holds 3 NaN of 108; give weights that are finite"),
        ("conv.bias", [torch.inf, -torch.inf], "conv.bias holds 2 infinite of 4; give"),
        ("out.bias", [torch.nan, torch.inf], "out.bias holds 1 NaN and 1 infinite of 2; give"),
        ("norm.running_var", [torch.inf], "norm.running_var holds 1 infinite of 4; give"),
        ("norm.running_mean", [torch.nan], "norm.running_mean holds 1 NaN of 4; give"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_weights_that_are_not_finite_are_refused_by_name(name, values, words, dtype):
    content = {key: value.clone().to(dtype) if value.is_floating_point() else value for key, value in state().items()}
    content[name].view(-1)[: len(values)] = torch.tensor(values, dtype=dtype)
    assert words in refused(content)


def test_several_tensors_that_are_not_finite_are_counted():
    content = {name: value * torch.nan if value.is_floating_point() else value for name, value in state().items()}
    assert "conv.weight holds 108 NaN of 108 and 9 more; give" in refused(content)


def test_numbers_too_large_for_the_type_of_the_module_are_refused():
    content = {name: value.double() for name, value in state().items()}
    content["out.bias"][0] = 1e300
    assert "out.bias holds 1 infinite of 2" in refused(content)


def test_a_mask_may_be_infinite():
    class Masked(Net):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mask", torch.zeros(2))

    module = Masked()
    load_state(module, state(5) | {"mask": torch.tensor([0.0, -torch.inf])}, "w.pt")
    assert module.mask.tolist() == [0.0, -torch.inf]
    assert "mask holds 1 NaN of 2" in refused(state(5) | {"mask": torch.tensor([0.0, torch.nan])}, module)
