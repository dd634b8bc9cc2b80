"""The same classes in several networks: a page of its own, made from several atlases (Nguyen et al. 2016, figure 5)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from atlas_viewer.atlas import Atlas
from atlas_viewer.errors import MissingError, nearest
from atlas_viewer.evidence.climb import Climb
from atlas_viewer.evidence.dgn import Run
from atlas_viewer.evidence.scores import Scores
from atlas_viewer.layer import Layer
from atlas_viewer.reach import reach
from atlas_viewer.site import captions
from atlas_viewer.site.folder import replacing
from atlas_viewer.site.outline import leading, render
from atlas_viewer.site.sprites import Tile
from atlas_viewer.site.unit_sprites import best_sprite, draw_best
from atlas_viewer.table import ratio

PICTURES = 200  # on the page: more make browsers slow
BLOCK = 10  # classes side by side
SIDE = 160  # pixels: longest side of a picture


@dataclass(frozen=True)
class Subject:
    """One network: its class layer, the pictures that are shown, and the row of each class by its plain name."""

    atlas: Atlas
    layer: Layer
    climb: Climb
    rows: dict[str, int]


@dataclass(frozen=True)
class Entry:
    """The facts about one network on the page."""

    name: str
    cited: str
    layer: str
    pictures: str
    input: str
    samples: int
    rates: tuple[str, ...]
    median: str


@dataclass(frozen=True)
class Block:
    """Some classes, and one row per network: a tile and its numbers per class."""

    classes: tuple[str, ...]
    rows: tuple[tuple[tuple[Tile, str, str], ...], ...]


def compare(atlases: Sequence[Path], out: Path, classes: Sequence[str] = (), count: int = 30) -> tuple[str, ...]:
    """Make the page `out`/index.html of these atlases; the labels of the classes that it shows are returned.

    classes : labels, or the words before their first comma; none for `count` of the shared ones, drawn at random.
    Raises MissingError for an atlas without pictures of classes, and for a class that is not in all of them.
    """
    with ExitStack() as opened:
        subjects = [_subject(opened.enter_context(Atlas(path))) for path in atlases]
        shared = [name for name in subjects[0].rows if all(name in subject.rows for subject in subjects)]
        if not shared:
            paths = ", ".join(str(subject.atlas.path) for subject in subjects)
            raise MissingError(f"atlases {paths}: share no class; compare networks whose labels have names in common")
        chosen = _chosen(shared, classes, min(count, max(1, PICTURES // len(subjects))))
        labels = [subjects[0].layer.labels[subjects[0].rows[name]] for name in chosen]
        with replacing(Path(out)) as folder:
            tiles = [_tiles(subject, chosen, at, folder) for at, subject in enumerate(subjects)]
            blocks = [
                Block(tuple(labels[start : start + BLOCK]), tuple(row[start : start + BLOCK] for row in tiles))
                for start in range(0, len(chosen), BLOCK)
            ]
            text = render(
                "networks.html",
                root="",
                model=" · ".join(dict.fromkeys(subject.atlas.model for subject in subjects)),
                title="Networks compared",
                citation=", ".join(f"{subject.atlas.cited}:{subject.layer.name}" for subject in subjects),
                entries=tuple(map(_entry, subjects)),
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


def _subject(atlas: Atlas) -> Subject:
    for layer in atlas:
        climb = leading(layer) if layer.info.class_layer else None
        if climb is not None:
            named = ((_plain(label), row) for row, label in reversed(list(enumerate(layer.labels))) if label)
            return Subject(atlas, layer, climb, dict(named))
    raise MissingError(f"atlas {atlas.path}: no pictures of classes; ask for units of its class layer with make atlas")


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


def _tiles(subject: Subject, chosen: Sequence[str], at: int, folder: Path) -> tuple[tuple[Tile, str, str], ...]:
    layer, climb, rows = subject.layer, subject.climb, [subject.rows[name] for name in chosen]
    sprite = best_sprite(climb, len(rows), f"network-{at + 1}", BLOCK, SIDE)
    draw_best(layer, climb, rows, sprite, folder)
    most, tiles = (None if layer.statistics is None else layer.statistics.most), []
    for cell, row in enumerate(rows):
        best = int(climb.best_sample[row])
        value = float(climb.activation[row, best]) if best >= 0 else float("nan")
        times = ratio(value, float(most[row])) if most is not None and best >= 0 else float("nan")
        alt = f"{subject.atlas.model} {layer.name}:{layer.units[row]}, {climb.path}"
        tile = Tile(sprite.crop(cell) if best >= 0 else None, alt, "none")
        tiles.append((tile, captions.number(value), f"{times:.2f} ×" if times == times else ""))
    return tuple(tiles)


def _entry(subject: Subject) -> Entry:
    climb = subject.climb
    pictures = f"run {climb.name}, prior {climb.prior}" if isinstance(climb, Run) else f"style {climb.name}"
    return Entry(
        name=subject.atlas.model,
        cited=subject.atlas.cited,
        layer=subject.layer.name,
        pictures=pictures,
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
