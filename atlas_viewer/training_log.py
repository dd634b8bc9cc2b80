"""The log of a training run: facts, measurements, and snapshots of reconstructions, beside its weights."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from atlas_viewer.errors import FormatError

FACTS, METRICS, SNAPSHOTS = "training.json", "metrics.jsonl", "snapshots"
_GAP = 4  # pixels between pictures
_LONGEST = 96  # pixels: larger pictures are scaled down to this


@dataclass(frozen=True)
class TrainingFacts:
    """The facts of a training run, known from its start except for the errors.

    title : of the page.
    facts : name and text of each.
    numbers : name and text of each setting of the recipe.
    steps : their total number.
    errors : a table, head first, of the finished prior; empty before.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    numbers: tuple[tuple[str, str], ...]
    steps: int
    errors: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Measured:
    """Means of measurements by name, over the steps since the line before."""

    step: int
    values: dict[str, float]


def write_facts(folder: Path, facts: TrainingFacts) -> None:
    """Write the facts of a training run into its folder."""
    _replace(folder / FACTS, json.dumps(asdict(facts), indent=1, ensure_ascii=False) + "\n")


def read_facts(folder: Path) -> TrainingFacts:
    """The facts in a folder. Raises FormatError where they are missing or cannot be read."""
    try:
        stored = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        pairs = {name: tuple(map(tuple, stored[name])) for name in ("facts", "numbers", "errors")}
        return TrainingFacts(title=stored["title"], steps=stored["steps"], **pairs)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(
            f"{folder / FACTS}: expected the facts of a training run, got {type(error).__name__}: {error}; "
            "run the same command again to resume the training"
        ) from None


def write_metrics(path: Path, step: int, measured: dict[str, float]) -> None:
    """Add a line to a log of JSON lines, after removing lines of later steps, which a killed process left."""
    kept = [_line(line.step, line.values) for line in read_metrics(path) if line.step < step]
    _replace(path, "\n".join([*kept, _line(step, measured)]) + "\n")


def read_metrics(path: Path) -> list[Measured]:
    """The measurements of a log, by step; empty without a log. Lines that cannot be read are skipped."""
    by_step: dict[int, Measured] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            values = json.loads(line)
            step = int(values.pop("step"))
            by_step[step] = Measured(step, {name: float(value) for name, value in values.items()})
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
    return [by_step[step] for step in sorted(by_step)]


def write_snapshot(folder: Path, step: int, real: np.ndarray, made: np.ndarray) -> Path:
    """Write real pictures over their reconstructions as `snapshots/step-NNNNNNN.png`; return its path.

    real, made : (picture, row, column, RGB) uint8; made ones may be larger, and are
    cropped at their centre. Snapshots of later steps, which a killed process left, are removed.
    """
    rows, columns = real.shape[1:3]
    top, left = (made.shape[1] - rows) // 2, (made.shape[2] - columns) // 2
    made = made[:, top : top + rows, left : left + columns]
    sprite = np.zeros((2 * rows + 3 * _GAP, len(real) * (columns + _GAP) + _GAP, 4), np.uint8)  # clear between
    for place, pair in enumerate(zip(real, made, strict=True)):
        for row, picture in enumerate(pair):
            y, x = _GAP + row * (rows + _GAP), _GAP + place * (columns + _GAP)
            sprite[y : y + rows, x : x + columns, :3] = picture
            sprite[y : y + rows, x : x + columns, 3] = 255
    image = Image.fromarray(sprite)
    if max(rows, columns) > _LONGEST:
        share = _LONGEST / max(rows, columns)
        image = image.resize((round(image.width * share), round(image.height * share)), Image.Resampling.LANCZOS)
    path = folder / SNAPSHOTS / f"step-{step:07d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    for later in snapshots(folder):
        if later[0] > step:
            later[1].unlink()
    unfinished = path.with_suffix(".part")
    image.save(unfinished, format="PNG")
    os.replace(unfinished, path)
    return path


def snapshots(folder: Path) -> list[tuple[int, Path]]:
    """Step and file of every snapshot, by step."""
    paths = [path for path in (folder / SNAPSHOTS).glob("step-*.png") if path.stem.removeprefix("step-").isdigit()]
    return sorted((int(path.stem.removeprefix("step-")), path) for path in paths)


def _line(step: int, measured: dict[str, float]) -> str:
    return json.dumps({"step": step, **{name: float(f"{value:.6g}") for name, value in measured.items()}})


def _replace(path: Path, text: str) -> None:
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)
