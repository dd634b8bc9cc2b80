"""The publishers' own packages, where they are installed: what the tiny packages of the other tests stand for."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
PACKAGES = ROOT / "tests" / "pipeline" / "nets" / "publishers" / "packages"
READS = "mean 123.675, 116.28, 103.53; gain 0.0171248, 0.017507, 0.0174292"


def needs(*packages: str) -> pytest.MarkDecorator:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(packages)}")


def ran(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python of its own, because these packages register operators once a process."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub"), "TORCH_HOME": str(tmp_path / "torch")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=os.environ | offline, capture_output=True, text=True
    )


def printed(tmp_path: Path, *overrides: str) -> list[str]:
    done = ran(tmp_path, "-m", "jobs.layers", *overrides)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def refused(tmp_path: Path, *overrides: str) -> str:
    done = ran(tmp_path, "-m", "jobs.layers", *overrides)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@needs("timm")
def test_timm_itself(tmp_path):
    head, reads, names, _, *table = printed(tmp_path, "model=timm", "model.timm=resnet18", "model.pretrained=false")
    assert re.match(r"resnet18@[0-9a-f]{12}  224x224 RGB  class layer: fc$", head)
    assert READS in reads and "by bicubic" in reads
    assert names.startswith("class names: 1000: tench, Tinca tinca; goldfish, Carassius auratus;")
    assert {"layer1.0.conv1", "fc"} <= {row.split()[0] for row in table}
    assert printed(tmp_path, "model=timm", "model.timm=resnet18", "model.pretrained=false")[0] == head  # same digest
    said = refused(tmp_path, "model=timm", "model.timm=resnet18.a1_in1k")
    assert "its weights are not in the cache, and cannot be fetched" in said and "make fetch MODEL=timm" in said
    assert "no such network (nearest: resnet18" in refused(tmp_path, "model=timm", "model.timm=resnt18")
    assert "resnet18.a1_in1k, " in refused(tmp_path, "model=timm", "model.timm=resnet18.a1")


@needs("timm")
def test_a_file_in_timm_s_own_form(tmp_path):
    write = "import timm, torch; torch.manual_seed(1); net = timm.create_model('resnet18', num_classes=5); "
    write += f"torch.save(net.state_dict(), {str(tmp_path / 'w.pt')!r})"
    assert ran(tmp_path, "-c", write).returncode == 0
    overrides = ("model=timm", "model.timm=resnet18", f"model.weights={tmp_path}/w.pt")
    head, _, names, *_ = printed(tmp_path, *overrides, "+model.build_arguments.num_classes=5")
    assert names == "class names: none"
    assert "fc.weight has shape (5, 512), expected (1000, 512)" in refused(tmp_path, *overrides)


@needs("torchvision")
def test_torchvision_itself(tmp_path):
    chosen = "model.torchvision=resnet50:IMAGENET1K_V1"
    head, reads, names, _, *table = printed(tmp_path, "model=torchvision", chosen, "model.pretrained=false")
    assert re.match(r"resnet50_IMAGENET1K_V1@[0-9a-f]{12}  224x224 RGB  class layer: fc$", head)
    assert READS in reads and "by bilinear" in reads
    assert names == "class names: 1000: tench; goldfish; great white shark; …"
    assert "layer4.2.conv3" in {row.split()[0] for row in table}
    assert "choose one of: IMAGENET1K_V1, IMAGENET1K_V2" in refused(
        tmp_path, "model=torchvision", "model.torchvision=resnet50:V3"
    )
    assert "a network for object detection" in refused(
        tmp_path, "model=torchvision", "model.torchvision=fasterrcnn_resnet50_fpn"
    )


@needs("transformers")
def test_transformers_itself(tmp_path):
    """The card of a folder that save_pretrained wrote; whether the module can be captured is tested elsewhere."""
    script = f"""
import json, sys, torch
from transformers import ConvNextImageProcessor, ResNetConfig, ResNetForImageClassification
from jobs.console import compose_config
from jobs.request import read_model
from pipeline.nets.publishers import open_published
folder = {str(tmp_path / "net")!r}
config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic",
                      id2label={{0: "ant", 1: "bee", 2: "cat"}}, label2id={{"ant": 0, "bee": 1, "cat": 2}})
ResNetForImageClassification(config).save_pretrained(folder)
ConvNextImageProcessor(size={{"shortest_edge": 64}}, image_mean=[0.5, 0.4, 0.3], image_std=[0.25, 0.2, 0.1]
                       ).save_pretrained(folder)
found = open_published(read_model(compose_config("layers", ["model=huggingface", "model.repo=" + folder]).model), None)
with torch.no_grad():
    result = found.module(torch.zeros(1, 3, 64, 64))
print(json.dumps([found.size, found.order, found.mean, found.gain, found.interpolation, found.labels, found.output,
                  list(result[found.output].shape)]))
"""
    done = ran(tmp_path, "-c", script)
    assert done.returncode == 0, done.stderr
    size, order, mean, gain, interpolation, labels, output, shape = json.loads(done.stdout.splitlines()[-1])
    assert (size, order, interpolation, labels) == ([64, 64], "RGB", "bicubic", ["ant", "bee", "cat"])
    assert mean == pytest.approx([127.5, 102, 76.5]) and gain == pytest.approx([1 / 63.75, 1 / 51, 1 / 25.5])
    assert (output, shape) == ("logits", [1, 3])
    assert "its files are not in the cache" in refused(tmp_path, "model=huggingface", "model.repo=microsoft/resnet-50")
