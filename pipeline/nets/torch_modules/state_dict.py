"""Loads tensors into a torch module: finds those of a file's tensors that are the module's, or says why none are."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from pipeline.errors import WeightsError, nearest
from pipeline.nets.finite import not_finite
from pipeline.nets.torch_modules.pickled import State

log = logging.getLogger("atlas")

# Parts of names that DataParallel, torch.compile, FSDP and activation checkpointing insert.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_OLDER_NAMES = (  # of the tensors of a parametrized weight → before torch.nn.utils.parametrize
    (re.compile(r"parametrizations\.(\w+)\.original0$"), r"\1_g"),
    (re.compile(r"parametrizations\.(\w+)\.original1$"), r"\1_v"),
    (re.compile(r"parametrizations\.(\w+)\.original$"), r"\1_orig"),
    (re.compile(r"parametrizations\.(\w+)\.0\._([uv])$"), r"\1_\2"),
)
# What a module computes by itself, and counters of training and of profilers: may be missing, and may be extra.
_DERIVED = re.compile(
    r"(^|\.)(num_batches_tracked|n_averaged|total_ops|total_params|position_ids|relative_position_index|"
    r"relative_coords_table|attn_mask)$"
)
_HEAD = re.compile(r"aux|head|fc|classif|logits|last_linear|pred|proj|decode|criterion|loss|metric", re.IGNORECASE)
_TRAINING = re.compile(r"(^|\.)(optim\w*|exp_avg\w*|momentum_buffer|grads?|gradients)(\.|$)", re.IGNORECASE)
_AVERAGE = re.compile(r"(?<![a-z])(ema|averaged?|avg|swa|shadow|momentum)(?![a-z])")
_PART = re.compile(r"-\d+-of-\d+\.")  # in the name of one file of several
_SHOWN = 3  # names that a message lists


def load_state(module: nn.Module, state: State, source: str | Path, key: str | None = None) -> None:
    """Load those tensors of a file that are the module's.

    They may be nested, and their names may share a prefix: state_dict.model.conv1.weight can be conv1.weight. Parts of
    names that wrappers insert do not count, and weights under a normalization may have their older or newer names.

    state : name → tensor, or → such a dict.
    source : the file, for messages.
    key : parts of the prefix of the tensors to take, such as "teacher" or "state_dict.teacher". With None, they are the
        set that fits; the plain one if its moving average fits too.
    Raises WeightsError, and leaves the module unchanged, if a tensor is missing, has another shape, is not of this
    module or is not finite, or if several sets fit. The message names the first tensor of each kind of fault.
    """
    where = f"weights {source}"
    network = _Expected(module)
    entries = list(_entries(state))
    if key is not None:
        entries = _below(entries, key, where)
    if not network.holds_norms:
        entries = _folded(entries)
    fit = _chosen(network, entries, where)
    where += f", {fit.prefix}" if fit.prefix else ""
    if faults := _faults(network, fit, entries, where):
        part = "; this is one of several files: give their .index.json" if _PART.search(Path(source).name) else ""
        raise WeightsError(f"{where}: {'; '.join(faults)}; give the weights of this network{part}")
    values = {name: network.cast(name, entry.tensor) for name, entry in fit.taken.items()}
    _refuse_not_finite(values, network.parameters, where)
    try:
        module.load_state_dict(values, strict=False)  # derived tensors may be missing
    except RuntimeError as error:  # of the module's own loading code
        line = " ".join(str(error).split())
        raise WeightsError(f"{where}: the network refuses them ({line}); give the weights of this network") from None


# Names -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Entry:
    """A tensor of the file.

    containers : keys of the dicts in which it is nested, outermost first.
    name : its key in the innermost.
    """

    containers: tuple[str, ...]
    name: str
    tensor: Tensor

    @property
    def path(self) -> str:
        return ".".join((*self.containers, self.name))


@dataclass(frozen=True, eq=False)
class _Fit:
    """The tensors below one prefix that have names of the module.

    taken : name in the module → tensor of the file.
    """

    prefix: str
    taken: Mapping[str, _Entry]

    @property
    def is_average(self) -> bool:
        """Whether the prefix names a moving average of weights."""
        return _AVERAGE.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", self.prefix).lower()) is not None


class _Expected:
    """The tensors that a module has.

    names : comparable name → name in the module.
    parameters : names of those that training changes.
    """

    def __init__(self, module: nn.Module) -> None:
        self.tensors = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
        self.parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}
        self._wrappers = _WRAPPERS
        self.names = {self._comparable(name): name for name in self.tensors}
        if len(self.names) < len(self.tensors):  # a module that really has both names
            self._wrappers = set()
            self.names = {self._comparable(name): name for name in self.tensors}
        self._tied: dict[tuple[int, torch.Size], set[str]] = {}  # names of one tensor; a file may hold only one of them
        for name, value in self.tensors.items():
            if not is_lazy(value) and value.numel() and not value.is_meta:
                self._tied.setdefault((value.data_ptr(), value.shape), set()).add(name)
        self.holds_norms = any(name.endswith(("_g", "_orig")) for name in self.names)

    @property
    def required(self) -> list[str]:
        return [name for name in self.tensors if not _DERIVED.search(name)]

    def missing(self, fit: _Fit) -> list[str]:
        """The required names without a tensor."""
        tied = {name: names for names in self._tied.values() for name in names}
        return [name for name in self.required if not fit.taken.keys() & {name, *tied.get(name, ())}]

    def variants(self) -> Iterator[dict[str, str]]:
        """The names; then without the first part that all of them share, because the file may hold what is below."""
        names = self.names
        while names:
            yield names
            first = {name.partition(".")[0] if "." in name else "" for name in names}
            if len(first) > 1 or "" in first or first.pop().isdecimal():
                return
            names = {name.partition(".")[2]: path for name, path in names.items()}

    def fits(self, entries: Iterable[_Entry], names: Mapping[str, str]) -> list[_Fit]:
        """For every prefix, the tensors below it that have one of these names."""
        taken: dict[str, dict[str, _Entry]] = {}
        for entry in entries:
            parts = entry.path.split(".")
            for cut, part in enumerate(parts):
                name = names.get(self._comparable(".".join(parts[cut:])))
                prefix = ".".join(parts[:cut])
                if name is not None and part not in self._wrappers and not _TRAINING.search(prefix):
                    taken.setdefault(prefix, {}).setdefault(name, entry)
        return [_Fit(prefix, found) for prefix, found in taken.items()]

    def accepts(self, name: str, tensor: Tensor) -> bool:
        """Whether a tensor has the shape of that name; one number fits one number, with or without an axis."""
        expected = self.tensors[name]
        return is_lazy(expected) or tensor.shape == expected.shape or tensor.numel() == expected.numel() == 1

    def is_complete(self, fit: _Fit) -> bool:
        return not self.missing(fit) and all(self.accepts(name, entry.tensor) for name, entry in fit.taken.items())

    def cast(self, name: str, tensor: Tensor) -> Tensor:
        """The tensor in the type and shape of that name."""
        expected = self.tensors[name]
        return tensor.to(expected.dtype) if is_lazy(expected) else tensor.to(expected.dtype).reshape(expected.shape)

    def has_below(self, part: str) -> bool:
        """Whether the module has tensors in a branch, or in one that differs only by a number, such as layer3."""
        return any(_stem(name.partition(".")[0]) == _stem(part) for name in self.names)

    def _comparable(self, name: str) -> str:
        return ".".join(part for part in _older(name).split(".") if part not in self._wrappers)


def _entries(state: State, containers: tuple[str, ...] = ()) -> Iterator[_Entry]:
    for name, value in state.items():
        if isinstance(value, Tensor):
            yield _Entry(containers, name, value)
        else:
            yield from _entries(value, (*containers, name))


def _below(entries: Sequence[_Entry], key: str, where: str) -> list[_Entry]:
    below = [entry for entry in entries if f".{key}." in f".{entry.path}"]
    if not below:
        first = list(dict.fromkeys(entry.path.partition(".")[0] for entry in entries))
        parts = {part for entry in entries for part in entry.path.split(".")}
        raise WeightsError(
            f"{where}: holds nothing below {key!r}{nearest(key, parts)}, but {_listed(first)}; "
            "correct model.weights_key"
        )
    return below


def _folded(entries: Sequence[_Entry]) -> list[_Entry]:
    """The entries with the weights that a normalization (g · v / |v|) or pruning (weight · mask) stands for."""
    by_path = {_older(entry.path): entry for entry in entries}
    folded, used = [], set()
    for path, entry in by_path.items():
        for first, second, fold in (("_g", "_v", _normalized), ("_orig", "_mask", _masked)):
            other = by_path.get(f"{path.removesuffix(first)}{second}") if path.endswith(first) else None
            if other is not None and (weight := fold(entry.tensor, other.tensor)) is not None:
                name = _older(entry.name).removesuffix(first)
                folded.append(_Entry(entry.containers, name, weight))
                used |= {id(entry), id(other)}
    return [*(entry for entry in entries if id(entry) not in used), *folded]


def _normalized(length: Tensor, direction: Tensor) -> Tensor | None:
    """length · direction / |direction|; the norm is taken along the axes on which the length does not depend."""
    shape = length.shape if length.dim() else (1,) * direction.dim()
    if len(shape) != direction.dim() or any(a not in (1, b) for a, b in zip(shape, direction.shape, strict=True)):
        return None
    axes = [axis for axis, size in enumerate(shape) if size == 1]
    norm = torch.linalg.vector_norm(direction.float(), dim=axes, keepdim=True)
    return (length.float() * direction.float() / norm).to(direction.dtype)


def _masked(weight: Tensor, mask: Tensor) -> Tensor | None:
    return weight * mask if weight.shape == mask.shape else None


# Choice ----------------------------------------------------------------------------------------------


def _chosen(network: _Expected, entries: Sequence[_Entry], where: str) -> _Fit:
    """The set of tensors that fits, else the one nearest to it."""
    partial: list[_Fit] = []
    for names in network.variants():
        fits = network.fits(entries, names)
        complete = [fit for fit in fits if network.is_complete(fit)]
        if complete:
            return _preferred(_outermost(complete), where)
        partial += fits
    if not entries:
        raise WeightsError(f"{where}: holds no tensors by name; save model.state_dict() and give that file")
    if not partial and network.required:
        raise WeightsError(
            f"{where}: none of its {len(entries)} tensors has a name of this network; it holds "
            f"{_listed([entry.path for entry in entries])}, expected {_listed(network.required)}; "
            "give the weights of this network"
        )

    def likeness(fit: _Fit) -> tuple[int, int, bool, int]:
        shaped = sum(network.accepts(name, entry.tensor) for name, entry in fit.taken.items())
        return shaped, len(fit.taken), not fit.is_average, -len(fit.prefix)

    return max(partial, key=likeness, default=_Fit("", {}))


def _outermost(fits: Sequence[_Fit]) -> list[_Fit]:
    """Without sets that are parts of another in the same dict: of x.weight and block.x.weight, the first is meant."""
    kept: list[_Fit] = []
    for fit in sorted(fits, key=lambda fit: len(fit.prefix)):
        homes = {entry.containers for entry in fit.taken.values()}
        if not any(
            fit.prefix.startswith(f"{outer.prefix}." if outer.prefix else "")
            and homes <= {entry.containers for entry in outer.taken.values()}
            for outer in kept
        ):
            kept.append(fit)
    return [fit for fit in fits if fit in kept]


def _preferred(fits: Sequence[_Fit], where: str) -> _Fit:
    """The one set meant among those that fit: the outermost, or the only one that is no moving average."""
    plain = [fit for fit in fits if not fit.prefix] or [fit for fit in fits if not fit.is_average] or list(fits)
    first = plain[0]
    if not all(_equal(first, other) for other in plain[1:]):
        raise WeightsError(
            f"{where}: holds {len(plain)} sets of weights that fit, {_listed([fit.prefix for fit in plain])}; "
            f"choose one by model.weights_key={first.prefix}"
        )
    if len(plain) < len(fits):
        others = _listed([fit.prefix for fit in fits if fit not in plain])
        log.warning(
            "%s: takes the weights %s, not %s, which fit too; model.weights_key=… chooses",
            where,
            f"below {first.prefix}" if first.prefix else "of the outermost dict",
            others,
        )
    return first


def _equal(one: _Fit, other: _Fit) -> bool:
    return one.taken.keys() == other.taken.keys() and all(
        torch.equal(entry.tensor, other.taken[name].tensor) for name, entry in one.taken.items()
    )


# Faults ----------------------------------------------------------------------------------------------


def _faults(network: _Expected, fit: _Fit, entries: Sequence[_Entry], where: str) -> list[str]:
    """What does not fit, in words. Heads that the module lacks are no fault, and are logged."""
    foreign = _foreign(fit, entries)
    missing = network.missing(fit)
    faults = []
    for name, entry in fit.taken.items():
        if not network.accepts(name, entry.tensor):
            shapes = tuple(entry.tensor.shape), tuple(network.tensors[name].shape)
            faults.append(f"{name} has shape {shapes[0]}, expected {shapes[1]}")
            break
    if missing:
        faults.append(f"{missing[0]} is missing{nearest(missing[0], foreign)}{_further(missing)}")
    if not faults:
        heads = [name for name in foreign if _is_head(name, network)]
        foreign = [name for name in foreign if name not in heads]
        if heads:
            log.warning("%s: leaves out %s, heads that this network does not have", where, _listed(heads))
    if foreign:
        faults.append(f"{foreign[0]} is not of this network{_further(foreign)}")
    return faults


def _foreign(fit: _Fit, entries: Sequence[_Entry]) -> list[str]:
    """The names below the prefix that are not the module's, without the prefix.

    A dict below the prefix that holds none of the module's tensors, such as an optimizer's state, does not count; nor
    does a number at the outermost level, such as an epoch.
    """
    start = f"{fit.prefix}." if fit.prefix else ""

    def depth(entry: _Entry) -> int:
        """How many containers of the entry the prefix leads through."""
        inside = range(1, len(entry.containers) + 1)
        return max((n for n in inside if start.startswith(".".join((*entry.containers[:n], "")))), default=0)

    taken = {id(entry) for entry in fit.taken.values()}
    branches = {entry.containers[: depth(entry) + 1] for entry in fit.taken.values()}
    foreign = []
    for entry in entries:
        name = entry.path.removeprefix(start)
        beside = len(entry.containers) > depth(entry) and entry.containers[: depth(entry) + 1] not in branches
        counter = _DERIVED.search(name) or (entry.tensor.dim() == 0 and "." not in name)
        if entry.path.startswith(start) and id(entry) not in taken and not counter and not (branches and beside):
            foreign.append(name)
    return foreign


def _is_head(name: str, network: _Expected) -> bool:
    """Whether a tensor belongs to a branch that is named as a head or a loss, and that the module lacks entirely."""
    branch = next((part for part in name.split(".") if part not in _WRAPPERS), name)
    return _HEAD.match(branch) is not None and not network.has_below(branch)


def _refuse_not_finite(values: Mapping[str, Tensor], parameters: set[str], where: str) -> None:
    """Raise WeightsError if a value is not a number, or is infinite where training sets it; a mask may be infinite."""
    faults = []
    for name, value in values.items():
        trained = name in parameters or name.endswith(("running_mean", "running_var"))
        if counts := not_finite(value, may_be_infinite=not trained):
            faults.append(f"{name} holds {counts}")
    if faults:
        raise WeightsError(f"{where}: {faults[0]}{_further(faults)}; give weights that are finite")


def _older(name: str) -> str:
    for pattern, older in _OLDER_NAMES:
        name = pattern.sub(older, name)
    return name


def _stem(part: str) -> str:
    return part.rstrip("0123456789_")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def _further(names: Sequence[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
