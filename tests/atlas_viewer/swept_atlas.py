"""Sweeps in the made-up atlas, of styles and of runs: rows, draws, two judges."""

from __future__ import annotations

import math
from pathlib import Path

import h5py
import numpy as np
from generated_atlas import by_prior, write_arrays
from numbers_table import ASCENT, DGN, write_numbers

from atlas_viewer import format
from atlas_viewer.evidence.ascent import STYLE
from atlas_viewer.evidence.dgn import RUN
from atlas_viewer.evidence.scores import JUDGE, SCORES
from atlas_viewer.field import write_picture

ROWS = {"decay": 3, "blur": 2, "norm": 2, "contribution": 2}  # settings of each beside none
FIELDS = {"decay": "decay", "blur": "blur_radius", "norm": "small_norm_percentile"}
FIELDS |= {"contribution": "px_abs_benefit_percentile"}
OFF = {"decay": 0.0, "blur_radius": 0.0, "blur_every": 0, "small_val_percentile": 0.0, "small_norm_percentile": 0.0}
OFF |= {"px_benefit_percentile": 0.0, "px_abs_benefit_percentile": 0.0}
CLIMB = {"policy": "scale_free", "step_start": 4.0, "step_end": 0.4, "rate": 1.0, "max_iter": 20, "keep": "best"}
CLIMB |= {"keep_from": 0, "start_image": "mean_plus_rand", "start": "reference", "max_rate": 1.0}


def add_sweep(path: Path, layer: str, *, draws: int = 4, units: int | None = None, judged: bool = True) -> None:
    """Add a sweep of a layer's styles (its group's name) to an atlas, its first `units` units or all.

    Draw n is given n / draws by the judge "squeeze" and the rest by the network; decay_3 has no pictures, and no
    unit of decay_2 but the first has one.
    """
    settings: list[tuple[str, str, int, dict[str, float]]] = [("none", "none", 0, {})]
    for axis, field in FIELDS.items():
        settings += [(f"{axis}_{place}", axis, place, {field: 0.1 * place}) for place in range(1, ROWS[axis] + 1)]
    settings += [(f"random_{n:03d}", "random", n, {"decay": 0.5, "blur_radius": n + 0.5}) for n in range(draws)]
    with h5py.File(path, "r+") as file:
        everyone = len(file[f"layers/{layer}/units/unit"])
        asked = everyone if units is None else units
        side = file[f"layers/{layer}/ascent/sparse/pixels"].shape[2]
        for at, (name, axis, place, numbers) in enumerate(settings):
            there = {"decay_3": 0, "decay_2": 1}.get(name, asked)
            about = {"sweep": axis, "sweep_place": place, "sweep_base": "low_frequency"}
            blur = {"blur_every": 4} if "blur_radius" in numbers else {}
            _write_style(file, layer, name, OFF | CLIMB | numbers | blur | about, side, (everyone, asked, there), at)
            if judged:
                share = place / draws if axis == "random" else 0.25
                for judge, value in (("doodlenet", 1 - share), ("squeeze", share)):
                    _write_scores(file, layer, judge, name, value, everyone, there)


def _write_style(
    file, layer: str, name: str, numbers: dict, side: int, counts: tuple[int, int, int], seed: int
) -> None:
    everyone, asked, there = counts
    index = file[f"layers/{layer}/units/unit"][...]
    about = {"style": name, "measure": f"value of {layer}", "canvas": "window", "row": 3, "column": 3, "seed": 7}
    about |= {"direction": "maximize", "cut": [0, 0, 0, 0]}
    group = STYLE.create(file, about | numbers, layer=layer, style=name)
    status = np.full((everyone, 1), format.Status.missing, "u1")
    status[:asked] = format.Status.zero_gradient
    status[:there] = format.Status.ok
    fine = status == format.Status.ok
    pixels = STYLE["pixels"].create(group, {"unit": everyone, "sample": 1, "y": side, "x": side})
    generator, digests = np.random.default_rng(seed), np.zeros((everyone, 1), "u8")
    for row in range(there):
        chunk = generator.integers(90, 150, (1, 1, side, side, 3), "u1")
        digests[row, 0] = write_picture(pixels, (row, 0), STYLE["pixels"].encode(chunk))
    STYLE["pixels_digest"].write(group, digests)
    activation = np.where(fine, 10.0 + seed, np.nan)
    arrays = {"activation": activation, "activation_float": activation, "best_step": np.where(fine, 19, -1)}
    arrays |= {"status": status, "reason": [""] * everyone, "trace": np.where(fine[:, :, None], np.arange(3.0), np.nan)}
    arrays |= {"unit": index, "trace_step": (0, 10, 19), "attempt": np.zeros((everyone, 1), "u1")}
    for field, values in arrays.items():
        STYLE[field].write(group, values)


def _write_scores(file: h5py.File, layer: str, judge: str, style: str, value: float, everyone: int, there: int) -> None:
    if f"layers/{layer}/scores/{judge}" not in file:
        digest = file.attrs["model_digest"] if judge == "doodlenet" else "ab" * 32
        JUDGE.create(file, {"judge": judge, "judge_digest": digest}, layer=layer, judge=judge)
    about = {"pictures": f"ascent/{style}"}
    group = SCORES.create(file, about, layer=layer, judge=judge, setting=style)
    shown = (np.arange(everyone) < there)[:, None]
    SCORES["unit"].write(group, file[f"layers/{layer}/units/unit"][...])
    SCORES["target"].write(group, range(everyone))
    SCORES["top1"].write(group, np.where(shown, 0, -1))
    SCORES["target_probability"].write(group, np.where(shown, value, np.nan))
    SCORES["target_rank"].write(group, np.where(shown, 0, -1))


def add_run_sweep(path: Path, layer: str, *, draws: int = 2) -> None:
    """Add a sweep of the runs of the prior "toy" to a generated atlas: none, two bounds, two decays, and draws."""
    off = {"iterations": 20, "step_start": 8.0, "sigmas": math.inf, "clip": False, "shrink": 1.0, "bounded": True}
    settings: list[tuple[str, str, int, dict[str, float]]] = [("none", "none", 0, {})]
    settings += [(f"sigmas_{n}", "sigmas", n, {"sigmas": 4.0 - n}) for n in (1, 2)]
    settings += [(f"shrink_{n}", "shrink", n, {"shrink": 1 - 0.01 * n}) for n in (1, 2)]
    settings += [(f"random_{n:03d}", "random", n, {"sigmas": 2.5, "shrink": 0.95}) for n in range(draws)]
    with h5py.File(path, "r+") as file:
        units = file[f"layers/{layer}/units/unit"][...]
        side = file[f"layers/{layer}/dgn/toy/pixels"].shape[2]
        for seed, (name, axis, place, numbers) in enumerate(settings):
            about = {"run": f"toy-{name}", "row": 3, "column": 3, "cut": [0, 0, 0, 0], **by_prior("toy")}
            about |= {"sweep": axis, "sweep_place": place, "sweep_base": "toy"}
            group = RUN.create(file, about | off | numbers, layer=layer, run=f"toy-{name}")
            write_arrays(group, units, 1, side, seed)


def add_number(file: h5py.File, method: str, row: tuple[str, ...], values: dict[str, float]) -> None:
    """Add a number to a method's table, and its value to the settings of these names in every layer."""
    table = {"ascent": ASCENT, "dgn": DGN}[method]
    del file[f"numbers/{method}"]
    write_numbers(file, method, (*table, row))
    for layer in file["layers"].values():
        for name, group in layer.get(method, {}).items():
            group.attrs[row[0]] = values.get(name, 0.0)
