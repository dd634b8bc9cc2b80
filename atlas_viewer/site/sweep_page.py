"""The pages of a layer's style search: a row a regularizer, a column a strength, and the random settings by score."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas_viewer.evidence.ascent import Pictures
from atlas_viewer.layer import Layer, Unit
from atlas_viewer.montage import stretch
from atlas_viewer.site import captions
from atlas_viewer.site.outline import Link, Outline, render
from atlas_viewer.site.sheets import Crop, Sheet, thumb_size, thumbs
from atlas_viewer.sweep import AXES, Setting, Sweep

SIDE = 128  # pixels: longest side of a picture here
UNITS = 8  # units shown; a search is about a few
PICTURES = 200  # of random settings on a page: more make browsers slow
ABOUT = {  # title, index of θ in the paper, what a strength is, what the regularizer does
    "decay": ("L2 decay", "decay", "share taken away in each update",
              "Pulls every pixel towards the mean, so that no few extreme pixels make the activation."),
    "blur": ("Gaussian blur", "b_width", "σ in pixels",
             "Takes away high frequencies, which excite units and look like noise to a person."),
    "norm": ("Clipping small norms", "n_pct", "percentile of the pixels’ norm",
             "Sets pixels of small norm to the mean, so that only what matters is drawn."),
    "contribution": ("Clipping small contributions", "c_pct", "percentile of the pixels’ contribution",
                     "Sets to the mean the pixels whose loss would change the activation least."),
}  # fmt: skip
FIELDS = {
    "decay": "decay",
    "blur": "blur_radius",
    "norm": "small_norm_percentile",
    "contribution": "px_abs_benefit_percentile",
}


@dataclass(frozen=True)
class Cell:
    """One unit's picture in one setting. judged : what each judge gives the unit, in the judges' order."""

    crop: Crop | None
    alt: str
    why: str
    activation: str
    judged: tuple[str, ...]


@dataclass(frozen=True)
class Column:
    """One setting: its strength or its numbers, its scores, and a cell a unit. best : of its row, or of all."""

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
    """One regularizer alone, from none to too strong."""

    axis: str
    title: str
    symbol: str
    measure: str
    does: str
    columns: tuple[Column, ...]


def sweep_pages(layer: Layer) -> int:
    """How many pages the search of a layer takes; 0 where there was none."""
    if not layer.searched:
        return 0
    found = Sweep(layer)
    return max(1, -(-len(found.draws) // _per_page(found)))


def sweep_name(page: int) -> str:
    """The file of one page of a search, counted from 1."""
    return "sweep.html" if page == 1 else f"sweep-{page}.html"


def write_sweep(outline: Outline, layer: Layer, page: int, folder: Path) -> int:
    """Write one page of the search, counted from 1, with its sheets; returns 1, the pages written."""
    folder.mkdir(parents=True, exist_ok=True)
    found = Sweep(layer)
    shown, step = _shown(found), _per_page(found)
    drawn = found.draws[(page - 1) * step : page * step]
    rows = _rows(found, shown, folder) if page == 1 else ()
    last = sweep_pages(layer)
    text = render(
        "sweep.html",
        root="../",
        model=outline.atlas.model,
        title=f"Style search, {layer.name}",
        cited=outline.atlas.cited,
        citation=f"{outline.atlas.cited}:{layer.name}",
        layer=layer,
        units=[Unit(layer, int(layer.units[row])) for row in shown],
        left_out=len(found.units) - len(shown),
        rows=rows,
        draws=_columns(found, drawn, shown, f"sweep-draws-{page}", folder),
        rank=(page - 1) * step,
        count=len(found.draws),
        judges=found.judges,
        judge=found.judge,
        own=outline.atlas.model,
        common=_common(found.settings[0]),
        base=found.settings[0].place.base,
        samples=max(setting.pictures.samples for setting in found.settings),
        aim=captions.aim(found.settings[0].pictures),
        page=page,
        pages=[Link(sweep_name(number), str((number - 1) * step + 1)) for number in range(1, last + 1)],
        enlarged=max(found.settings[0].pictures.size) < SIDE,
        counted=captions.count,
    )
    (folder / sweep_name(page)).write_text(text, encoding="utf-8")
    return 1


def _shown(found: Sweep) -> tuple[int, ...]:
    """Rows of the units that the pages show: all, or some of many, evenly spaced."""
    if len(found.units) <= UNITS:
        return found.units
    return tuple(found.units[at] for at in np.linspace(0, len(found.units) - 1, UNITS).round().astype(int).tolist())


def _per_page(found: Sweep) -> int:
    return max(1, PICTURES // max(1, len(_shown(found))))


def _rows(found: Sweep, shown: tuple[int, ...], folder: Path) -> tuple[Row, ...]:
    settings = {axis: found.row(axis) for axis in AXES}
    alone = list(dict.fromkeys(setting for axis in AXES for setting in settings[axis]))
    columns = dict(zip(alone, _columns(found, alone, shown, "sweep-rows", folder), strict=True))
    return tuple(
        Row(axis, *ABOUT[axis], tuple(_in_row(found, settings[axis], setting, columns[setting], axis)
                                      for setting in settings[axis]))
        for axis in AXES
        if len(settings[axis]) > 1
    )  # fmt: skip


def _in_row(found: Sweep, row: tuple[Setting, ...], setting: Setting, column: Column, axis: str) -> Column:
    """The column as it stands in a row: with its strength there, and marked if the judge finds it the row's best."""
    value = setting.numbers[FIELDS[axis]]
    strength = captions.setting(value) if value else "none"
    if axis == "blur" and value:
        strength += f", every {setting.numbers['blur_every']}"
    best = found.judge is not None and setting is max(row, key=found.worth)
    return Column(**{**vars(column), "strength": strength, "best": best})


def _columns(
    found: Sweep, settings: list[Setting] | tuple[Setting, ...], shown: tuple[int, ...], stem: str, folder: Path
) -> tuple[Column, ...]:
    """Draw the settings on one sheet, a line a setting, and say what is known of each."""
    if not settings or not shown:
        return ()
    layer = found.layer
    size = thumb_size(settings[0].pictures.size, SIDE)
    sheet = Sheet(stem, size, len(settings) * len(shown), len(shown))
    read = np.concatenate([_read(setting.pictures, shown) for setting in settings])
    there = np.concatenate([setting.pictures.best_sample[list(shown)] >= 0 for setting in settings])
    if there.any():
        mean = settings[0].pictures.mean_under(layer.atlas.mean, layer.window)
        sheet.draw(folder, thumbs(read, size), thumbs(stretch(read, mean), size), there)
    return tuple(_column(found, setting, shown, sheet, at * len(shown)) for at, setting in enumerate(settings))


def _read(pictures: Pictures, shown: tuple[int, ...]) -> np.ndarray:
    """The best picture of each of these rows, (row, y, x, rgb); zeros where there is none."""
    best = pictures.best_sample[list(shown)].tolist()
    found = np.zeros((len(shown), *pictures.size, 3), np.uint8)
    for at, (row, sample) in enumerate(zip(shown, best, strict=True)):
        if sample >= 0:
            found[at] = pictures.pixels[row, sample]
    return found


def _column(found: Sweep, setting: Setting, shown: tuple[int, ...], sheet: Sheet, first: int) -> Column:
    numbers, scores = setting.numbers, [setting.scores.get(judge) for judge in found.judges]
    blur = "–" if not numbers["blur_radius"] else f"{numbers['blur_radius']:g}, every {numbers['blur_every']}"
    told = {axis: captions.setting(numbers[field]) if numbers[field] else "–" for axis, field in FIELDS.items()}
    judge = setting.scores.get(found.judge) if found.judge is not None else None
    return Column(
        name=setting.name,
        strength="",
        numbers=tuple((axis, blur if axis == "blur" else value) for axis, value in told.items()),
        activation=captions.number(setting.activation),
        scores=tuple(_share(np.nan if score is None else score.mean) for score in scores),
        first=_share(np.nan if judge is None else judge.first),
        override=setting.override,
        cells=tuple(_cell(found, setting, row, sheet, first + at) for at, row in enumerate(shown)),
        best=False,
    )


def _cell(found: Sweep, setting: Setting, row: int, sheet: Sheet, cell: int) -> Cell:
    pictures, number = setting.pictures, int(found.layer.units[row])
    sample = int(pictures.best_sample[row])
    judged = [setting.scores[judge].probability[row, sample] if judge in setting.scores else np.nan
              for judge in found.judges]  # fmt: skip
    return Cell(
        crop=sheet.crop(cell) if sample >= 0 else None,
        alt=f"{found.layer.name}:{number}, {setting.name}",
        why="" if sample >= 0 else captions.BRIEF[pictures.status[row][0]],
        activation=captions.number(float(pictures.activation[row, sample]) if sample >= 0 else np.nan),
        judged=tuple(_share(float(share)) for share in judged) if sample >= 0 else (),
    )


def _common(setting: Setting) -> tuple[tuple[str, str], ...]:
    """The numbers that all settings share."""
    told = ("policy", "step_start", "step_end", "rate", "max_iter", "start", "start_image", "keep")
    scale_free = setting.numbers.get("policy") == "scale_free"
    unread = {"rate"} if scale_free else {"step_start", "step_end"}
    return tuple((n, captions.setting(setting.numbers[n])) for n in told if n in setting.numbers and n not in unread)


def _share(value: float) -> str:
    """A probability as whole percent; a dash where there is none."""
    return "\N{EN DASH}" if not np.isfinite(value) else f"{100 * value:.0f}\N{NARROW NO-BREAK SPACE}%"
