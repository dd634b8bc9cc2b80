"""Tiny results of every kind of task, for a guard: python tests/pipeline/methods/golden.py writes golden.json anew."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(HERE.parent), str(ROOT)]

from cards import ASCENT, DEVICE, STYLE  # noqa: E402
from tiny_prior import network  # noqa: E402

from pipeline.card import PriorCard  # noqa: E402
from pipeline.compute import compute  # noqa: E402
from pipeline.data.open_source import open_source  # noqa: E402
from pipeline.dataset_settings import DatasetRecord, DatasetSettings  # noqa: E402
from pipeline.methods.ascent import task as ascent  # noqa: E402
from pipeline.methods.ascent.settings import StyleRecord  # noqa: E402
from pipeline.methods.dgn import task as dgn  # noqa: E402
from pipeline.methods.dgn.settings import RunRecord, RunSettings  # noqa: E402
from pipeline.methods.memorisation import task as memorisation  # noqa: E402
from pipeline.methods.memorisation.settings import MemorisationSettings  # noqa: E402
from pipeline.methods.scores import settings as scores  # noqa: E402
from pipeline.methods.scores.compute import judge_pictures  # noqa: E402
from pipeline.methods.tops import result as tops_result  # noqa: E402
from pipeline.methods.tops import task as tops  # noqa: E402
from pipeline.methods.tops.reduction import put_together  # noqa: E402
from pipeline.methods.tops.settings import MiningRecord, TopsSettings  # noqa: E402
from pipeline.nets.network import Network  # noqa: E402
from pipeline.nets.network_card import network_card  # noqa: E402
from pipeline.plan import Plan  # noqa: E402
from pipeline.resources import Resources  # noqa: E402
from pipeline.store.shard import Shard, ShardFolder  # noqa: E402
from pipeline.task import Task  # noqa: E402

FILE = HERE / "golden.json"
IMAGES = 6
ENTRIES = 6
# Where each kind of result says that its numbers have changed.
REVISIONS: dict[str, tuple[Any, str]] = {
    "ascent": (ascent, "ASCENT_REVISION"),
    "dgn": (dgn, "DGN_REVISION"),
    "mine": (tops, "MINE_REVISION"),
    "images": (tops, "IMAGES_REVISION"),
    "backproject": (tops, "BACKPROJECT_REVISION"),
    "tops": (tops_result, "TOPS_REVISION"),
    "memorisation": (memorisation, "MEMORISATION_REVISION"),
    "scores": (scores, "SCORE_REVISION"),
}


def results() -> dict[str, dict[str, Any]]:
    """Kind of result → its revision and a few of its numbers, by name."""
    with tempfile.TemporaryDirectory() as folder:
        made = {kind: dict(numbers) for kind, numbers in _kinds(Path(folder))}
    return {
        kind: {"revision": getattr(module, name), "numbers": made[kind]} for kind, (module, name) in REVISIONS.items()
    }


def _kinds(folder: Path) -> Iterator[tuple[str, Mapping[str, list[float]]]]:
    net, source = network(), _source(folder)
    prior = _prior()
    resources = Resources(net, source, {prior.digest: prior})
    regularized = {"decay": 0.01, "blur_radius": 1.0, "blur_every": 2, "small_norm_percentile": 20.0,
                   "px_abs_benefit_percentile": 10.0}  # fmt: skip
    style = StyleRecord(replace(STYLE, **regularized), ASCENT, 0, DEVICE)
    run = RunRecord("golden", _card(prior), _run_settings(), None, 0, DEVICE)
    model = net.digest
    made = ascent.AscentTask(model, "conv1", (0, 1, 2, 3), (0,), style, 4, 1.0)
    yield "ascent", _numbers(made, resources, ("activation", "activation_float", "best_step", "trace"))
    made = dgn.DgnTask(model, "fc", (((1, 1.0),), ((2, 1.0), (4, 0.5))), (0,), run, 0.5, 2, 1.0)
    yield "dgn", _numbers(made, resources, ("activation", "best_activation_float", "best_step", "code_norm", "trace"))
    plan = _mined_plan(net, source)
    (mined,) = tops.mine_tasks(plan)
    yield "mine", _numbers(mined, resources, None)
    shards = ShardFolder(folder / "shards")
    shards.write(mined.id, compute(mined, resources))
    whole = put_together(plan, [mined], shards, resources)
    arrays = {f"{name} {field}": values for name, layer in whole.layers.items()
              for field, values in {**layer.statistics, **layer.hits["largest"]}.items()}  # fmt: skip
    yield "tops", _rounded(arrays)
    yield "images", _numbers(tops.image_tasks(plan, [0, 3], [])[0], resources, ("placement", "size"))
    back = tops.backproject_tasks(plan, tops_result.best_hits(plan, whole.layers))
    yield "backproject", _numbers(back[0], resources, ("activation", "deconvnet_scale", "gradient_scale"))
    mining, pixels = tops.mining_of(plan), np.full((1, 11, 11, 3), 90, np.uint8)
    tested = memorisation.MemorisationTask(
        model, mining.dataset, DEVICE, 3, MemorisationSettings(1, 9, 3), "golden", "fc", ("conv1", "fc"), 0,
        (0, 0, 11, 11), "d", (True,), 1, pixels,
    )  # fmt: skip
    yield "memorisation", _numbers(tested, resources, ("nearest", "distance", "typical"))
    verdicts = judge_pictures(net, np.stack([pixels, pixels // 2]), np.ones((2, 1), bool), [0, 3])
    yield "scores", _rounded(vars(verdicts))


def _numbers(task: Task, resources: Resources, names: tuple[str, ...] | None) -> dict[str, list[float]]:
    shard = Shard(compute(task, resources), "golden")
    chosen = [name for name in shard.names if "histogram" not in name] if names is None else names
    arrays = {name: shard.array(name) for name in chosen}
    return _rounded({name: array for name, array in arrays.items() if array.dtype.kind != "U"})


def _rounded(arrays: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """Every array's first and last numbers, its length and its mean: enough to notice a change."""
    told = {}
    for name, array in arrays.items():
        values = np.nan_to_num(np.asarray(array, np.float64).ravel(), nan=-999.0, posinf=999.0, neginf=-998.0)
        parts = [values.size, *(values[:3].tolist() + values[-2:].tolist()), float(values.mean()) if values.size else 0]
        told[name] = [float(f"{part:.6g}") for part in parts]
    return told


def _source(folder: Path):
    """Noisy images of two classes in a folder."""
    for number in range(IMAGES):
        place = folder / "images" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        noise = np.random.RandomState(number).randint(0, 256, (13, 12, 3)).astype(np.uint8)
        Image.fromarray(noise).save(place / f"{number}.png")
    settings = DatasetSettings(
        kind="folder", name="noise", root=str(folder / "images"), labels=None, classes=None, limit=None,
        preprocess="resize", reduced_decoding=False, bad_share=0.0, block=9, seed=0, count=1, size=16,
    )  # fmt: skip
    return open_source(settings, cache=folder / "cache")


def _mined_plan(net: Network, source) -> Plan:
    dataset = DatasetRecord(
        source.name, "folder", source.digest, len(source), tuple(source.index.class_names), False, "resize", False,
        9, bad_share=0.0,
    )  # fmt: skip
    kept = TopsSettings(2, True, False, True, True, 9, ("deconvnet", "gradient"), ("deconvnet", "gradient"),
                        "derivative", "stored", 3)  # fmt: skip
    units = {"conv1": (0, 3), "fc": (1,)}
    return Plan(network_card(net)).asking("tops", [MiningRecord(dataset, kept, DEVICE)], units)


def _prior() -> _Prior:
    random = np.random.RandomState(5)
    first, second = nn.Linear(ENTRIES, 30), nn.Linear(30, 3 * 14 * 15)
    for layer in (first, second):
        shape = tuple(layer.weight.shape)
        layer.weight.data = torch.from_numpy(random.normal(0, 1 / np.sqrt(shape[1]), shape)).float()
        layer.bias.data = torch.zeros(shape[0])
    generator = nn.Sequential(first, nn.LeakyReLU(0.3), second, nn.Unflatten(1, (3, 14, 15)))
    return _Prior(
        generator.eval().requires_grad_(False), random.uniform(0, 1, ENTRIES), random.uniform(0.2, 1, ENTRIES)
    )


@dataclass(frozen=True)
class _Prior:
    """What tasks need of a prior."""

    generator: nn.Module
    code_mean: np.ndarray
    code_deviation: np.ndarray
    name: str = "golden"
    digest: str = "golden"
    code_shape: tuple[int, ...] = (ENTRIES,)
    rectified: bool = True
    height: int = 14
    width: int = 15
    order: str = "BGR"
    mean: tuple[float, ...] = (100.0, 110.0, 120.0)
    gain: tuple[float, ...] = (0.02, 0.025, 0.03)


def _card(prior: _Prior) -> PriorCard:
    return PriorCard(
        prior.name, prior.digest, "tiny", "", "fc", prior.code_shape, prior.rectified, prior.height, prior.width,
        prior.order, macs=1, bytes=1,
    )  # fmt: skip


def _run_settings() -> RunSettings:
    return RunSettings(
        iterations=8, unit="entry", step_start=0.5, step_end=1e-10, sigmas=3.0, clip=False, shrink=0.99, penalty=0.01,
        jitter=0.15, start="noise", image=None, fresh_starts=1, trace_points=4,
    )  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    text = json.dumps(results(), indent=1)
    FILE.write_text(re.sub(r"\[[^][]*\]", lambda found: " ".join(found[0].split()), text) + "\n")  # a line an array
    print(f"wrote {FILE}")
