"""A training as one page: reconstructions over time, and curves of what was measured."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from PIL import Image

_GAP = 4  # pixels between pictures
_LONGEST = 96  # pixels: larger pictures are scaled down to this


def write_look(folder: Path, step: int, real: np.ndarray, made: np.ndarray) -> Path:
    """Write real pictures over their reconstructions as `looks/step-NNNNNNN.png`; return its path.

    real, made : (picture, row, column, RGB) uint8; made ones may be larger, their centre is shown.
    """
    rows, columns = real.shape[1:3]
    top, left = (made.shape[1] - rows) // 2, (made.shape[2] - columns) // 2
    made = made[:, top : top + rows, left : left + columns]
    sheet = np.full((2 * rows + 3 * _GAP, len(real) * (columns + _GAP) + _GAP, 3), 255, np.uint8)
    for place, pair in enumerate(zip(real, made, strict=True)):
        for row, picture in enumerate(pair):
            y, x = _GAP + row * (rows + _GAP), _GAP + place * (columns + _GAP)
            sheet[y : y + rows, x : x + columns] = picture
    image = Image.fromarray(sheet)
    if max(rows, columns) > _LONGEST:
        share = _LONGEST / max(rows, columns)
        image = image.resize((round(image.width * share), round(image.height * share)), Image.Resampling.LANCZOS)
    path = folder / "looks" / f"step-{step:07d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    image.save(unfinished, format="PNG")
    os.replace(unfinished, path)
    return path


def write_metrics(path: Path, step: int, measured: dict[str, float]) -> None:
    """Add a line to a log of JSON lines; lines of later steps, of a run that was killed, go first."""
    kept = [line for line in path.read_text().splitlines() if json.loads(line)["step"] < step] if path.exists() else []
    kept.append(json.dumps({"step": step, **{name: float(f"{value:.6g}") for name, value in measured.items()}}))
    unfinished = path.with_suffix(".part")
    unfinished.write_text("\n".join(kept) + "\n")
    os.replace(unfinished, path)
