"""The list of architectures, the examination of a small network, and processes that end before their time."""

from __future__ import annotations

import json
import multiprocessing
import os
import time

import pytest
import torch
from torch import nn

from jobs.zoo import __main__ as zoo
from jobs.zoo import examination
from jobs.zoo.architectures import ARCHITECTURES, CONFIGURATIONS, Architecture
from jobs.zoo.building import calibrate, enliven
from jobs.zoo.examination import box, examine
from jobs.zoo.page import reasons
from pipeline.errors import SettingsError

TINY = Architecture("Tiny", "timm", "tiny", 16)


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        return self.head((x + self.block(x)).mean((2, 3)))


def tiny() -> nn.Module:
    torch.manual_seed(0)
    return Tiny().eval().requires_grad_(False)


def test_the_list_is_long_and_names_each_once():
    keys = [one.key for one in ARCHITECTURES]
    assert len(keys) >= 100 and len(set(keys)) == len(keys)
    assert len({one.family for one in ARCHITECTURES}) >= 30
    assert {one.publisher for one in ARCHITECTURES} == {"torchvision", "timm", "transformers", "pytorchcv"}
    assert {one.name for one in ARCHITECTURES if one.publisher == "transformers"} == set(CONFIGURATIONS)


def test_a_small_network_passes_every_part(monkeypatch):
    monkeypatch.setattr(examination, "built", lambda architecture: tiny())
    kept = []
    found = examine(TINY, lambda now: kept.append(json.dumps(now)))
    assert reasons(found) == []
    assert found["modules"] == {"layers": 6, "idle": 0, "unused": 0, "fixed": 0}
    assert found["missing"] == found["left_out"] == []
    assert found["parity"]["compared"] == 6 and found["parity"]["worst"] < 1e-5
    assert [one["window"] for one in found["gradients"]] == [[7, 7, 10, 10], [6, 6, 11, 11], [0, 0, 16, 16]]
    assert found["ascent"] == {"layer": "add", "units": 4, "ok": 3, "raised": 3}  # one has no gradient: it is off
    assert json.loads(kept[-1]) == found
    assert [json.loads(one).get("running") for one in kept[:3]] == ["build", None, "load"]


def test_a_part_that_fails_says_why_and_the_rest_goes_on(monkeypatch):
    monkeypatch.setattr(examination, "built", lambda architecture: tiny())
    monkeypatch.setattr(examination, "gradients", lambda *_: 1 / 0)
    found = examine(TINY, lambda now: None)
    assert found["errors"] == {"gradients": "ZeroDivisionError: division by zero"}
    assert "ascent" in found


def test_a_layer_that_is_missing_or_differs_is_noticed(monkeypatch):
    def other(name, module, preprocessing):
        network = torch_network(name, module, preprocessing)
        del network.layers["block.0"], network.layers["block.1"]
        with torch.no_grad():
            network.operator(network.layer("stem").node).weight.mul_(1.01)
        return network

    torch_network = examination.torch_network
    monkeypatch.setattr(examination, "built", lambda architecture: tiny())
    monkeypatch.setattr(examination, "torch_network", other)
    found = examine(TINY, lambda now: None)
    assert (found["missing"], found["left_out"]) == (["block.0"], ["block.1"])
    assert found["parity"]["worst"] > 1e-3


def test_a_box_holds_what_is_true():
    mask = torch.zeros(6, 7, dtype=torch.bool)
    assert box(mask) == (0, 0, 0, 0)
    mask[2, 3] = mask[4, 1] = True
    assert box(mask) == (2, 1, 5, 4)


def test_constant_parameters_are_drawn_and_others_stay():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.LayerNorm(4), nn.Linear(400, 300))
    nn.init.zeros_(module[1].weight)
    nn.init.normal_(module[3].weight, std=0.001)
    weight = module[0].weight.clone()
    enliven(module)
    assert torch.equal(module[0].weight, weight)
    assert 0.95 < float(module[3](torch.randn(50, 400)).detach().std()) < 1.05
    assert all(float(one.detach().std()) > 0 for one in module.parameters())


def test_calibrated_statistics_are_those_of_the_images():
    module = nn.Sequential(nn.BatchNorm2d(3)).eval()
    images = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 5 + 2
    calibrate(module, images)
    assert not module.training and not module[0].training and module[0].momentum == 0.1
    assert torch.allclose(module(images).mean((0, 2, 3)), torch.ones(3), atol=1e-5)


def half_done(architecture: Architecture, path) -> None:
    path.write_text(json.dumps({"key": architecture.key, "errors": {}, "loads": 1.0, "running": "compare"}))


def crashing(architecture: Architecture, path) -> None:
    half_done(architecture, path)
    os._exit(3)


def hanging(architecture: Architecture, path) -> None:
    half_done(architecture, path)
    time.sleep(60)


@pytest.mark.parametrize(
    ("work", "error"), [(crashing, "its process ended (3)"), (hanging, "took longer than 0.5 s")], ids=["crash", "hang"]
)
def test_a_process_that_ends_before_its_time_loses_the_rest_only(work, error, monkeypatch, tmp_path):
    monkeypatch.setattr(zoo, "RESULTS", tmp_path / "results.jsonl")
    monkeypatch.setattr(zoo, "examine_into", work)
    found = zoo.examined(TINY, 0.5, multiprocessing.get_context("fork"))
    assert found["loads"] == 1.0 and found["errors"] == {"compare": error} and "running" not in found


def test_a_run_goes_on_where_it_stopped(monkeypatch, tmp_path, capsys):
    def found(architecture, limit, context):
        asked.append(architecture.key)
        return {"key": architecture.key, "errors": {"load": "ValueError: no"}, "seconds": 1.0}

    asked: list[str] = []
    monkeypatch.setattr(zoo, "RESULTS", tmp_path / "zoo" / "results.jsonl")
    monkeypatch.setattr(zoo, "PAGE", tmp_path / "networks.md")
    monkeypatch.setattr(zoo, "examined", found)
    zoo.main(["squeezenet"])
    assert asked == ["torchvision:squeezenet1_1"]
    assert "1 of 1  torchvision:squeezenet1_1  load: ValueError: no" in capsys.readouterr().out
    zoo.main(["squeezenet", "alexnet"])
    assert asked[1:] == ["torchvision:alexnet"]
    zoo.main(["alexnet", "again"])
    assert asked[2:] == ["torchvision:alexnet"]
    zoo.main(["page"])
    assert len(asked) == 3 and "2 architectures of 2 families" in (tmp_path / "networks.md").read_text()


def test_a_word_that_fits_nothing_is_refused():
    with pytest.raises(SettingsError, match="zoo nosuchnet: no architecture has that in its name"):
        zoo.main(["nosuchnet"])


def test_a_cube_whose_channels_are_last_is_read_so(monkeypatch):
    class Last(nn.Module):
        """Six channels of six rows and six columns, channels last."""

        def __init__(self):
            super().__init__()
            self.stem, self.mix = nn.Conv2d(3, 6, 3, padding=1, stride=2), nn.Linear(6, 6)

        def forward(self, x):
            return self.mix(self.stem(x).permute(0, 2, 3, 1)).mean((1, 2))

    torch.manual_seed(0)
    module = Last().eval().requires_grad_(False)
    monkeypatch.setattr(examination, "built", lambda architecture: module)
    found = examine(Architecture("Last", "timm", "last", 12), lambda now: None)
    assert all(one["inside"] and one["equal"] for one in found["gradients"])
    assert "mix" in [one["layer"] for one in found["gradients"]]
