"""A copy of the pages that any static host serves: with a preview for links, a note on licences, and its size."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup, escape
from PIL import Image

from atlas_viewer.atlas import Atlas
from atlas_viewer.errors import FormatError, MissingError
from atlas_viewer.export.cells import cell_side, climb_cells, patch_cells
from atlas_viewer.layer import Layer
from atlas_viewer.montage import PAPER, grid, save
from atlas_viewer.site import captions
from atlas_viewer.site.folder import replacing
from atlas_viewer.site.outline import Outline, leading

PREVIEW, CARD, NOTICE, FILE = "preview.jpg", "README.md", "NOTICE.txt", "atlas.h5"
SIZE, PICTURES, GAP = (630, 1200), 32, 6  # of the preview: pixels, pictures at most, pixels between them
NO_JEKYLL = ".nojekyll"  # tells GitHub Pages to serve the files as they are
LARGE = {"a file of more than 100 MB": 100_000_000, "a site of more than 1 GB": 1_000_000_000}  # limits of GitHub Pages
_TITLE = "</title>"


@dataclass(frozen=True)
class Published:
    """What was written.

    sizes : kind of files → (number, bytes).
    first_view : bytes that a browser loads for the first page before it scrolls: page, style sheet and script.
    notes : what a person should know before it is put online.
    """

    sizes: dict[str, tuple[int, int]]
    first_view: int
    notes: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(size for _, size in self.sizes.values())


def publish(atlas_path: Path, site: Path, to: Path, *, with_atlas: bool, address: str | None) -> Published:
    """Write the folder `to`, replaced as a whole, from an atlas and its up-to-date pages.

    with_atlas : also copy the atlas file, and link to it.
    address : where the folder will be served, which the preview of links needs; None to leave it out.
    Raises MissingError without pages, FormatError for an atlas in parts that is to be copied, AtlasError where `to`
    holds something else.
    """
    if not (site / "index.html").is_file():
        raise MissingError(f"{site}: has no pages; make them with make site")
    if with_atlas and (atlas_path.parent / "parts").is_dir():
        raise FormatError(f"{atlas_path}: is kept in parts; make pack with the same OUT writes one whole file")
    with Atlas(atlas_path) as atlas, replacing(to, pages=False) as new:
        shutil.copytree(site, new, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))
        if with_atlas:
            shutil.copyfile(atlas_path, new / FILE)
        (new / NO_JEKYLL).touch()
        outline, preview = Outline(atlas, False), _preview(atlas)
        if preview is not None:
            save(new / PREVIEW, preview, quality=88)
        licence = _licence(outline)
        if licence:
            (new / NOTICE).write_text(licence + "\n", encoding="utf-8")
        about = _about(outline)
        (new / CARD).write_text(_card(atlas, about, licence, with_atlas), encoding="utf-8")
        _complete_index(new / "index.html", atlas, about, licence, preview is not None, with_atlas, address)
        return _measured(new, licence, with_atlas, address)


def _preview(atlas: Atlas) -> np.ndarray | None:
    """The best pictures of the class layer's units, or the last layer's, as one image; None without pictures."""
    layers = list(atlas)
    heads = [layer for layer in layers if layer.info.class_layer] or layers[-1:]
    cells = [cell for layer in heads for cell in _cells(layer)][:PICTURES]
    if not cells:
        return None
    side, columns = max((_side(len(cells), columns), columns) for columns in range(1, len(cells) + 1))
    pictures = np.stack([_fitted(cell, side) for cell in cells])
    drawn = grid(pictures, columns=columns, gap=GAP, background=PAPER)
    sheet = np.full((*SIZE, 3), PAPER, np.uint8)
    top, left = (SIZE[0] - drawn.shape[0]) // 2, (SIZE[1] - drawn.shape[1]) // 2
    sheet[top : top + drawn.shape[0], left : left + drawn.shape[1]] = drawn
    return sheet


def _side(count: int, columns: int) -> int:
    """The side of so many square pictures that fill the preview in these columns."""
    return min(SIZE[0] // -(-count // columns), SIZE[1] // columns) - GAP


def _cells(layer: Layer) -> list[np.ndarray]:
    """A picture for each of at most PICTURES evenly spaced units: the leading one, or else the best image."""
    climb = leading(layer)
    if climb is not None:
        best, side = climb.best_sample, cell_side(climb.size, SIZE[0])
        filled = np.flatnonzero(best >= 0)
    elif "largest" in layer.kinds and layer.atlas.dataset.has_pixels:
        tops = layer.tops("largest")
        filled, side = np.flatnonzero(tops.there.any(axis=1)), cell_side(tops.frame_size, SIZE[0])
    else:
        return []
    spaced = np.linspace(0, len(filled) - 1, min(PICTURES, len(filled))).round().astype(int)
    rows = filled[spaced].tolist()
    if climb is None:
        return [patch_cells(tops, row, 1, side)[0] for row in rows]
    return [climb_cells(layer, climb, row, slice(best[row], best[row] + 1), side)[0] for row in rows]


def _fitted(cell: np.ndarray, side: int) -> np.ndarray:
    """A square cell with this side: pixels of small ones stay squares."""
    by = Image.Resampling.NEAREST if cell.shape[0] * 2 <= side else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(cell).resize((side, side), by))


def _about(outline: Outline) -> str:
    """The atlas in one sentence."""
    atlas = outline.atlas
    units, layers = sum(len(layer) for layer in atlas), len(atlas.layers)
    size = f"{captions.count(units, 'unit')} of {captions.count(layers, 'layer')}"
    return f"What each unit of the convnet {atlas.model} responds to: {size}."


def _licence(outline: Outline) -> str:
    """The licence note for pages with images of a dataset; empty if they have none, or if the dataset is generated."""
    dataset = outline.atlas.dataset
    if dataset is None or not dataset.has_pixels or dataset.kind == "doodles":
        return ""
    count = captions.thousands(len(dataset.number))
    return (
        f"The pages show {count} images of the dataset {dataset.name}, or parts of them. They are not covered by the "
        "licence of this atlas: whoever publishes them needs the permission of their owners, or has to follow the "
        "terms of the dataset. An atlas made with tops.pixels=pointers shows none of them."
    )


def _card(atlas: Atlas, about: str, licence: str, with_atlas: bool) -> str:
    """The README, whose head tells the hub of Hugging Face that the folder is a static space."""
    lines = ["---", f"title: {atlas.model}, a visualization atlas", "sdk: static", "app_file: index.html", "---", ""]
    lines += [f"# {atlas.model}, a visualization atlas", "", about, "", f"Cite as `{atlas.cited}`.", ""]
    lines += [f"`{FILE}` has all pictures and numbers as HDF5.", ""] if with_atlas else []
    lines += [licence, ""] if licence else []
    return "\n".join(lines)


def _complete_index(
    index: Path, atlas: Atlas, about: str, licence: str, preview: bool, with_atlas: bool, address: str | None
) -> None:
    """Add to the first page what links show of it, and the notes at its foot."""
    named = {"og:type": "website", "og:title": f"{atlas.model}, a visualization atlas", "og:description": about}
    base = "" if address is None else address.rstrip("/") + "/"
    if base:
        named["og:url"] = base
    if preview and base:  # only a whole address is fetched
        named |= {"og:image": base + PREVIEW, "og:image:width": str(SIZE[1]), "og:image:height": str(SIZE[0])}
    tags = [Markup('<meta name="description" content="{}">').format(about)]
    tags += [Markup('<meta property="{}" content="{}">').format(name, value) for name, value in named.items()]
    tags += [Markup('<meta name="twitter:card" content="{}">').format("summary_large_image" if preview else "summary")]
    notes = [Markup('<p class="small">{}</p>').format(licence)] if licence else []
    notes += [
        Markup('<p class="small"><a href="{0}">{0}</a>: all pictures and numbers as HDF5.</p>').format(FILE)
    ] * with_atlas
    text = index.read_text(encoding="utf-8")
    text = text.replace(_TITLE, f"{_TITLE}\n" + "\n".join(map(str, tags)), 1)
    index.write_text(
        text.replace("</footer>", "".join(f"{escape(note)}\n" for note in notes) + "</footer>", 1), "utf-8"
    )


def _measured(folder: Path, licence: str, with_atlas: bool, address: str | None) -> Published:
    sizes: dict[str, tuple[int, int]] = {}
    largest = 0
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            size, kind = path.stat().st_size, _kind(path)
            count, total = sizes.get(kind, (0, 0))
            sizes[kind], largest = (count + 1, total + size), max(largest, size)
    seen = ["index.html", "static/atlas.css", "static/atlas.js"]
    notes = [licence] if licence else []
    reached = {
        "a file of more than 100 MB": largest,
        "a site of more than 1 GB": sum(size for _, size in sizes.values()),
    }
    notes += [f"{what} is refused by GitHub Pages" for what, limit in LARGE.items() if reached[what] > limit]
    if address is None:
        notes.append("links to it show no picture until its address is known: address=https://…")
    return Published(sizes, sum((folder / name).stat().st_size for name in seen), tuple(notes))


def _kind(path: Path) -> str:
    kinds = {".html": "pages", ".webp": "pictures", ".png": "pictures", ".jpg": "pictures", ".h5": "atlas"}
    return kinds.get(path.suffix, "scripts, styles and texts")


def lines(published: Published) -> Sequence[str]:
    """The report, a line for each kind of files, then the whole and the notes."""
    rows = [f"{kind}: {count} files, {_size(size)}" for kind, (count, size) in sorted(published.sizes.items())]
    rows.append(f"whole: {_size(published.bytes)}; first page with style and script {_size(published.first_view)}")
    return [*rows, *(f"note: {note}" for note in published.notes)]


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
