"""The same classes in several networks: a page of its own, made from several atlases (Nguyen et al. 2016, figure 5)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from atlas_viewer.atlas import Atlas
from atlas_viewer.errors import MissingError, nearest
from atlas_viewer.evidence.climb import Climb
from atlas_viewer.evidence.dgn import Run
from atlas_viewer.evidence.numbers import effective
from atlas_viewer.evidence.scores import Scores
from atlas_viewer.layer import Layer
from atlas_viewer.reach import reach
from atlas_viewer.site import captions
from atlas_viewer.site.elsewhere import Elsewhere
from atlas_viewer.site.folder import replacing
from atlas_viewer.site.outline import Outline, leading, render, runs, styles
from atlas_viewer.site.sprites import Tile
from atlas_viewer.site.unit_sprites import best_sprite, draw_best
from atlas_viewer.sweep import ASCENT, DGN
from atlas_viewer.table import ratio

PICTURES = 200  # on the page: more make browsers slow
BLOCK = 10  # classes side by side
SIDE = 160  # pixels: longest side of a picture


@dataclass(frozen=True)
class Subject:
    """One network: its class layer, the pictures that are shown, its pages, and each class's row by its plain name."""

    atlas: Atlas
    layer: Layer
    climb: Climb
    pages: Elsewhere
    rows: dict[str, int]


@dataclass(frozen=True)
class Entry:
    """The facts about one network on the page.

    href, layer_href : of its own pages, empty where there are none.
    differs : hyperparameters of its pictures that are not the same in all networks, with their values.
    """

    name: str
    href: str
    layer_href: str
    cited: str
    layer: str
    pictures: str
    differs: tuple[tuple[str, str], ...]
    input: str
    samples: int
    rates: tuple[str, ...]
    median: str


@dataclass(frozen=True)
class Cell:
    """The picture of one class in one network.

    address, href : of the unit, and its page, empty where there is none.
    activation : of the picture.
    ratio : to the largest in any image, or empty.
    """

    tile: Tile
    address: str
    href: str
    activation: str
    ratio: str


@dataclass(frozen=True)
class Block:
    """Some classes, and a row for each network."""

    classes: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def compare(atlases: Sequence[Path], out: Path, classes: Sequence[str] = (), count: int = 30) -> tuple[str, ...]:
    """Make the page `out`/index.html of these atlases; the labels of the classes that it shows are returned.

    It leads to the pages of each atlas that lie beside its file.

    classes : labels, or the words before their first comma; none for `count` of the shared ones, drawn at random.
    Raises MissingError for an atlas without pictures of classes, and for a class that is not in all of them.
    """
    with ExitStack() as opened:
        subjects = _subjects([opened.enter_context(Atlas(path)) for path in atlases], Path(out))
        shared = [name for name in subjects[0].rows if all(name in subject.rows for subject in subjects)]
        if not shared:
            paths = ", ".join(str(subject.atlas.path) for subject in subjects)
            raise MissingError(f"atlases {paths}: share no class; compare networks whose labels have names in common")
        chosen = _chosen(shared, classes, min(count, max(1, PICTURES // len(subjects))))
        labels = [subjects[0].layer.labels[subjects[0].rows[name]] for name in chosen]
        with replacing(Path(out)) as folder:
            tiles = [_tiles(subject, chosen, at, folder) for at, subject in enumerate(subjects)]
            blocks = [
                Block(
                    tuple(map(captions.first_name, labels[start : start + BLOCK])),
                    tuple(row[start : start + BLOCK] for row in tiles),
                )
                for start in range(0, len(chosen), BLOCK)
            ]
            text = render(
                "networks.html",
                root="",
                model=" · ".join(dict.fromkeys(subject.atlas.model for subject in subjects)),
                title="Networks compared",
                citation=", ".join(f"{subject.atlas.cited}:{subject.layer.name}" for subject in subjects),
                entries=tuple(map(_entry, subjects, _differing(subjects))),
                alike=_alike(subjects),
                stretched=not all(isinstance(subject.climb, Run) for subject in subjects),
                blocks=blocks,
                columns=min(BLOCK, len(chosen)),
                by_lot=not classes,
                shared=len(shared),
                shown=len(chosen),
                has_statistics=any(subject.layer.statistics is not None for subject in subjects),
                side=SIDE,
            )
            (folder / "index.html").write_text(text, encoding="utf-8")
    return tuple(labels)


def _subjects(atlases: Sequence[Atlas], out: Path) -> list[Subject]:
    layers = [_class_layer(atlas) for atlas in atlases]
    return [
        Subject(atlas, layer, climb, Elsewhere(Outline(atlas), out), _named(layer))
        for atlas, layer, climb in zip(atlases, layers, _comparable(layers), strict=True)
    ]


def _class_layer(atlas: Atlas) -> Layer:
    for layer in atlas:
        if layer.info.class_layer and leading(layer) is not None:
            return layer
    raise MissingError(f"atlas {atlas.path}: no pictures of classes; ask for units of its class layer with make atlas")


def _named(layer: Layer) -> dict[str, int]:
    """The row of each class by its plain name; the first of a name."""
    return {_plain(label): row for row, label in reversed(list(enumerate(layer.labels))) if label}


def _comparable(layers: Sequence[Layer]) -> list[Climb]:
    """The pictures of each layer that are shown, made in the same way where that is possible.

    If all lead with a run, those through the first prior that all have; else the first style that all have. If there is
    none, each shows what it leads with.
    """
    leads = [leading(layer) for layer in layers]
    if all(isinstance(lead, Run) for lead in leads):
        made = [[(run.prior_digest, run) for run in runs(layer)] for layer in layers]
    else:
        made = [[(style.name, style) for style in styles(layer)] for layer in layers]
    firsts = [dict(reversed(each)) for each in made]  # the first of each name
    shared = (name for name, _ in made[0] if all(name in each for each in firsts))
    name = next(shared, None)
    return leads if name is None else [each[name] for each in firsts]


def _alike(subjects: Sequence[Subject]) -> str:
    """What all pictures have in common: "prior NAME", "style NAME", or nothing."""
    climbs = [subject.climb for subject in subjects]
    ways = {climb.prior_digest if isinstance(climb, Run) else f"style {climb.name}" for climb in climbs}
    if len(ways) > 1:
        return ""
    return f"prior {climbs[0].prior}" if isinstance(climbs[0], Run) else ways.pop()


def _plain(label: str) -> str:
    """The name by which classes are matched: the words before the first comma, in lower case."""
    return label.split(",")[0].strip().casefold()


def _chosen(shared: Sequence[str], classes: Sequence[str], count: int) -> list[str]:
    """The plain names of the classes to show; random ones by their SHA-256, smallest first."""
    if not classes:
        return sorted(shared, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[:count]
    for label in classes:
        if _plain(label) not in shared:
            raise MissingError(f"class {label}: not in all of these atlases{nearest(_plain(label), shared)}")
    return [_plain(label) for label in dict.fromkeys(classes)]


def _tiles(subject: Subject, chosen: Sequence[str], at: int, folder: Path) -> tuple[Cell, ...]:
    layer, climb, rows = subject.layer, subject.climb, [subject.rows[name] for name in chosen]
    sprite = best_sprite(climb, len(rows), f"network-{at + 1}", BLOCK, SIDE)
    draw_best(layer, climb, rows, sprite, folder)
    most, tiles = (None if layer.statistics is None else layer.statistics.most), []
    for cell, row in enumerate(rows):
        best = int(climb.best_sample[row])
        value = float(climb.activation[row, best]) if best >= 0 else float("nan")
        times = ratio(value, float(most[row])) if most is not None and best >= 0 else float("nan")
        address = f"{layer.name}:{layer.units[row]}"
        tile = Tile(sprite.crop(cell) if best >= 0 else None, f"{subject.atlas.model} {address}, {climb.path}", "none")
        said = captions.number(value), f"{times:.2f} ×" if times == times else ""
        tiles.append(Cell(tile, address, subject.pages.unit(layer, row), *said))
    return tuple(tiles)


def _differing(subjects: Sequence[Subject]) -> list[tuple[tuple[str, str], ...]]:
    """The hyperparameters of each network's pictures that are not the same in all; none of different methods."""
    methods = [DGN if isinstance(subject.climb, Run) else ASCENT for subject in subjects]
    if len(set(methods)) > 1:
        return [() for _ in subjects]
    numbers = []
    for subject, method in zip(subjects, methods, strict=True):
        table = effective(subject.pages.outline.numbers[method], subject.climb.numbers)
        numbers.append({number.name: captions.setting(value) for number, value in table.items()})
    names = [name for name in dict.fromkeys(chain(*numbers)) if len({each.get(name) for each in numbers}) > 1]
    return [tuple((name, each.get(name, "–")) for name in names) for each in numbers]


def _entry(subject: Subject, differs: tuple[tuple[str, str], ...]) -> Entry:
    climb = subject.climb
    pictures = f"run {climb.name}, prior {climb.prior}" if isinstance(climb, Run) else f"style {climb.name}"
    return Entry(
        name=subject.atlas.model,
        href=subject.pages.index,
        layer_href=subject.pages.layer(subject.layer),
        cited=subject.atlas.cited,
        layer=subject.layer.name,
        pictures=pictures,
        differs=differs,
        input=captions.pair(subject.atlas.input_size),
        samples=climb.samples,
        rates=tuple(map(_judged, subject.layer.judged(climb))),
        median=captions.number(reach([(subject.layer, climb)]).median),
    )


def _judged(scores: Scores) -> str:
    """The shares of a run's pictures that a judge recognises."""
    rates = (("top-1", scores.rates.get("top1_rate")), ("top-5", scores.rates.get("top5_rate")))
    said = ", ".join(f"{name} {captions.percent(rate)}" for name, rate in rates if isinstance(rate, float))
    return f"{scores.judge}: {said}" if said else scores.judge
