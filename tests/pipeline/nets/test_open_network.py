from __future__ import annotations

import dataclasses
import hashlib
import http.server
import io
import json
import pickle
import re
import sys
import tarfile
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pipeline.card import NetworkCard
from pipeline.data.doodles import CLASSES
from pipeline.errors import AtlasError, DefinitionError, DownloadError, SettingsError, UnitError, WeightsError
from pipeline.nets.doodlenet import doodlenet
from pipeline.nets.download import Digests, cached_path
from pipeline.nets.network_card import network_card
from pipeline.nets.open_network import fetch_files, locate, open_network, read_labels
from pipeline.settings import ModelSettings

PROTOTXT = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 9 dim: 9 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 2 kernel_size: 3 } }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc" inner_product_param { num_output: 4 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""


def settings(**changes: object) -> ModelSettings:
    unset = {field.name: None for field in dataclasses.fields(ModelSettings)}
    unset |= {"name": "small", "form": "caffe", "order": "BGR", "build_arguments": (), "licence": "ours"}
    return ModelSettings(**(unset | changes))


@pytest.fixture
def caffe(tmp_path):
    """Settings of a small Caffe network with its files in tmp_path."""
    (tmp_path / "small.prototxt").write_text(PROTOTXT)
    torch.manual_seed(0)
    shapes = {"conv.weight": (2, 3, 3, 3), "conv.bias": (2,), "fc.weight": (4, 98), "fc.bias": (4,)}
    save_file({name: torch.randn(shape) for name, shape in shapes.items()}, tmp_path / "small.safetensors")
    return settings(definition=str(tmp_path / "small.prototxt"), weights=str(tmp_path / "small.safetensors"))


def small(*, width: int = 4, broken: bool = False) -> nn.Module:
    if broken:
        raise RuntimeError("no such variant")
    torch.manual_seed(2)
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 2))


@pytest.fixture
def built(tmp_path, monkeypatch):
    """Settings of a torch network with its module in the current directory."""
    (tmp_path / "own_networks.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "NAMES = ['left', 'right']\n"
        "def small(*, width=4, broken=False):\n"
        "    if broken:\n"
        "        raise RuntimeError('no such variant')\n"
        "    torch.manual_seed(2)\n"
        "    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),\n"
        "                         nn.Linear(width, 2))\n"
        "def number():\n"
        "    return 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    yield settings(form="torch", build="own_networks:small", order="RGB", size=(9, 9))
    sys.modules.pop("own_networks", None)


def test_a_caffe_network_opens_with_its_mean_gain_and_labels(caffe, tmp_path):
    (tmp_path / "labels.txt").write_text("n01440764 tench, Tinca tinca\nn01443537 goldfish\nplain name\ncat\n\n")
    mean = np.arange(3 * 11 * 11, dtype=float).reshape(3, 11, 11)
    np.save(tmp_path / "mean.npy", mean)
    net = open_network(
        dataclasses.replace(
            caffe, mean=str(tmp_path / "mean.npy"), gain=(1.0, 2.0, 3.0), labels=str(tmp_path / "labels.txt")
        )
    )
    assert net.labels == ("tench, Tinca tinca", "goldfish", "plain name", "cat")
    assert net.class_layer == "fc"
    assert np.array_equal(net.preprocessing.full_mean, mean[:, 1:10, 1:10])
    assert net.preprocessing.gain.tolist() == [1, 2, 3]


def test_a_torch_network_opens_from_the_current_directory(built):
    net = open_network(
        dataclasses.replace(
            built, build_arguments=(("width", 6),), mean=(100.0, 110.0, 120.0), labels="own_networks:NAMES"
        )
    )
    assert net.layer("0").channels == 6
    assert net.labels == ("left", "right")
    assert net.preprocessing.mean.ravel().tolist() == [100, 110, 120]


def test_weights_go_into_the_module_that_was_built(built, tmp_path):
    state = {name: torch.full_like(value, 0.5) for name, value in small().state_dict().items()}
    torch.save(state, tmp_path / "small.pt")
    net = open_network(dataclasses.replace(built, weights="small.pt"))
    assert (net.operator(net.layer("4").node).weight == 0.5).all()
    assert net.digest != open_network(built).digest


def test_doodlenet_comes_with_the_project():
    shipped = settings(
        name="doodlenet",
        form="torch",
        build="pipeline.nets.doodlenet:doodlenet",
        build_arguments=(("classes", len(CLASSES)),),
        weights="package:doodlenet.safetensors",
        order="RGB",
        size=(96, 96),
        labels="pipeline.data.doodles:CLASSES",
    )
    net = open_network(shipped)
    assert net.class_layer == "fc8" and net.labels == CLASSES
    assert list(net.layers) == [name for name, _ in doodlenet(classes=2).named_children()]
    assert all(file.present for file in locate(shipped))


# Files -----------------------------------------------------------------------------------------------


def test_published_files_are_fetched_with_what_is_known_of_them(caffe, tmp_path, monkeypatch):
    monkeypatch.setenv("ATLAS_CACHE", str(tmp_path / "cache"))
    asked = []

    def fetcher(url: str, digests: Digests, member: str | None, setting: str):
        asked.append((url, digests, member, setting))
        return tmp_path / ("small.safetensors" if setting == "model.weights" else "mean.npy")

    np.save(tmp_path / "mean.npy", np.array([1.0, 2.0, 3.0]))
    sha1 = "a" * 40
    published = dataclasses.replace(
        caffe,
        weights=None,
        weights_url="http://host/small.bin",
        weights_git_blob=sha1,
        mean_url="http://host/aux.tar.gz#mean.npy",
        mean_sha1=sha1,
    )
    files = {file.role: file for file in locate(published)}
    assert not files["weights"].present and files["definition"].present
    assert files["weights"].path == cached_path("http://host/small.bin", tmp_path / "cache")
    assert asked == []
    net = open_network(published, fetcher=fetcher)
    assert net.preprocessing.mean.ravel().tolist() == [1, 2, 3]
    assert asked == [
        ("http://host/small.bin", Digests(git_blob=sha1), None, "model.weights"),
        ("http://host/aux.tar.gz", Digests(sha1=sha1), "mean.npy", "model.mean"),
    ]


def test_a_path_of_ones_own_comes_before_the_published_file(caffe):
    published = dataclasses.replace(
        caffe, weights_url="http://host/w", weights_sha1="a" * 40, mean=(1.0, 2.0, 3.0), mean_url="http://host/m.npy"
    )

    def fetcher(*_: object):
        raise AssertionError("nothing is to be fetched")

    open_network(published, fetcher=fetcher)
    assert set(fetch_files(published, fetcher=fetcher)) == {"definition", "weights"}


def test_what_was_fetched_is_present(caffe, tmp_path, monkeypatch):
    monkeypatch.setenv("ATLAS_CACHE", str(tmp_path))
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        archive.add(tmp_path / "small.safetensors", "inner/small.safetensors")
    url = "http://127.0.0.1:9/small.tar.gz"  # not called: the archive is in the cache
    path = cached_path(url, tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(content.getvalue())
    published = dataclasses.replace(
        caffe,
        weights=None,
        weights_url=f"{url}#small.safetensors",
        weights_sha256=hashlib.sha256(content.getvalue()).hexdigest(),
    )
    assert not locate(published)[1].present
    assert open_network(published).digest == open_network(caffe).digest
    assert locate(published)[1].present


class Archive(http.server.BaseHTTPRequestHandler):
    """Serves one archive, and counts how often it is asked for."""

    content, asked = b"", 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_: object) -> None:
        pass


def test_one_archive_serves_weights_mean_and_names_and_asks_for_its_digest(caffe, tmp_path, monkeypatch):
    """As the archives of Places do, for which no digest is published."""
    (tmp_path / "names.csv").write_text("/a/abbey 0\n/b/bow_window/indoor 2\n/a/alley 1\n/z/zoo 3\n")
    np.save(tmp_path / "mean.npy", np.array([1.0, 2.0, 3.0]))
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name in ("small.safetensors", "names.csv", "mean.npy"):
            archive.add(tmp_path / name, f"upgraded/{name}")
    Archive.content, Archive.asked = content.getvalue(), 0
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Archive)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("ATLAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    url = f"http://127.0.0.1:{server.server_port}/upgraded.tar.gz"
    published = dataclasses.replace(
        caffe,
        weights=None,
        weights_url=f"{url}#small.safetensors",
        mean_url=f"{url}#mean.npy",
        labels_url=f"{url}#names.csv",
    )
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    try:
        assert f"give model.weights_sha256={digest} " in str(refused(published))
        net = open_network(dataclasses.replace(published, weights_sha256=digest))
    finally:
        server.shutdown()
        server.server_close()
    assert Archive.asked == 1
    assert net.labels == ("abbey", "alley", "bow_window/indoor", "zoo")
    assert net.preprocessing.mean.ravel().tolist() == [1, 2, 3]
    own = dataclasses.replace(published, weights_sha256=digest, labels=str(tmp_path / "own.txt"))
    (tmp_path / "own.txt").write_text("a\nb\nc\nd\n")
    assert open_network(own).labels == ("a", "b", "c", "d")  # a file of one's own comes before the published one


def test_a_dead_address_ends_with_what_to_do(caffe, tmp_path, monkeypatch):
    monkeypatch.setenv("ATLAS_CACHE", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    dead = dataclasses.replace(caffe, mean_url="http://127.0.0.1:9/mean.npy")
    with pytest.raises(DownloadError, match="model.mean=PATH"):
        open_network(dead)


def test_of_several_sets_of_weights_the_named_one_is_loaded(built, tmp_path):
    sets = {name: small().state_dict() for name in ("student", "teacher")}
    sets["teacher"]["0.bias"] = torch.ones(4)
    torch.save(sets, tmp_path / "w.pt")
    chosen = dataclasses.replace(built, weights=str(tmp_path / "w.pt"), weights_key="teacher")
    plain = dataclasses.replace(built, weights=None)
    assert open_network(chosen).digest != open_network(plain).digest
    assert open_network(dataclasses.replace(chosen, weights_key="student")).digest == open_network(plain).digest
    assert "choose one by model.weights_key=student" in str(refused(dataclasses.replace(chosen, weights_key=None)))


# What is wrong ---------------------------------------------------------------------------------------


def refused(wrong: ModelSettings) -> AtlasError:
    with pytest.raises(AtlasError) as caught:
        open_network(wrong)
    assert "\n" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    "changes, kind, words",
    [
        ({"definition": "package:cafenet.prototxt"}, DefinitionError, "nearest: caffenet.prototxt"),
        ({"definition": "gone.prototxt"}, DefinitionError, "model.definition gone.prototxt: no such file"),
        ({"weights": "package:doodlenets.safetensors"}, WeightsError, "nearest: doodlenet.safetensors"),
        ({"weights": None}, WeightsError, "model.weights: missing for model small"),
        ({"mean": "gone.npy"}, WeightsError, "model.mean gone.npy: no such file.*model.mean=PATH"),
        ({"labels": "gone.txt"}, SettingsError, "model.labels gone.txt: no such file"),
        ({"labels": "pipeline.data.doodles:CLASES"}, SettingsError, "nearest: CLASSES"),
        ({"labels": "pipeline.data.doodles:CLASSES"}, SettingsError, "got 28, expected 4, one for each unit of fc"),
        ({"labels": "no_such_module_anywhere:X"}, SettingsError, "model.labels: cannot import no_such_module"),
        ({"order": "rgb"}, SettingsError, r"model.order: got 'rgb', expected one of RGB.*nearest: RGB"),
        ({"class_layer": "fd"}, UnitError, "layer fd: .*nearest: fc"),
        ({"mean": (1.0, 2.0)}, SettingsError, "preprocessing mean"),
        ({"gain": (1.0,)}, SettingsError, "preprocessing gain"),
        ({"weights_sha1": "12", "weights_url": "http://h/x", "weights": None}, SettingsError, "digest sha1: got '12'"),
    ],
)
def test_a_wrong_setting_of_a_caffe_network_is_named(caffe, changes, kind, words):
    error = refused(dataclasses.replace(caffe, **changes))
    assert isinstance(error, kind)
    assert re.search(words, str(error)), error


@pytest.mark.parametrize(
    "changes, kind, words",
    [
        ({"build": "own_networks.small"}, SettingsError, "model.build: got 'own_networks.small', expected module:NAME"),
        ({"build": "own_networks:smal"}, SettingsError, "module own_networks has no smal .nearest: small"),
        ({"build": "own_network:small"}, SettingsError, "model.build: cannot import own_network "),
        ({"build": "own_networks:number"}, DefinitionError, "returned int, expected a torch.nn.Module"),
        ({"build_arguments": (("broken", True),)}, DefinitionError, "small.broken=True. failed.*no such variant"),
        ({"build_arguments": (("depth", 3),)}, DefinitionError, "unexpected keyword argument 'depth'"),
        ({"weights": "gone.pt"}, WeightsError, "model.weights gone.pt: no such file"),
        ({"order": "L"}, DefinitionError, "cannot take a batch of 2 images of 1×9×9 at 0"),
        ({"mean": "own_networks.py"}, WeightsError, "mean own_networks.py"),
    ],
)
def test_a_wrong_setting_of_a_torch_network_is_named(built, changes, kind, words):
    error = refused(dataclasses.replace(built, **changes))
    assert isinstance(error, kind)
    assert re.search(words, str(error)), error


def test_labels_of_nothing_are_none():
    assert read_labels(None, None) == ()


def test_lines_that_only_look_like_places_are_names(tmp_path):
    (tmp_path / "labels.txt").write_text("/a/abbey 0\n/b/both ways\n")
    assert read_labels("labels.txt", tmp_path / "labels.txt") == ("/a/abbey 0", "/b/both ways")


def test_the_interpolation_enters_the_digest_where_it_is_not_bilinear(built):
    digests = {
        name: open_network(dataclasses.replace(built, interpolation=name)).digest
        for name in (None, "bilinear", "bicubic", "nearest")
    }
    assert digests[None] == digests["bilinear"]
    assert len(set(digests.values())) == 3


def test_the_card_and_its_record_keep_the_interpolation(built):
    for name in (None, "bicubic"):
        card = network_card(open_network(dataclasses.replace(built, interpolation=name)))
        record = json.loads(json.dumps(card.record()))
        assert ("interpolation" in record) == (name is not None)  # plans of before it stay as they are
        assert NetworkCard.of_record(record) == card
        assert card.interpolation == (name or "bilinear")


def test_a_module_without_weights_has_the_same_digest_each_time(tmp_path, monkeypatch):
    (tmp_path / "untrained.py").write_text(
        "from torch import nn\n\ndef network():\n    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    untrained = settings(name="untrained", form="torch", build="untrained:network", order="RGB", size=(8, 8))
    torch.manual_seed(5)
    first = open_network(untrained).digest
    after = torch.rand(1)
    torch.manual_seed(6)
    assert open_network(untrained).digest == first
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), after)  # the caller's random numbers are not touched


def test_a_judges_missing_file_is_named_by_its_own_setting(caffe, tmp_path):
    absent = dataclasses.replace(caffe, weights=str(tmp_path / "absent.safetensors"))
    with pytest.raises(WeightsError, match=r"judge.weights .*absent.*; give its path by judge.weights=PATH"):
        open_network(absent, where="judge")
