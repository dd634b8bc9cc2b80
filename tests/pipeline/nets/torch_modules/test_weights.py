"""Weights files of every form are read, other files are called what they are, and nothing pickled is run."""

from __future__ import annotations

import argparse
import collections
import datetime
import enum
import functools
import gzip
import io
import json
import os
import pathlib
import pickle
import random
import re
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pipeline.errors import WeightsError
from pipeline.nets.torch_modules import load_state, read_state


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(3, 6, 5)
        self.norm = nn.BatchNorm2d(6)
        self.f = nn.Sequential(nn.ReLU(), nn.Linear(6, 10))
        self.register_buffer("passing", torch.ones(3), persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.f(self.norm(self.c(image)).mean((2, 3)))


class Colour(enum.Enum):
    RED = 1


class Attributes(dict):  # as omegaconf's and Lightning's containers
    def __getattr__(self, name: str) -> object:
        return self[name]


class Average:
    """As wrappers that keep a moving average of a module."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.decay = module, 0.99


def small() -> Small:
    torch.manual_seed(0)
    return Small().eval()


def loads_as(path: Path, expected: nn.Module, key: str | None = None) -> bool:
    """Whether a module of other weights gets the expected ones from the file."""
    torch.manual_seed(1)
    module = Small()
    load_state(module, read_state(path), path, key)
    pairs = zip(module.state_dict().values(), expected.state_dict().values(), strict=True)
    return all(torch.equal(got, value) for got, value in pairs)


def refused(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        read_state(path)
    message = str(caught.value)
    assert message.startswith(f"weights {path}: ")
    assert "\n" not in message
    assert str(pickle.loads(pickle.dumps(caught.value))) == message
    return message.removeprefix(f"weights {path}: ")


# Forms of a file -------------------------------------------------------------------------------------


def older_form(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def plain_pickle(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


def as_arrays(state: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in state.items()}


def zipped_arrays(arrays: dict[str, np.ndarray], path: Path, save: Callable[..., None] = np.savez) -> None:
    with path.open("wb") as file:  # so that numpy adds no ending to the name
        save(file, **arrays)


WRITERS = {
    "torch": torch.save,
    "torch, older form": older_form,
    "torch, protocol 5": lambda state, path: torch.save(state, path, pickle_protocol=5),
    "safetensors": lambda state, path: save_file(state, path),
    "npz": lambda state, path: zipped_arrays(as_arrays(state), path),
    "npz, compressed": lambda state, path: zipped_arrays(as_arrays(state), path, np.savez_compressed),
    "pickled arrays": lambda state, path: path.write_bytes(pickle.dumps(as_arrays(state))),
    "pickled arrays, protocol 2": lambda state, path: path.write_bytes(pickle.dumps(as_arrays(state), 2)),
    "pickled arrays, protocol 5": lambda state, path: path.write_bytes(pickle.dumps(as_arrays(state), 5)),
    "pickled tensors": lambda state, path: torch.save({n: nn.Parameter(v, False) for n, v in state.items()}, path),
}


@pytest.mark.parametrize("ending", [".pt", ".safetensors", ".bin", ""])
@pytest.mark.parametrize("form", WRITERS)
def test_every_form_reads_back_whatever_its_name(form, ending, tmp_path):
    state, path = small().state_dict(), tmp_path / f"small{ending}"
    WRITERS[form](state, path)
    again = read_state(path)
    assert list(again) == list(state) if form != "safetensors" else again.keys() == state.keys()
    assert all(torch.equal(again[name], value) and again[name].dtype == value.dtype for name, value in state.items())


@pytest.mark.parametrize("save", [torch.save, older_form])
def test_views_of_one_storage_and_every_type_of_number_read_back(save, tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    state = {"a": base[1:3], "b": base.t(), "c": base[:, ::2], "same": base, "none": torch.zeros(0, 3)}
    state |= {"one": torch.tensor(3.0), "odd": torch.tensor([True, False, True]), "after": torch.arange(5.0)}
    for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.complex64):
        state[str(dtype)] = torch.arange(7).to(dtype)
    if save is torch.save:
        state |= {"u16": torch.arange(3).to(torch.uint16), "f8": torch.arange(3.0).to(torch.float8_e4m3fn)}
    save(state, tmp_path / "w.pt")
    again = read_state(tmp_path / "w.pt")
    assert again.keys() == state.keys()
    for name, value in state.items():
        assert again[name].dtype == value.dtype, name
        assert torch.equal(
            again[name].double() if name == "f8" else again[name], value.double() if name == "f8" else value
        )


def test_an_archive_that_was_packed_again_reads_back(tmp_path):
    torch.save(small().state_dict(), tmp_path / "w.pt")
    with (
        zipfile.ZipFile(tmp_path / "w.pt") as old,
        zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(f"other/{name}", old.read(name))
    assert loads_as(tmp_path / "x.pt", small())


def test_an_archive_without_checksums_reads_back(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(small().state_dict(), tmp_path / "w.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert loads_as(tmp_path / "w.pt", small())


def test_an_ordered_dict_as_python_2_pickled_it_reads_back(tmp_path):
    class Ordered(collections.OrderedDict):
        def __reduce__(self):
            return collections.OrderedDict, ([[name, value] for name, value in self.items()],)

    older_form(Ordered(small().state_dict()), tmp_path / "w.pth")
    assert loads_as(tmp_path / "w.pth", small())


@pytest.mark.parametrize("save", [torch.save, older_form])
@pytest.mark.parametrize("wrap", [lambda net: net, lambda net: {"net": net}, nn.DataParallel, Average])
def test_a_pickled_module_gives_its_state(wrap, save, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older form looks for the source of every class
        save(wrap(small()), tmp_path / "w.pt")
    assert loads_as(tmp_path / "w.pt", small())


@pytest.mark.parametrize("capture", [torch.jit.script, lambda net: torch.jit.trace(net, torch.zeros(1, 3, 9, 9))])
def test_a_torchscript_archive_gives_its_state(capture, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        net = small()
        del net.passing  # TorchScript stores all buffers
        torch.jit.save(capture(net), tmp_path / "w.pt")
    assert loads_as(tmp_path / "w.pt", small())


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_a_checkpoint_in_several_files_is_read_through_its_index(ending, tmp_path):
    state = small().state_dict()
    names, parts = list(state), {}
    for i, part in enumerate((names[:3], names[3:]), 1):
        file = f"model-0000{i}-of-00002.{ending}"
        (save_file if ending == "safetensors" else torch.save)({name: state[name] for name in part}, tmp_path / file)
        parts |= dict.fromkeys(part, file)
    index = tmp_path / f"model.{ending}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": parts}))
    assert loads_as(index, small())
    with pytest.raises(WeightsError, match=r"is missing.*; this is one of several files: give their .index.json"):
        load_state(small(), read_state(tmp_path / file), tmp_path / file)
    (tmp_path / file).unlink()
    assert refused(index) == f"its part {file} is missing; fetch it into the same folder"


# What stands beside the weights ----------------------------------------------------------------------


def optimizer() -> torch.optim.Optimizer:
    """An optimizer after one step, with a state for every parameter."""
    net = small()
    adam = torch.optim.AdamW(net.parameters(), 1e-3)
    net(torch.randn(2, 3, 9, 9)).sum().backward()
    adam.step()
    return adam


def itself() -> dict[str, object]:
    """A container that contains itself, as objects with a way back to their owner."""
    namespace = argparse.Namespace()
    namespace.owner = [namespace]
    return {"namespace": namespace, "list": namespace.owner}


BESIDE = {
    "epoch": lambda: 3,
    "best": lambda: np.float64(51.2),
    "scores": lambda: np.arange(3.0),
    "names": lambda: np.array(["a", "b"]),
    "mixed": lambda: np.array([1, "b", None], dtype=object),
    "args": lambda: argparse.Namespace(lr=0.1, data=pathlib.Path("/data"), when=datetime.date(2024, 2, 29)),
    "time": lambda: datetime.datetime.now(datetime.timezone.utc),
    "took": lambda: datetime.timedelta(seconds=3),
    "optimizer": lambda: optimizer().state_dict(),
    "optimizers": lambda: [optimizer()],
    "scheduler": lambda: torch.optim.lr_scheduler.StepLR(optimizer(), 2).state_dict(),
    "hyper_parameters": lambda: Attributes(width=3, inner=Attributes(depth=2)),
    "counts": lambda: collections.Counter("abc"),
    "by_default": lambda: collections.defaultdict(list, a=[1]),
    "queue": lambda: collections.deque([1, 2], 5),
    "loss": lambda: functools.partial(nn.functional.cross_entropy, label_smoothing=0.1),
    "colour": lambda: Colour.RED,
    "type": lambda: nn.Conv2d,
    "shape": lambda: torch.Size([3, 4]),
    "dtype": lambda: torch.float16,
    "device": lambda: torch.device("cpu"),
    "layout": lambda: torch.strided,
    "random": lambda: (random.getstate(), np.random.get_state(), torch.get_rng_state()),
    "numpy_type": lambda: np.dtype("f4"),
    "numpy_random": lambda: np.random.default_rng(0),
    "set": lambda: {1, 2},
    "frozen": lambda: frozenset({"a"}),
    "slice": lambda: slice(1, 2),
    "complex": lambda: 1 + 2j,
    "bytes": lambda: b"abc",
    "range": lambda: range(3),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "error": lambda: ValueError("x"),
    "itself": itself,
}


@pytest.mark.parametrize("save", [torch.save, older_form])
@pytest.mark.parametrize("name", BESIDE)
def test_what_stands_beside_the_weights_is_passed_over(name, save, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of quantization, which torch is giving up
        save({name: BESIDE[name](), "state_dict": small().state_dict()}, tmp_path / "first.pt")
        save(dict(small().state_dict(), **{name: BESIDE[name]()}), tmp_path / "among.pt")
    assert loads_as(tmp_path / "first.pt", small())
    if name != "scores":  # among the weights, an array is named as a tensor of the network would be
        assert loads_as(tmp_path / "among.pt", small())


def test_classes_that_cannot_be_imported_are_passed_over(tmp_path):
    """As in a checkpoint of another machine, where the training program is installed."""
    code = (
        "import sys, types, torch\n"
        "home = types.ModuleType('their_program')\n"
        "exec('class Config:\\n    def __init__(self): self.lr = 1', home.__dict__)\n"
        "sys.modules['their_program'] = home\n"
        "state = torch.load(sys.argv[1])\n"
        "torch.save({'config': home.Config(), 'model': state}, sys.argv[1])\n"
    )
    torch.save(small().state_dict(), tmp_path / "w.pt")
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "w.pt")], check=True)
    assert b"their_program" in (tmp_path / "w.pt").read_bytes()
    assert loads_as(tmp_path / "w.pt", small())


# What is pickled is not run --------------------------------------------------------------------------


class Calls:
    def __init__(self, function: object, *arguments: object) -> None:
        self.made = function, arguments

    def __reduce__(self):
        return self.made


def attacks(marker: Path) -> dict[str, object]:
    write = f"__import__('os').mkdir({str(marker)!r})"
    return {
        "os.mkdir": Calls(os.mkdir, str(marker)),
        "os.system": Calls(os.system, f"mkdir {marker}"),
        "eval": Calls(eval, write),
        "exec": Calls(exec, write),
        "subprocess": Calls(subprocess.Popen, ["touch", str(marker)]),
        "import": Calls(__import__("importlib").import_module, "antigravity"),
        "torch.load": Calls(torch.load, str(marker)),
        "map": Calls(list, Calls(map, eval, [write])),
        "partial": Calls(functools.partial(eval, write)),
        "inner": {"state_dict": [Calls(eval, write)]},
    }


@pytest.mark.parametrize(
    "save", [torch.save, older_form, lambda content, path: path.write_bytes(pickle.dumps(content))]
)
@pytest.mark.parametrize("name", attacks(Path()))
def test_nothing_pickled_is_run(name, save, tmp_path):
    marker = tmp_path / "touched"
    state = as_arrays(small().state_dict())
    save({"state_dict": state, "attack": attacks(marker)[name]}, tmp_path / "w.pt")
    before = set(sys.modules)
    assert loads_as(tmp_path / "w.pt", small())
    assert not marker.exists()
    assert not {"antigravity"} & (set(sys.modules) - before)


@pytest.mark.parametrize(
    "program",
    [
        b"cposix\nsystem\n(V%s\ntR.",  # GLOBAL, REDUCE
        b"(cposix\nsystem\nV%s\no.",  # OBJ
        b"(V%s\niposix\nsystem\n.",  # INST
        b"cbuiltins\ngetattr\n(cos\n__dict__\nVget\ntR(Vsystem\ntR(V%s\ntR.",
        b"c__builtin__\neval\n(V__import__('os').system('%s')\ntR.",
        b"\x8c\x05posix\x8c\x06system\x93(V%s\ntR.",  # STACK_GLOBAL
        b"ctorch._utils\n_rebuild_tensor_v2\n}V__code__\ncposix\nsystem\ns(N}V__setstate__\ncposix\nsystem\nstb.",
        b"cposix\nsystem\n(tR}V__setstate__\ncposix\nsystem\nsbV%s\nb.",  # BUILD
    ],
)
def test_no_opcode_runs_anything(program, tmp_path):
    marker = tmp_path / "touched"
    path = tmp_path / "w.pt"
    path.write_bytes(b"\x80\x04" + program.replace(b"%s", f"touch {marker}".encode()))
    with pytest.raises(WeightsError):
        read_state(path)
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("x/data.pkl", path.read_bytes())
    with pytest.raises(WeightsError):
        read_state(tmp_path / "x.pt")
    assert not marker.exists()


def test_the_attacks_would_work_if_they_were_run(tmp_path):
    for name in ("os.mkdir", "os.system", "eval", "exec", "map"):
        marker = tmp_path / name
        pickle.loads(pickle.dumps(attacks(marker)[name]))
        assert marker.exists(), name


@pytest.mark.parametrize("save", [torch.save, older_form])
def test_bytes_changed_anywhere_give_tensors_or_one_line(save, tmp_path):
    """Tensors cannot reach outside the file, and no damage shows as another kind of error."""
    buffer = io.BytesIO()
    save({"model": {"a": torch.arange(6.0).reshape(2, 3), "b": nn.Parameter(torch.ones(2))}, "e": Colour.RED}, buffer)
    whole, draw, path = buffer.getvalue(), random.Random(0), tmp_path / "w.pt"
    outcomes = collections.Counter()
    for _ in range(600):
        changed = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            changed[draw.randrange(len(changed))] = draw.choice([0, 1, 127, 255, draw.randrange(256)])
        path.write_bytes(changed[: draw.choice([None, None, draw.randrange(len(changed))])])
        try:
            state = read_state(path)
        except WeightsError as error:
            assert "\n" not in str(error)
            outcomes["refused"] += 1
        else:
            assert state
            outcomes["read"] += 1
    assert min(outcomes["refused"], outcomes["read"]) > 20


@pytest.mark.parametrize(
    "size, stride, start", [((7,), (1,), 0), ((2, 3), (3, 2), 0), ((1,), (1,), 6), ((2,), (-1,), 3), ((-1,), (1,), 0)]
)
def test_a_tensor_that_lies_outside_its_numbers_is_refused(size, stride, start, tmp_path):
    class Wild:
        def __reduce__(self):
            numbers = torch.arange(6.0).storage()
            return torch._utils._rebuild_tensor_v2, (numbers, start, size, stride, False, {})

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of typed storages
        torch.save({"a": Wild()}, tmp_path / "w.pt")
    assert "cut short or damaged" in refused(tmp_path / "w.pt")


# What is no weights file -----------------------------------------------------------------------------


def exported(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("models/model.json", "archive_format", "data/weights/weight_0"):
            archive.writestr(f"w/{name}", "pt2")


def frozen(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.freeze(torch.jit.script(small())), path)


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net.pth", "x")


def big_endian(path: Path) -> None:
    torch.save(small().state_dict(), path.with_suffix(".whole"))
    with zipfile.ZipFile(path.with_suffix(".whole")) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"big" if name.endswith("byteorder") else old.read(name))


OTHERS = {
    "web page": (
        lambda path: path.write_text("<!DOCTYPE html><html><title>Google Drive - Virus scan warning</title></html>"),
        r'is a web page \("Google Drive - Virus scan warning"\), not the file; download the file itself',
    ),
    "access denied": (
        lambda path: path.write_text('<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'),
        r'is the answer of a server in XML \("AccessDenied"\)',
    ),
    "json": (
        lambda path: path.write_text('{"error": "Repository not found"}'),
        r'JSON text \("Repository not found"\)',
    ),
    "pointer": (
        lambda path: path.write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab\nsize 178793939\n"
        ),
        "is a Git LFS pointer to a file of 178793939 bytes, not the file; run `git lfs pull`",
    ),
    "empty": (lambda path: path.write_bytes(b""), "is empty .0 bytes.; fetch the file again"),
    "text": (lambda path: path.write_text("404: Not Found"), r'is a text \("404: Not Found"\)'),
    "gzip": (lambda path: path.write_bytes(gzip.compress(b"x" * 999)), "is a gzip archive; unpack it"),
    "zeros": (lambda path: path.write_bytes(bytes(99)), "is filled with zero bytes; fetch the file again"),
    "zip": (zipped, "is a zip archive that holds net.pth, not a file of torch; unpack it"),
    "exported program": (exported, "is a program that torch.export saved"),
    "frozen": (frozen, "is a frozen TorchScript archive"),
    "big-endian": (big_endian, "was saved on a big-endian machine"),
    "hdf5": (lambda path: h5py.File(path, "w").close(), "is an HDF5 file; one of Caffe is read with MODEL=caffe"),
    "other bytes": (
        lambda path: path.write_bytes(b"\x08\x07\x12\x07pytorch"),
        "no file of torch, safetensors or numpy",
    ),
    "objects": (lambda path: zipped_arrays({"a": np.array([{}], object)}, path), "holds no tensors by name"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_file_is_called_what_it_is(name, tmp_path):
    write, words = OTHERS[name]
    write(tmp_path / "w.pth")
    message = refused(tmp_path / "w.pth")
    assert re.search(words, message), message


@pytest.mark.parametrize("form", [form for form in WRITERS if form != "npz, compressed"])
def test_a_file_that_is_cut_short_is_refused(form, tmp_path):
    path = tmp_path / "w.pt"
    WRITERS[form](small().state_dict(), path)
    whole = path.read_bytes()
    for share in (0.02, 0.5, 0.97, 0.999):
        path.write_bytes(whole[: int(len(whole) * share)])
        assert "fetch the file again" in refused(path), share


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, torch.zeros(2)], ids=["list", "no tensors", "tensor"])
def test_a_file_without_tensors_by_name_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "w.pt")
    assert refused(tmp_path / "w.pt") == "holds no tensors by name; save model.state_dict() and give that file"


def test_a_json_text_that_is_no_index_is_refused(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"model_type": "resnet"}')
    assert "is a JSON text without a weight_map" in refused(path)
    path.write_text("<html>sign in</html>")
    assert 'is a web page ("sign in")' in refused(path)


def test_a_missing_file_is_named(tmp_path):
    assert "no such file" in refused(tmp_path / "absent.pt")


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    path = tmp_path / "w.pt"
    path.write_bytes(b"x")
    monkeypatch.setattr(Path, "open", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    assert refused(path) == "cannot be read (Permission denied); check the file and its permissions"


def test_the_file_is_not_held_or_changed(tmp_path):
    path = tmp_path / "w.pt"
    torch.save(small().state_dict(), path)
    before = path.read_bytes()
    state = read_state(path)
    state["c.weight"].zero_()
    assert path.read_bytes() == before


def test_an_index_may_not_name_itself_or_lead_out_of_its_folder(tmp_path):
    path = tmp_path / "x.index.json"
    for name in ("x.index.json", "..", "", "a\0b", "a" * 300):
        path.write_text(json.dumps({"weight_map": {"a": name}}))
        assert "x.index.json" in refused(path) or "missing" in refused(path)


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02]r\xff\xff\xff\x7f.",  # a memo of 2**31 entries: 16 GiB in C
        b"\x80\x04B\xff\xff\xff\x7f.",  # two gibibytes that the file does not have
        b"\x80\x02)" + b"".join(b"q%c" % i + b"h%ch%c\x86" % (i, i) for i in range(40)) + b"0}h'Ns.",  # 2**40 ways
        b"\x80\x02\x82\x01.",  # an object by a registered code
    ],
)
def test_a_pickle_that_asks_for_the_impossible_is_damaged(program, tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(program)
    assert any(word in refused(path) for word in ("damaged", "holds no tensors"))


def test_containers_that_multiply_are_refused(tmp_path):
    state = {"w": torch.zeros(2)}
    for _ in range(40):
        state = {"a": state, "b": state}
    torch.save(state, tmp_path / "w.pt")
    assert "more than" in refused(tmp_path / "w.pt")


def test_a_tensor_may_not_repeat_its_numbers_without_bound(tmp_path):
    torch.save({"w": torch.zeros(1).expand(2**40), "x": torch.zeros(1).expand(9)}, tmp_path / "w.pt")
    assert "too often" in refused(tmp_path / "w.pt")


def test_a_member_that_inflates_without_bound_is_refused(tmp_path):
    path = tmp_path / "w.npz"
    np.savez_compressed(path, w=np.zeros(2**25, np.float32))
    assert "inflates" in refused(path)
