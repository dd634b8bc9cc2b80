"""One GPU, all of it: right results, unit-steps a second and share of the peak of every layer, mining, a small atlas.

Needs neither Hydra nor Ray nor a network connection. Everything that it measures goes into one JSON file.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jobs.bench.figures import Figures
from jobs.bench.plain_conf import atlas_values
from jobs.bench.record import commit
from jobs.bench.shapes import ShapedPrior, caffenet_shaped, generator_shaped
from pipeline.card import PriorCard
from pipeline.climb.attempts import Item, climb_items
from pipeline.compute import compute
from pipeline.errors import SettingsError
from pipeline.methods.ascent.regularizers import percentiles
from pipeline.methods.ascent.settings import AscentSettings, StyleRecord, StyleSettings
from pipeline.methods.ascent.task import AscentTask, ascent_tasks
from pipeline.methods.dgn.adapter import Adapter
from pipeline.methods.dgn.codes import CodeRange, Codes
from pipeline.methods.dgn.request import read_dgn
from pipeline.methods.dgn.settings import RunRecord
from pipeline.methods.tops.backproject import back_project
from pipeline.methods.tops.mine import MineSettings, mine_block
from pipeline.nets.cone import layer_cone
from pipeline.nets.device_images import Batch, centred
from pipeline.nets.network import Network
from pipeline.nets.network_card import network_card
from pipeline.nets.open_network import open_network
from pipeline.plan import Plan
from pipeline.priors.windowed import windowed
from pipeline.request import Config, read_settings
from pipeline.resources import Resources, placed, prepare
from pipeline.settings import DeviceSettings, ModelSettings, PriorSettings

QUESTION = "on one GPU: agreement with the CPU, unit-steps and images a second, share of the peak, use over an atlas"
ON_GPU = True
CPU = torch.device("cpu")
LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
DGN_LAYERS, DGN_BATCH, ENTRIES = ("conv3", "fc8"), 24, 4096
TOLERANCE = 2e-4  # of the largest value: single precision, sums in another order
PROCESSES = (1, 2, 4)
STEP_PASSES = 2  # forward, and back to the image; no weight has a gradient
EVERY = 200  # milliseconds between two looks at how busy the GPU is


@dataclass(frozen=True)
class Size:
    """How much is measured. A CPU takes the small one, to show that all of it runs.

    layers, dgn_layers : of CaffeNet's shape.
    most : items of a micro-batch.
    steps : of a climb.
    images : mined.
    matrix : rows of the square matrices whose product shows the peak.
    atlas : units of the small atlas.
    processes : that climb at the same time.
    """

    layers: tuple[str, ...]
    dgn_layers: tuple[str, ...]
    most: int
    steps: int
    images: int
    matrix: int
    atlas: dict[str, range]
    processes: tuple[int, ...]


_WHOLE = {"conv2": range(64), "conv3": range(64), "conv5": range(48), "fc8": range(28)}
FULL = Size(LAYERS, DGN_LAYERS, 256, 100, 2048, 8192, _WHOLE, PROCESSES)
TINY = Size(("conv1", "conv3"), ("conv3",), 2, 3, 8, 256, {"conv1": range(2), "fc8": range(1)}, (1,))


def measure(short: bool, device: str = "cuda", file: str | None = None) -> Figures:
    """Measure everything on a device, and write one JSON file.

    short : half the steps and images.
    device : "cuda"; "cpu" runs a tiny part of everything.
    file : of the JSON; None for docs/benchmarks/NAME-OF-THE-GPU.json.
    Raises SettingsError without a GPU.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise SettingsError("bench device=cuda: torch finds no GPU on this machine; run it on one that has")
    size = TINY if device == "cpu" else replace(FULL, steps=50, images=1024) if short else FULL
    bench = _Bench(device, size)
    found: dict[str, Any] = {"machine": bench.machine()}
    name = "".join(letter if letter.isalnum() else "-" for letter in found["machine"]["device"].lower())
    target = Path(file) if file is not None else Path(__file__).parents[2] / "docs" / "benchmarks" / f"{name}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    for part in (
        bench.peak, bench.agreement, bench.climbs, bench.dgn, bench.mining, bench.processes, bench.atlas
    ):  # fmt: skip
        started = time.perf_counter()
        found[part.__name__] = part()
        target.write_text(json.dumps(found, indent=1) + "\n")  # what is measured stays if a later part fails
        print(f"  {part.__name__}: {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)
    return _figures(found, target)


class _Bench:
    """The measurements, each a method that returns plain values by name."""

    def __init__(self, kind: str, size: Size) -> None:
        self.size, self.values = size, atlas_values({}, model="doodlenet", dataset="doodles")
        self.settings = read_settings(DeviceSettings, self.values["devices"][kind], f"devices.{kind}")
        self.device = prepare(self.settings)
        self.network = caffenet_shaped()
        self._flops = 0.0  # of the peak in single precision

    @cached_property
    def prior(self) -> ShapedPrior:
        return generator_shaped()

    def machine(self) -> dict[str, Any]:
        """What was measured, and with what."""
        cuda = self.device.type == "cuda"
        found: dict[str, Any] = {
            "device": torch.cuda.get_device_name() if cuda else platform.machine(),
            "driver": _asked("driver_version") if cuda else None,
            "capability": list(torch.cuda.get_device_capability()) if cuda else None,
            "memory": torch.cuda.get_device_properties(0).total_memory if cuda else None,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version() if cuda else None,
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "commit": commit(),
            "date": time.strftime("%Y-%m-%d"),
        }
        return found

    def peak(self) -> dict[str, float]:
        """Floating-point operations a second of large products and convolutions, and bytes a second of a copy."""
        n, kinds = self.size.matrix, {"float32": torch.float32, "bfloat16": torch.bfloat16}
        found = {}
        for name, kind in kinds.items():
            a, b = (torch.randn(n, n, device=self.device).to(kind) for _ in range(2))
            found[f"matrix product, {name}"] = 2 * n**3 / self._seconds(lambda a=a, b=b: a @ b, 10)
        batch = max(1, n // 128)
        x = torch.randn(batch, 256, 28, 28, device=self.device)
        weight = torch.randn(256, 256, 3, 3, device=self.device)
        flops = 2 * batch * 256 * 28 * 28 * 256 * 9
        convolve = torch.nn.functional.conv2d
        found["convolution, float32"] = flops / self._seconds(lambda: convolve(x, weight, padding=1), 10)
        copied = torch.empty(n * n * 4, device=self.device)
        found["copy, bytes"] = 8 * copied.numel() / self._seconds(lambda: copied.clone(), 10)
        self._flops = max(found["matrix product, float32"], found["convolution, float32"])
        return found

    def agreement(self) -> dict[str, dict[str, float | bool]]:
        """The largest differences from the CPU, as shares of the largest value."""
        found: dict[str, dict[str, float | bool]] = {}

        def compare(name: str, got: Tensor | np.ndarray, expected: Tensor | np.ndarray, allowed: float) -> None:
            got, expected = (torch.as_tensor(each).detach().cpu().double() for each in (got, expected))
            error = float((got - expected).abs().max() / expected.abs().max().clamp(min=1e-30))
            found[name] = {"error": error, "tolerance": allowed, "agrees": error <= allowed}

        moved = placed(self.network, self.device)
        draw, draw_there = self.prior.generator, self.prior.generator_on(self.device)
        noise = torch.Generator().manual_seed(0)
        for layer in self.size.layers:
            cones = layer_cone(self.network, layer, "window"), layer_cone(moved, layer, "window")
            at = cones[0].window
            image = torch.randn(2, 3, at.height, at.width, generator=noise) * 40
            values, slopes = zip(*(_climbed(cone, image.to(where)) for cone, where in
                                   zip(cones, (CPU, self.device), strict=True)), strict=True)  # fmt: skip
            compare(f"{layer}: activations", values[1], values[0], TOLERANCE)
            compare(f"{layer}: gradients", slopes[1], slopes[0], 10 * TOLERANCE)
        for layer in self.size.dgn_layers:
            window = self._window(layer)
            codes = torch.randn(2, ENTRIES, generator=noise).abs()
            with torch.no_grad():
                expected = windowed(draw, self.prior.code_shape, *window)(codes)
                got = windowed(draw_there, self.prior.code_shape, *window)(codes.to(self.device))
            compare(f"{layer}: generator on the window", got, expected, TOLERANCE)
        pixels = np.random.RandomState(1).randint(0, 256, (4, 227, 227, 3)).astype(np.uint8)
        signals = [
            back_project(network, "conv3", list(pixels), np.arange(4), np.full((4, 2), 6), lrn="derivative", batch=4,
                         device=where).signals
            for network, where in ((self.network, CPU), (moved, self.device))
        ]  # fmt: skip
        compare("conv3: back-projections", np.stack(signals[1]), np.stack(signals[0]), 10 * TOLERANCE)
        blocks = [self._mined(network, ("conv3", "fc8"), pixels, where) for network, where in
                  ((self.network, CPU), (moved, self.device))]  # fmt: skip
        for name in ("conv3", "fc8"):
            here, there = (block[name].largest.value[:, : len(pixels)] for block in blocks)
            compare(f"{name}: largest of images", there, here, TOLERANCE)
        numbers = torch.randn(8, 30_000, generator=noise)
        compare("percentiles", percentiles(numbers.to(self.device), 37.5), percentiles(numbers, 37.5), 0.0)
        return found

    def climbs(self) -> dict[str, dict[str, float | None]]:
        """Gradient ascent of every layer as an atlas runs it, with the planner's own micro-batch."""
        card, resources = network_card(self.network), Resources(self.network)
        found = {}
        for layer in self.size.layers:
            task = self._task(card, layer, resources)
            few = replace(task.style, style=replace(task.style.style, max_iter=2))
            compute(replace(task, style=few), resources)  # libraries load, plans of convolutions are made
            self._forget()
            seconds = self._seconds(lambda task=task: compute(task, resources), 1, warm=False)
            once = self._seconds(lambda task=task, few=few: compute(replace(task, style=few), resources), 1, warm=False)
            steps = len(task.units) * (task.style.style.max_iter - 2)
            taken = seconds - once if seconds > once else seconds
            flops = 2 * STEP_PASSES * card.layer(layer).macs["window"] * steps
            found[layer] = {
                "batch": task.batch,
                "unit-steps/s": steps / taken,
                "share of the peak": flops / taken / self._flops,
                "seconds beside the steps": once,
                "memory": self._memory(),
            }
        return found

    def dgn(self) -> dict[str, dict[str, float | None]]:
        """DGN-AM with the published generator's shape, on the window."""
        numbers = {"iterations": self.size.steps, "trace_points": 2, "fresh_starts": 0}
        config = Config(atlas_values({"dgn": numbers}), self.settings, ("dgn",), 1, 0)
        settings = read_dgn(config).settings[""]
        card = PriorCard("bench", "", "", "", "fc6", (ENTRIES,), True, 256, 256, "BGR", macs=1, bytes=1)
        run, network = RunRecord("bench", card, settings, None, 0, self.settings), placed(self.network, self.device)
        spread = CodeRange(np.full(ENTRIES, 0.6, np.float32), np.full(ENTRIES, 3.7, np.float32), rectified=True)
        prior = replace(self.prior, generator=self.prior.generator_on(self.device))
        batch = min(DGN_BATCH, self.size.most)
        items = [Item(((unit, 1.0),), 0, run) for unit in range(batch)]
        found = {}
        for layer in self.size.dgn_layers:
            cone = layer_cone(network, layer, "window")
            adapter = Adapter(prior, network.preprocessing, cone.window, self.device, torch.float32)
            codes = Codes(adapter, layer, run, spread, None)

            def climb(cone=cone, codes=codes) -> object:
                return climb_items(
                    cone, codes, items, fresh_starts=0, trace_points=2, batch=batch, device=self.device, log_odds=True
                )

            climb()
            self._forget()
            seconds = self._seconds(climb, 1, warm=False)
            steps = settings.iterations * batch
            found[layer] = {"batch": batch, "unit-steps/s": steps / seconds, "memory": self._memory()}
        return found

    def mining(self) -> dict[str, dict[str, float]]:
        """Images a second: mined in every layer, the forward pass alone in the same layout, and doodles drawn."""
        doodlenet = open_network(read_settings(ModelSettings, self.values["model"], "model"))
        found = {}
        for network, batch in ((doodlenet, 64), (self.network, 16)):
            image, count = network.preprocessing, max(batch, self.size.images // (1 if network is doodlenet else 4))
            random = np.random.RandomState(0)
            pixels = random.randint(0, 256, (min(count, 256), image.height, image.width, 3)).astype(np.uint8)
            rounds = max(1, count // len(pixels))
            moved, layers = placed(network, self.device), tuple(network.layers)

            def forward(moved=moved, pixels=pixels, batch=batch, layers=layers, rounds=rounds) -> None:
                into = None
                with torch.inference_mode():
                    for _, part, _ in _batches(pixels, batch, rounds):
                        into = centred(moved.preprocessing, part, self.device, into=into)
                        moved.run(into, layers[-1:])

            def mined(moved=moved, pixels=pixels, batch=batch, layers=layers, rounds=rounds, positions=True) -> None:
                self._mined(moved, layers, pixels, self.device, batch, rounds, positions)

            total = rounds * len(pixels)
            found[network.name] = {
                "forward": total / self._seconds(forward, 1),
                "mined": total / self._seconds(mined, 1),
                "mined, without statistics of positions": total / self._seconds(lambda m=mined: m(positions=False), 1),
            }
        drawn = list(self._doodles(64).loads(0, 64))
        started = time.perf_counter()
        for _, draw in drawn:
            draw()
        found["doodles"] = {"drawn by one core": len(drawn) / (time.perf_counter() - started)}
        return found

    def processes(self) -> dict[str, dict[str, float]]:
        """Unit-steps a second of several processes that climb on the GPU at the same time, all together."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # what this process keeps for itself is theirs meanwhile
        layers = self.size.layers[0], self.size.layers[-1]
        found: dict[str, dict[str, float]] = {layer: {} for layer in layers}
        for count in self.size.processes:
            command = [sys.executable, "-m", "jobs.bench.gpu", self.device.type, *layers]
            root = Path(__file__).parents[2]
            started = [
                subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                for _ in range(count)
            ]
            _answers(started)  # all are ready
            for layer in layers:
                for process in started:
                    process.stdin.write("go\n")  # type: ignore[union-attr]
                    process.stdin.flush()  # type: ignore[union-attr]
                found[layer][str(count)] = sum(map(float, _answers(started)))
            for process in started:
                process.communicate()
        return found

    def atlas(self) -> dict[str, float | None]:
        """A small atlas of doodlenet without its pages, in this process: seconds, and how busy the GPU was."""
        with tempfile.TemporaryDirectory() as folder, _watched(self.device) as busy:
            started = time.perf_counter()
            pictures = self._atlas(Path(folder))
            seconds = time.perf_counter() - started
        share = float(np.mean(busy)) if busy else None
        return {"pictures": pictures, "seconds": seconds, "GPU busy": share}

    # What they use ---------------------------------------------------------------------------------------

    def climb_one(self, layer: str) -> Callable[[], float]:
        """Prepare the climbs of a layer; the function that is returned gives their unit-steps a second."""
        card, resources = network_card(self.network), Resources(self.network)
        task = self._task(card, layer, resources)
        compute(replace(task, style=replace(task.style, style=replace(task.style.style, max_iter=2))), resources)

        def climbed() -> float:
            seconds = self._seconds(lambda: compute(task, resources), 1, warm=False)
            return len(task.units) * task.style.style.max_iter / seconds

        return climbed

    def _task(self, card: Any, layer: str, resources: Resources) -> AscentTask:
        """The first task of a layer as planned, cut to one micro-batch and the steps that are measured."""
        style = read_settings(StyleSettings, self.values["style"]["low_frequency"], "style.low_frequency")
        ascent = replace(read_settings(AscentSettings, self.values["ascent"], "ascent"), fresh_starts=0)
        record = StyleRecord(replace(style, max_iter=self.size.steps), ascent, 0, self.settings)
        units = tuple(range(card.layer(layer).channels))
        task = ascent_tasks(Plan(card).asking("ascent", [record], {layer: units}, 1))[0]
        batch = min(task.batch, self.size.most)
        return replace(task, units=tuple(range(batch)), batch=batch)

    def _window(self, layer: str) -> tuple[Any, Any]:
        """Rows and columns of the generator's image under the window of a layer's unit."""
        from pipeline.nets.interval import Interval

        at = layer_cone(self.network, layer, "window").window
        top = (self.prior.height - self.network.preprocessing.height) // 2
        return Interval(top + at.top, top + at.bottom), Interval(top + at.left, top + at.right)

    def _mined(
        self, network: Network, layers: Sequence[str], pixels: np.ndarray, where: torch.device, batch: int = 4,
        rounds: int = 1, positions: bool = True,
    ) -> dict[str, Any]:  # fmt: skip
        kept = MineSettings(k=9, smallest=True, own_class=False, quantiles=True, positions=positions)
        every = round(1 / self.values["tops"]["position_share"])
        block = mine_block(
            network, layers, _batches(pixels, batch, rounds), settings=kept, sample=range(len(pixels)),
            position_sample=range(0, len(pixels), every), labels={}, classes=1, device=where,
        )  # fmt: skip
        return dict(block.layers)

    def _doodles(self, count: int) -> Any:
        from pipeline.data.open_source import open_source
        from pipeline.dataset_settings import DatasetSettings

        settings = replace(read_settings(DatasetSettings, self.values["dataset"], "dataset"), count=count)
        return open_source(settings, cache=Path(tempfile.gettempdir()))

    def _atlas(self, out: Path) -> int:
        """Compute an atlas as the job does, in this process; return its number of pictures."""
        from jobs.cluster import Serial
        from jobs.execution import Execution
        from pipeline.methods.registry import METHODS, cut
        from pipeline.priors.card import prior_card
        from pipeline.priors.open import open_prior
        from pipeline.request import Request
        from pipeline.store.merge import merge
        from pipeline.store.shard import ShardFolder
        from pipeline.work import Work

        changes = {
            "styles": ["low_frequency"],
            "style": {"low_frequency": {"max_iter": max(4, self.size.steps)}},
            "dgn": {"iterations": max(4, self.size.steps // 2)},
            "dataset": {"count": max(16, self.size.images // 4)},
        }
        values = atlas_values(changes, model="doodlenet", dataset="doodles")
        network = open_network(read_settings(ModelSettings, values["model"], "model"))
        card = network_card(network)
        prior = open_prior(read_settings(PriorSettings, values["prior"]["doodlenet_fc6"], "prior.doodlenet_fc6"))
        config = Config(values, self.settings, ("ascent", "dgn", "tops"), 1, 0)
        asked = {method.name: method.read(config) for method in METHODS}
        run = RunRecord(prior.name, prior_card(prior), asked["dgn"].settings[""], None, 0, self.settings)
        source = self._doodles(values["dataset"]["count"])
        opened = {"priors": _Opened((run,)), "source": source}
        units = {layer: tuple(chosen) for layer, chosen in self.size.atlas.items()}
        plan, request = Plan(card), Request(config, card, units, asked, opened)
        for method in METHODS:
            if not method.requested or method.name in config.methods:
                plan = method.ask(plan, request)
        resources = Resources(network, source, {prior.digest: prior})
        work = Work(plan, ShardFolder(out / "shards"), out / "atlas.h5", plan, resources)
        Execution(work, Serial).compute_all()
        return merge(cut(work), out / "atlas.h5", "", lambda tasks: None).pictures

    def _seconds(self, work: Callable[[], object], times: int, warm: bool = True) -> float:
        """Seconds of one run of a piece of work: the mean of several, after one that does not count."""
        if warm:
            work()
        self._wait()
        started = time.perf_counter()
        for _ in range(times):
            work()
        self._wait()
        return (time.perf_counter() - started) / times

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _forget(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def _memory(self) -> int | None:
        """Bytes of the device's memory that were in use at once since `_forget`."""
        return torch.cuda.max_memory_allocated() if self.device.type == "cuda" else None


@dataclass(frozen=True)
class _Opened:
    """The opened runs of a request."""

    runs: tuple[RunRecord, ...]


def _answers(started: Sequence[subprocess.Popen]) -> list[str]:
    """A line of each process. Raises RuntimeError if one has ended."""
    lines = [process.stdout.readline() for process in started]  # type: ignore[union-attr]
    if not all(lines):
        raise RuntimeError("one of several processes that climb at the same time has ended; its error is above")
    return lines


def _climbed(cone: Any, image: Tensor) -> tuple[Tensor, Tensor]:
    """Activations of the first units, and the gradient at the image."""
    leaf = image.requires_grad_()
    value = cone.activations(leaf, torch.arange(len(leaf), device=leaf.device))
    (slope,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), slope


def _batches(pixels: np.ndarray, batch: int, rounds: int) -> Iterator[Batch]:
    """The images, several times over, under ever new numbers."""
    number = 0
    for _ in range(rounds):
        for start in range(0, len(pixels) - batch + 1, batch):
            yield np.arange(number, number + batch), pixels[start : start + batch], batch
            number += batch


@contextmanager
def _watched(device: torch.device) -> Iterator[list[float]]:
    """While it is open, how busy the GPU is, as nvidia-smi measures it: shares of time with a kernel on it."""
    busy: list[float] = []
    asked = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", f"--loop-ms={EVERY}"]
    watcher = None
    if device.type == "cuda":
        with suppress(OSError):
            watcher = subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if watcher is None:
        yield busy
        return

    def read() -> None:
        for line in watcher.stdout:  # type: ignore[union-attr]
            if line.strip().isdigit():
                busy.append(int(line) / 100)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield busy
    finally:
        watcher.terminate()
        reader.join()
        watcher.wait()


def _asked(field: str) -> str | None:
    """A field of nvidia-smi."""
    try:
        command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None


def _figures(found: dict[str, Any], target: Path) -> Figures:
    figures = Figures()
    for name, value in found["peak"].items():
        figures.add(f"peak: {name}", value / 1e12, "T/s")
    wrong = [name for name, one in found["agreement"].items() if not one["agrees"]]
    worst = max(one["error"] for one in found["agreement"].values())
    differ = f"{len(found['agreement'])} compared, differ: {', '.join(wrong) or 'none'}"
    figures.add(f"agreement with the CPU: {differ}; largest difference", worst, "")
    for layer, one in found["climbs"].items():
        figures.add(f"{layer}, micro-batches of {one['batch']}", one["unit-steps/s"], "unit-steps/s")
        figures.add(f"{layer}, share of the peak in single precision", one["share of the peak"], "")
    for layer, one in found["dgn"].items():
        figures.add(f"DGN-AM of {layer}, micro-batches of {one['batch']}", one["unit-steps/s"], "unit-steps/s")
    for name, rates in found["mining"].items():
        for what, rate in rates.items():
            figures.add(f"{name}: {what}", rate, "images/s")
    for layer, rates in found["processes"].items():
        for count, rate in rates.items():
            figures.add(f"{layer}, {count} processes together", rate, "unit-steps/s")
    figures.add("small atlas", found["atlas"]["seconds"], "s")
    if found["atlas"]["GPU busy"] is not None:
        figures.add("small atlas, GPU busy", found["atlas"]["GPU busy"], "(target: at least 0.8)")
    print(f"  all numbers: {target}")
    return figures


if __name__ == "__main__":  # one of several processes that climb at the same time
    kind, *chosen = sys.argv[1:]
    bench = _Bench(kind, FULL if kind == "cuda" else TINY)
    climbs = [bench.climb_one(layer) for layer in chosen]
    print("ready", flush=True)
    for climbed in climbs:
        sys.stdin.readline()
        print(climbed(), flush=True)
