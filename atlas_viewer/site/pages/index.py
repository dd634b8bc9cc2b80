"""The first page: an introduction, a plate for each layer, the classes, the network, the settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from markupsafe import Markup

from atlas_viewer.evidence.climb import Climb
from atlas_viewer.evidence.dgn import Run
from atlas_viewer.evidence.interpretability import NATURAL
from atlas_viewer.field import Status
from atlas_viewer.layer import Layer
from atlas_viewer.site import captions, figures
from atlas_viewer.site.cover import Choice, choose, look_plain
from atlas_viewer.site.outline import Outline, SweepNote, leading, render, runs, styles, sweep_notes
from atlas_viewer.site.pages.layer import facts, unit_why
from atlas_viewer.site.pieces import Page, Part, kinds
from atlas_viewer.site.sprites import Crop, Sprite
from atlas_viewer.site.unit_sprites import best_sprite, draw_best, draw_chosen, draw_images, images_sprite

NAME = "index.html"
STRIP, COVER = 12, 24  # pictures of a layer on the first page; on its cover
PAIRS = 6  # units of a layer on the first page where each has a picture and, under it, its best images
STRIP_SIDE = 160  # pixels: longest side of a picture there
FAILURES = 200  # units, or skipped images, that are listed before the list is cut
CLASSES = 1000  # classes that are listed; the search finds them all
PREPROCESSES = {
    "squash": "resized to a square regardless of the aspect ratio, then centre-cropped",
    "short_side": "resized by the short side, then centre-cropped",
    "resize": "resized to the input’s size regardless of the aspect ratio",
    "pad": "resized by the long side, then padded with the mean colour",
}


@dataclass(frozen=True)
class Shown:
    """One picture of a strip."""

    href: str
    name: str
    crop: Crop


@dataclass(frozen=True)
class Strip:
    """Pictures of some units of a layer, all of one kind. name : of the style or run, or what the images are."""

    name: str
    shown: tuple[Shown, ...]


@dataclass(frozen=True)
class LayerPlate:
    """One layer on the first page."""

    name: str
    plate: str
    href: str
    units: str
    picture: str
    patch: str
    facts: tuple[tuple[str, str], ...]
    window: Markup
    strips: tuple[Strip, ...]


@dataclass(frozen=True)
class Failure:
    """A unit without all of its pictures."""

    href: str
    address: str
    label: str
    why: str


class IndexPage(Page):
    """The first page."""

    order = 10
    top = (NAME,)

    def parts(self, layer: Layer) -> Iterator[Part]:
        """Yield the layer's strip."""
        yield Part()

    def draw(self, outline: Outline, layer: Layer, part: Part, folder: Path) -> None:
        """Draw the layer's strip, and its part of the cover, into its folder."""
        rows, sprites = _strip_rows(layer), _strip_sprites(layer)
        for climb, sprite in sprites.climbs:
            draw_best(layer, climb, rows, sprite, folder)
        if sprites.images is not None:
            draw_images(layer, rows, sprites.images, folder)
        cover = _cover(layer)
        if cover is not None and layer.name in _heads(outline):
            draw_chosen(layer, cover.climb, cover.rows, cover.choice.sample[cover.rows], cover.sprite, folder)

    def write(self, outline: Outline, site: Path) -> None:
        """Write the page; the strips lie in the layers' folders already."""
        _write(outline, site)


def _write(outline: Outline, folder: Path) -> None:
    atlas = outline.atlas
    layers = list(atlas)
    plates = tuple(_layer_plate(outline, layer) for layer in layers)
    failures = _failures(outline, layers)
    links = {layer: outline.layer_link(layer, root="").href for layer in atlas.layers}
    covers = [(layer, _cover(layer)) for layer in layers if layer.name in _heads(outline)]
    frieze = _frieze(outline, covers)
    dataset, classes = atlas.dataset, _classes(outline, layers)
    dead = {layer.name: int(layer.statistics.dead.sum()) for layer in layers if layer.statistics is not None}
    height = max((pictures.samples for layer in layers for pictures in styles(layer)), default=0)
    text = render(
        "index.html",
        root="",
        model=atlas.model,
        title=atlas.model,
        cited=atlas.cited,
        citation=atlas.cited,
        atlas=atlas,
        plates=plates,
        frieze=frieze,
        chosen=next((cover.choice for _, cover in covers if cover is not None), None),
        frieze_columns=len(frieze) if len(frieze) <= STRIP else len(frieze) // 2,
        classes=classes[:CLASSES],
        further=captions.thousands(len(classes) - CLASSES) if len(classes) > CLASSES else "",
        input_size=captions.pair(atlas.input_size),
        totals=_totals(layers),
        samples=height,
        dataset=dataset,
        noun=outline.noun,
        seen=captions.count(dataset.images, outline.noun) if dataset is not None else "",
        counted=captions.count,
        about_images=_about_images(outline),
        skipped=dataset.skipped[:FAILURES] if dataset is not None else (),
        has_images=any(layer.kinds for layer in layers),
        sweeps=_sweeps(outline, layers),
        style_names=_style_names(layers),
        run_names=tuple(outline.shown_runs),
        beyond=[link for page in kinds() for link in page.links(outline)],
        links=links,
        table=atlas.table,
        pair=captions.pair,
        sees=captions.sees,
        shown={layer.name: len(layer) for layer in layers},
        told={layer.name: captions.number(told) for layer in layers if (told := _natural(layer)) is not None},
        failures=failures[:FAILURES],
        failed=sum(status is not Status.ok for layer in layers for status in layer.status),
        dead=dead,
        graph=figures.graph(atlas.nodes, atlas.edges, links, {name: f"{n} dead" for name, n in dead.items() if n}),
        example=_example(layers),
        settings=atlas.settings.strip(),
        packages=atlas.packages.strip(),
    )
    (folder / NAME).write_text(text, encoding="utf-8")


def _layer_plate(outline: Outline, layer: Layer) -> LayerPlate:
    first = leading(layer)
    return LayerPlate(
        name=layer.name,
        plate=outline.plate(layer.name),
        href=outline.layer_link(layer.name, root="").href,
        units=captions.count(len(layer), "class" if layer.info.class_layer else "unit"),
        picture=captions.pair(first.size) if first is not None else "",
        patch=captions.pair(layer.tops("largest").frame_size) if "largest" in layer.kinds else "",
        facts=facts(layer, outline.noun),
        window=figures.window(outline.atlas.input_size, layer.window, layer.window_unclipped),
        strips=_strips(outline, layer),
    )


@dataclass(frozen=True)
class _Sprites:
    """The sprites of a layer's strip: for the leading style and run, if present, and for the best images."""

    climbs: tuple[tuple[Climb, Sprite], ...]
    images: Sprite | None


def _strip_rows(layer: Layer) -> list[int]:
    """Rows of the units in a layer's strip: evenly spaced over those with a picture of the leading kind, or hits."""
    first = leading(layer)
    if first is not None:
        filled = np.flatnonzero(first.best_sample >= 0)
    elif "largest" in layer.kinds:
        filled = np.flatnonzero(layer.tops("largest").there.any(axis=1))
    else:
        return []
    return _spaced(filled.tolist(), STRIP)


def _strip_sprites(layer: Layer) -> _Sprites:
    rows = _strip_rows(layer)
    count, leads = len(rows), (*styles(layer)[:1], *runs(layer)[:1])
    climbs = [climb for climb in leads if count and (climb.best_sample[rows] >= 0).any()]
    sprites = tuple((climb, best_sprite(climb, count, "strip", STRIP, STRIP_SIDE)) for climb in climbs)
    return _Sprites(sprites, images_sprite(layer, count, "strip", STRIP, STRIP_SIDE))


@dataclass(frozen=True)
class _Cover:
    """A layer's pictures on the cover: units in rows, a sample of each."""

    climb: Climb
    rows: list[int]
    choice: Choice
    sprite: Sprite


def _cover(layer: Layer) -> _Cover | None:
    """The layer's pictures of the leading kind for the cover; None without any that are fit for it."""
    climb = leading(layer)
    choice = None if climb is None else choose(layer, climb)
    if climb is None or choice is None:
        return None
    rows = _spaced(np.flatnonzero(choice.sample >= 0).tolist(), COVER)
    if not rows or (
        not choice.judge and "largest" in layer.kinds and look_plain(layer, climb, rows, choice.sample[rows])
    ):
        return None
    return _Cover(climb, rows, choice, best_sprite(climb, len(rows), "cover", STRIP, STRIP_SIDE))


def _heads(outline: Outline) -> tuple[str, ...]:
    """The layers on the cover: those of classes if there are any, else the last layer."""
    shown = [info for info in outline.atlas.table if info.name in outline.atlas.layers]
    return tuple(info.name for info in shown if info.class_layer) or outline.atlas.layers[-1:]


def _frieze(outline: Outline, covers: Sequence[tuple[Layer, _Cover | None]]) -> tuple[Shown, ...]:
    """The band under the title, one row or two full ones: the cover, or best images where a layer has no other."""
    crops: list[Shown] = []
    for layer, cover in covers:
        images = _strip_sprites(layer).images
        if cover is not None:
            crops += _crops(outline, layer, cover.sprite, range(len(cover.rows)), cover.rows)
        elif images is not None:
            rows = _strip_rows(layer)
            crops += _crops(outline, layer, images, range(len(rows)), rows)
    shown = tuple(crops[:COVER])
    return shown if len(shown) <= STRIP else shown[: len(shown) // 2 * 2]


def _strips(outline: Outline, layer: Layer) -> tuple[Strip, ...]:
    """A layer's pictures for the first page, by kind; several kinds have one row each, with fewer units."""
    sprites, rows = _strip_sprites(layer), _strip_rows(layer)
    named = [
        (f"DGN-AM {climb.name}" if isinstance(climb, Run) else climb.name, sprite) for climb, sprite in sprites.climbs
    ]
    if sprites.images is not None:
        named.append((f"the four best {outline.noun}s", sprites.images))
    chosen = _spaced(list(range(len(rows))), PAIRS if len(named) > 1 else STRIP)
    return tuple(Strip(name, _crops(outline, layer, sprite, chosen, rows)) for name, sprite in named)


def _crops(
    outline: Outline, layer: Layer, sprite: Sprite, cells: Sequence[int], rows: Sequence[int]
) -> tuple[Shown, ...]:
    """Pictures in these cells of a sprite that has a cell for each of these rows."""
    units, folder = layer.units.tolist(), quote(outline.folders[layer.name]) + "/"
    return tuple(
        Shown(
            f"{folder}{units[rows[cell]]}.html",
            captions.first_name(layer.labels[rows[cell]]) or str(units[rows[cell]]),
            sprite.crop(cell, folder),
        )
        for cell in cells
    )


def _spaced(values: list[int], wanted: int) -> list[int]:
    """At most so many of the values, evenly spaced, the ends among them."""
    if len(values) <= wanted:
        return values
    return [values[at] for at in np.linspace(0, len(values) - 1, wanted).round().astype(int).tolist()]


def _about_images(outline: Outline) -> tuple[tuple[str, str], ...]:
    """The card of the dataset."""
    dataset = outline.atlas.dataset
    if dataset is None:
        return ()
    facts = [("Dataset", dataset.name), ("Layout", dataset.kind)]
    facts.append(("Evaluated", captions.count(dataset.images, outline.noun)))
    if dataset.waiting:
        facts.append(("Not evaluated yet", captions.count(dataset.waiting, outline.noun)))
    facts.append(("Skipped", captions.count(len(dataset.skipped), outline.noun)))
    if dataset.classes:
        facts.append(("Classes", captions.thousands(len(dataset.classes))))
    facts.append(("As input", PREPROCESSES.get(dataset.preprocess, dataset.preprocess)))
    decoding = "the decoder’s own down-scaling was used" if dataset.reduced_decoding else "at full size"
    facts += [("Decoding", decoding)] if dataset.kind != "doodles" else []
    pixels = "in the atlas file" if dataset.has_pixels else "not in the atlas file: only keys, hashes and windows"
    facts.append(("Pixels of hits", pixels))
    return tuple(facts)


def _classes(outline: Outline, layers: list[Layer]) -> list[tuple[str, str, int]]:
    """Every class: its page, its name, its number."""
    return [
        (f"{quote(outline.folders[layer.name])}/{unit}.html", label, unit)
        for layer in layers
        if layer.info.class_layer
        for unit, label in zip(layer.units.tolist(), layer.labels, strict=True)
    ]


def _failures(outline: Outline, layers: list[Layer]) -> list[Failure]:
    failures = []
    for layer in layers:
        shown = (*styles(layer), *runs(layer))
        for row, status in enumerate(layer.status):
            if status is not Status.ok and len(failures) < FAILURES:
                unit = int(layer.units[row])
                href = f"{quote(outline.folders[layer.name])}/{unit}.html"
                failures.append(Failure(href, f"{layer.name}:{unit}", layer.labels[row], unit_why(layer, shown, row)))
    return failures


def _sweeps(outline: Outline, layers: list[Layer]) -> tuple[tuple[str, SweepNote], ...]:
    """The sweeps, each with its layer's name."""
    return tuple(
        (layer.name, note) for layer in layers for note in sweep_notes(layer, f"{quote(outline.folders[layer.name])}/")
    )


def _totals(layers: list[Layer]) -> tuple[str, ...]:
    """The sizes of the atlas in words."""
    pictures = sum(int(p.there.sum()) for layer in layers for p in (*styles(layer), *runs(layer)))
    totals = [captions.count(len(layers), "layer"), captions.count(sum(map(len, layers)), "unit")]
    totals += [captions.count(pictures, "picture")] if pictures else []
    return tuple(totals)


def _example(layers: list[Layer]) -> str:
    """The address of a unit, of a class where the atlas has one; empty without units."""
    filled = sorted((layer for layer in layers if len(layer)), key=lambda layer: not layer.info.class_layer)
    return f"{filled[0].name}:{filled[0].units[0]}" if filled else ""


def _natural(layer: Layer) -> float | None:
    """The mean interpretability score of a layer's best images; None without scores."""
    scores = next(iter(layer.interpretability.values()), None)
    return None if scores is None else scores.mean(NATURAL)


def _style_names(layers: list[Layer]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(p.style for layer in layers for p in styles(layer)))
