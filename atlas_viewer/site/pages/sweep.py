"""The pages of a layer's sweep: a row for each axis, a column for each strength, and the random settings by score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas_viewer.evidence.climb import Climb
from atlas_viewer.layer import Layer, Unit
from atlas_viewer.montage import stretch
from atlas_viewer.site import captions
from atlas_viewer.site.outline import Link, Outline, render, safe, sweep_name
from atlas_viewer.site.pieces import Page, Part
from atlas_viewer.site.sprites import Crop, Sprite, thumb_size, thumbs
from atlas_viewer.sweep import ASCENT, METHODS, Setting, Sweep

SIDE = 128  # pixels: longest side of a picture here
UNITS = 8  # units shown; a sweep covers a few
PICTURES = 200  # of random settings on a page: more make browsers slow


@dataclass(frozen=True)
class Cell:
    """One unit's picture in one setting.

    judged : the probability of its class by each judge.
    """

    crop: Crop | None
    alt: str
    why: str
    activation: str
    judged: tuple[str, ...]


@dataclass(frozen=True)
class Column:
    """One setting: its strength or its values, its scores, and one cell per unit.

    best : whether it is its row's best.
    """

    name: str
    strength: str
    numbers: tuple[tuple[str, str], ...]
    activation: str
    scores: tuple[str, ...]
    first: str
    override: str
    cells: tuple[Cell, ...]
    best: bool


@dataclass(frozen=True)
class Row:
    """One axis alone, from none to too strong. title … does : those of the axis's leading hyperparameter."""

    id: str
    base: str
    title: str
    symbol: str
    subscript: str
    measure: str
    does: str
    columns: tuple[Column, ...]


def sweep_pages(layer: Layer, method: str) -> int:
    """How many pages the sweep of a layer takes; 0 where there was none."""
    if not (layer.swept if method == ASCENT else layer.swept_runs):
        return 0
    sweep = Sweep(layer, method)
    return max(1, -(-len(sweep.draws) // _per_page(sweep)))


class SweepPages(Page):
    """The pages of a layer's sweeps."""

    order = 40

    def parts(self, layer: Layer) -> Iterator[Part]:
        """Yield the pages of the sweep by each method, counted from 1."""
        for method in METHODS:
            for page in range(1, sweep_pages(layer, method) + 1):
                yield Part(method, page)

    def draw(self, outline: Outline, layer: Layer, part: Part, folder: Path) -> None:
        """Write one page of a sweep, with its sprites."""
        _write(outline, layer, part.what, part.start, folder)


def _write(outline: Outline, layer: Layer, method: str, page: int, folder: Path) -> None:
    sweep = Sweep(layer, method)
    stem = sweep_name(method).removesuffix(".html")
    shown, step = _shown(sweep), _per_page(sweep)
    drawn = sweep.draws[(page - 1) * step : page * step]
    rows = _rows(sweep, shown, f"{stem}-rows", folder) if page == 1 else ()
    last, first = sweep_pages(layer, method), sweep.settings[0].pictures
    text = render(
        "sweep.html",
        root="../",
        model=outline.atlas.model,
        title=f"Sweep, {layer.name}",
        cited=outline.atlas.cited,
        citation=f"{outline.atlas.cited}:{layer.name}",
        layer=layer,
        kind=first.kind.path.rsplit("/", 1)[1].strip("<>"),
        units=[Unit(layer, int(layer.units[row])) for row in shown],
        left_out=len(sweep.units) - len(shown),
        rows=rows,
        draws=_columns(sweep, drawn, shown, f"{stem}-draws-{page}", folder),
        rank=(page - 1) * step,
        count=len(sweep.draws),
        judges=sweep.judges,
        judge=sweep.judge,
        own=outline.atlas.model,
        common=_common(sweep),
        same_start=first.numbers.get("start") == "reference",
        bases=sweep.bases,
        samples=max(setting.pictures.samples for setting in sweep.settings),
        aim=captions.aim(first),
        page=page,
        pages=[Link(sweep_name(method, number), str((number - 1) * step + 1)) for number in range(1, last + 1)],
        enlarged=max(first.size) < SIDE,
        counted=captions.count,
    )
    (folder / sweep_name(method, page)).write_text(text, encoding="utf-8")


def _shown(sweep: Sweep) -> tuple[int, ...]:
    """Rows of the units that the pages show: all, or some of many, evenly spaced."""
    if len(sweep.units) <= UNITS:
        return sweep.units
    return tuple(sweep.units[at] for at in np.linspace(0, len(sweep.units) - 1, UNITS).round().astype(int).tolist())


def _per_page(sweep: Sweep) -> int:
    return max(1, PICTURES // max(1, len(_shown(sweep))))


def _rows(sweep: Sweep, shown: tuple[int, ...], stem: str, folder: Path) -> tuple[Row, ...]:
    """A row for each base and axis that has settings, drawn on one sprite."""
    settings = {(base, axis): sweep.row(axis, base) for base in sweep.bases for axis in sweep.axes}
    alone = list(dict.fromkeys(setting for row in settings.values() for setting in row))
    columns = dict(zip(alone, _columns(sweep, alone, shown, stem, folder), strict=True))
    return tuple(
        _row(sweep, base, axis, tuple(_in_row(sweep, row, setting, columns[setting], axis) for setting in row))
        for (base, axis), row in settings.items()
        if any(setting.place.axis == axis for setting in row)
    )


def _row(sweep: Sweep, base: str, axis: str, columns: tuple[Column, ...]) -> Row:
    leading = sweep.axes[axis][0]
    symbol, _, subscript = leading.symbol.partition("_")
    return Row(
        id=safe(axis if base == sweep.bases[0] else f"{base}-{axis}"),
        base=base if len(sweep.bases) > 1 else "",
        title=leading.title or leading.name,
        symbol=symbol,
        subscript=subscript,
        measure=leading.measured_in,
        does=leading.meaning if leading.neutral else f"{leading.meaning} All else stays as in {base}.",
        columns=columns,
    )


def _in_row(sweep: Sweep, row: tuple[Setting, ...], setting: Setting, column: Column, axis: str) -> Column:
    """The column as it stands in a row: with its strength, and marked if the judge ranks it best in the row."""
    best = sweep.judge is not None and setting is max(row, key=sweep.rank_score)
    return Column(**{**vars(column), "strength": _strength(sweep, setting, axis) or "none", "best": best})


def _raised(sweep: Sweep) -> list[str]:
    """The axes that some setting raises."""
    return [axis for axis in sweep.axes if any(_strength(sweep, setting, axis) for setting in sweep.settings)]


def _strength(sweep: Sweep, setting: Setting, axis: str) -> str:
    """The value of an axis's leading hyperparameter, then those of the others; empty where the axis is off."""
    (leading, *further), numbers = sweep.axes[axis], setting.numbers
    if leading.name not in numbers or leading.is_neutral(numbers[leading.name]):
        return ""
    beside = (f"{n.title or n.name} {captions.setting(numbers[n.name])}" for n in further if n.name in numbers)
    return ", ".join([captions.setting(numbers[leading.name]), *beside])


def _columns(
    sweep: Sweep, settings: list[Setting] | tuple[Setting, ...], shown: tuple[int, ...], stem: str, folder: Path
) -> tuple[Column, ...]:
    """Draw the settings on one sprite, one line per setting, and collect the values of each."""
    if not settings or not shown:
        return ()
    layer = sweep.layer
    size = thumb_size(settings[0].pictures.size, SIDE)
    sprite = Sprite(stem, size, len(settings) * len(shown), len(shown))
    read = np.concatenate([_read(setting.pictures, shown) for setting in settings])
    exists = np.concatenate([setting.pictures.best_sample[list(shown)] >= 0 for setting in settings])
    if exists.any():
        mean = settings[0].pictures.mean_under(layer.atlas.mean, layer.window)
        sprite.draw(folder, thumbs(read, size), thumbs(stretch(read, mean), size), exists)
    axes = _raised(sweep)
    cells = range(0, len(settings) * len(shown), len(shown))
    return tuple(
        _column(sweep, setting, axes, shown, sprite, first) for setting, first in zip(settings, cells, strict=True)
    )


def _read(pictures: Climb, shown: tuple[int, ...]) -> np.ndarray:
    """The best picture of each of these rows, (row, y, x, rgb); zeros where there is none."""
    best = pictures.best_sample[list(shown)].tolist()
    read = np.zeros((len(shown), *pictures.size, 3), np.uint8)
    for at, (row, sample) in enumerate(zip(shown, best, strict=True)):
        if sample >= 0:
            read[at] = pictures.pixels[row, sample]
    return read


def _column(
    sweep: Sweep, setting: Setting, axes: Sequence[str], shown: tuple[int, ...], sprite: Sprite, first: int
) -> Column:
    scores = [setting.scores.get(judge) for judge in sweep.judges]
    judge = setting.scores.get(sweep.judge) if sweep.judge is not None else None
    return Column(
        name=setting.name,
        strength="",
        numbers=tuple((axis, _strength(sweep, setting, axis) or "\N{EN DASH}") for axis in axes),
        activation=captions.number(setting.activation),
        scores=tuple(_share(np.nan if score is None else score.mean) for score in scores),
        first=_share(np.nan if judge is None else judge.first),
        override=setting.override,
        cells=tuple(_cell(sweep, setting, row, sprite, first + at) for at, row in enumerate(shown)),
        best=False,
    )


def _cell(sweep: Sweep, setting: Setting, row: int, sprite: Sprite, cell: int) -> Cell:
    pictures, number = setting.pictures, int(sweep.layer.units[row])
    sample = int(pictures.best_sample[row])
    judged = [setting.scores[judge].probability[row, sample] if judge in setting.scores else np.nan
              for judge in sweep.judges]  # fmt: skip
    return Cell(
        crop=sprite.crop(cell) if sample >= 0 else None,
        alt=f"{sweep.layer.name}:{number}, {setting.name}",
        why="" if sample >= 0 else captions.BRIEF[pictures.status[row][0]],
        activation=captions.number(float(pictures.activation[row, sample]) if sample >= 0 else np.nan),
        judged=tuple(_share(float(share)) for share in judged) if sample >= 0 else (),
    )


def _common(sweep: Sweep) -> tuple[tuple[str, str], ...]:
    """The values that all settings share, except those that are switched off everywhere."""
    return tuple(
        (number.name, captions.setting(value))
        for number, value in sweep.settings[0].read.items()
        if not (number.axis or number.is_neutral(value))
        and all(each.read.get(number) == value for each in sweep.settings)
    )


def _share(value: float) -> str:
    """A probability as whole percent; a dash where there is none."""
    return "\N{EN DASH}" if not np.isfinite(value) else f"{100 * value:.0f}\N{NARROW NO-BREAK SPACE}%"
