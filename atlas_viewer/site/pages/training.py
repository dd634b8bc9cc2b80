"""The page of a training run: reconstructions over time, curves of its measurements, recipe and final errors."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup
from PIL import Image

from atlas_viewer.site import captions
from atlas_viewer.site.curves import Line, Plot, draw
from atlas_viewer.site.outline import render
from atlas_viewer.training_log import METRICS, SNAPSHOTS, Measured, TrainingFacts, read_facts, read_metrics, snapshots

PAGE = "index.html"
_EARLIER = 10  # snapshots shown below the latest
_STYLES = Path(__file__).parents[1] / "static" / "atlas.css"
_ABOUT = {
    "rest": "The errors that the generator minimizes apart from the adversarial loss: of pixels, and in total.",
    "features": "The error in each compared layer. For relative losses, 1 corresponds on average to predicting zero "
    "for every value of the layer.",
    "sides": "The discriminator’s losses on real and generated images, and the generator’s adversarial loss. "
    "ln 2 is chance level; both discriminator losses near 0 mean that it recognises every generated image.",
    "weight": "The factor of the adversarial gradient in the total gradient.",
    "learns": "The share of steps in which the discriminator was trained; it pauses while it is too far ahead.",
}


def write_page(out: Path) -> Path:
    """Write `index.html` of a training run from the files of its folder, and return its path.

    The page needs nothing outside the folder. Raises FormatError where the facts of the training run are missing.
    """
    facts, measured, seen = read_facts(out), read_metrics(out / METRICS), snapshots(out)
    began = next((line.step for line in measured if "real" in line.values), None)
    marked = began if measured and measured[0].step != began else None
    plots = [(panel.title, draw(panel, facts.steps, marked), _ABOUT[name]) for name, panel in _panels(measured).items()]
    done = max([step for step, _ in seen[-1:]] + [line.step for line in measured[-1:]], default=0)
    text = render(
        "training.html",
        styles=Markup(_STYLES.read_text(encoding="utf-8")),
        facts=facts,
        latest=_address(seen[-1]) if seen else None,
        earlier=[_address(snapshot) for snapshot in _spread(seen[:-1], _EARLIER)][::-1],
        shape=_shape(seen[-1][1]) if seen else (1, 1),
        done=done,
        share=f"{100 * done / facts.steps:.0f}" if facts.steps else "100",
        over=done >= facts.steps and bool(facts.errors),
        plots=[plot for plot in plots if plot[1]],
        began=marked,
        errors=_marked(facts),
        thousands=captions.thousands,
    )
    unfinished = out / f"{PAGE}.part"
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, out / PAGE)
    return out / PAGE


def _panels(measured: Sequence[Measured]) -> dict[str, Plot]:
    """The plots, by name; those without a value are drawn empty."""
    layers = [name for name in (measured[-1].values if measured else ()) if name.startswith("feature_")]
    weights = _line(measured, "weight", "weight")
    panels = {
        "rest": Plot("Reconstruction losses", _lines(measured, {"total": "all", "image": "pixels"}), log=True),
        "features": Plot("Layers", _lines(measured, {name: name.removeprefix("feature_") for name in layers}), True),
        "sides": Plot(
            "Generator and discriminator",
            _lines(measured, {"adversarial": "generator", "made": "generated", "real": "real"}),
            log=False,
            level=math.log(2),
            level_name="ln 2",
        ),
        "weight": Plot("The adversary’s weight", (weights,), log=True),
        "learns": Plot(
            "Share of steps that update the discriminator",
            _lines(measured, {"learns": "share"}),
            log=False,
            bounds=(0.0, 1.0),
        ),
    }
    if not weights.values.size or np.ptp(weights.values) == 0:
        del panels["weight"]  # it is one of the recipe's settings
    return panels


def _lines(measured: Sequence[Measured], names: dict[str, str]) -> tuple[Line, ...]:
    return tuple(_line(measured, name, spoken) for name, spoken in names.items())


def _line(measured: Sequence[Measured], name: str, spoken: str) -> Line:
    points = [(line.step, line.values[name]) for line in measured if name in line.values]
    steps, values = zip(*points, strict=True) if points else ((), ())
    return Line(spoken, np.array(steps, np.float64), np.array(values, np.float64))


def _spread(seen: Sequence[tuple[int, Path]], count: int) -> list[tuple[int, Path]]:
    """At most `count` snapshots, evenly by the logarithm of their steps, because pictures change most at first."""
    if len(seen) <= count:
        return list(seen)
    places = np.log([step + 1 for step, _ in seen])
    wanted = np.linspace(places[0], places[-1], count)
    return [seen[at] for at in sorted({int(np.abs(places - place).argmin()) for place in wanted})]


def _shape(snapshot: Path) -> tuple[int, int]:
    """Width and height of a snapshot, pixels."""
    with Image.open(snapshot) as image:
        return image.size


def _address(snapshot: tuple[int, Path]) -> tuple[str, str]:
    """The step in words, and the picture's address, seen from the page."""
    return captions.thousands(snapshot[0]), f"{SNAPSHOTS}/{snapshot[1].name}"


def _marked(facts: TrainingFacts) -> list[list[tuple[str, bool]]]:
    """The table of errors, each cell with whether it is its column's smallest; grids and shared columns have none."""
    if not facts.errors:
        return []
    head, *rows = facts.errors
    errors = [[cell for cell in column if cell] for column in zip(*rows, strict=True)]
    least = [
        min(column, key=float) if at and not name.startswith(("shared", "grid")) and column else None
        for at, (name, column) in enumerate(zip(head, errors, strict=True))
    ]
    body = [[(cell, cell == low) for cell, low in zip(row, least, strict=True)] for row in rows]
    return [[(cell, False) for cell in head], *body]
