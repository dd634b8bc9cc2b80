"""Atlas to pages: what changed is drawn in parallel, the rest is taken from the site before."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from atlas_viewer.atlas import Atlas
from atlas_viewer.field import Status
from atlas_viewer.layer import Layer
from atlas_viewer.signals import FORMS
from atlas_viewer.site.folder import replacing
from atlas_viewer.site.keys import kinds_of_units, layer_keys, units_key
from atlas_viewer.site.outline import STATIC, Outline, runs, styles
from atlas_viewer.site.pieces import BLOCK, Block, Part, kinds, panels
from atlas_viewer.site.snapshot import snapshot

KEYS = ".keys"  # in a folder of the site: for each of its blocks the key, and its files with their sizes
NOTE = "note.css"  # the line at the head of every page: a style sheet, so that no page changes with it
SOURCE = ".source"  # in a site that is being made: the atlas that it is made of

_Signed = dict[str, tuple[str, dict[str, int]]]


@dataclass(frozen=True)
class Summary:
    """The result of a build. rebuilt : layers of which something was drawn. blocks : how many were drawn."""

    layers: int
    rebuilt: tuple[str, ...]
    blocks: int
    units: int
    failed: int
    pages: int
    files: int
    bytes: int


def build(
    atlas_path: Path,
    out: Path,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    full: bool = False,
    note: str = "",
) -> Summary:
    """Make the site of an atlas in the folder `out`, whole or not at all, from the atlas as it is at the start.

    Files whose content, drawing code and neighbours are those of the site in `out` are taken from there.
    progress : called with the number of blocks done, and of all blocks that are drawn.
    full : show all pictures of a unit at their stored size.
    note : a line at the head of every page, until the next build.
    Raises AtlasError where `out` holds something that is not a site of an atlas.
    """
    atlas_path, out = Path(atlas_path), Path(out)
    with replacing(out) as new, snapshot(atlas_path, new / SOURCE) as source:
        if note:
            (new / STATIC / NOTE).write_text(_style_of(note), encoding="utf-8")
        return _make(source, out, new, _Options(workers, full, progress))


def _style_of(note: str) -> str:
    """The style sheet that shows a note."""
    plain = "".join(letter if letter.isalnum() or letter in " ,." else f"\\{ord(letter):x} " for letter in note)
    return f'.note::before {{ content: "{plain}" }}\n'


@dataclass(frozen=True)
class _Options:
    workers: int
    full: bool
    progress: Callable[[int, int], None] | None


def _make(source: Path, out: Path, new: Path, options: _Options) -> Summary:
    """Make the site in `new`, with what is still good in `out`."""
    with Atlas(source) as atlas:
        outline = Outline(atlas, options.full)
        blocks = _blocks(outline)
        signed: dict[str, _Signed] = {block.folder: {} for block in blocks}
        before = {folder: _read_keys(out / folder) for folder in signed}
        changed = []
        for block in blocks:
            key, files = before[block.folder].get(block.name, ("", {}))
            if key == block.key and _take(out / block.folder, new / block.folder, files):
                signed[block.folder][block.name] = key, files
            else:
                changed.append(block)
        for block, files in _draw(outline, source, new, changed, options):
            signed[block.folder][block.name] = block.key, files
        for folder, entries in signed.items():
            (new / folder / KEYS).write_text(json.dumps(entries, sort_keys=True, indent=0), encoding="utf-8")
        for page in kinds():
            page.write(outline, new)
        names = {block.folder for block in changed}
        files = [path for path in sorted(new.rglob("*")) if path.is_file() and SOURCE not in path.parts]
        return Summary(
            layers=len(atlas.layers),
            rebuilt=tuple(layer for layer, name in outline.folders.items() if name in names),
            blocks=len(changed),
            units=sum(len(layer) for layer in atlas),
            failed=sum(status is not Status.ok for layer in atlas for status in layer.status),
            pages=sum(path.suffix == ".html" for path in files),
            files=len(files),
            bytes=sum(path.stat().st_size for path in files),
        )


def _blocks(outline: Outline) -> list[Block]:
    """All blocks: of each layer its units, then what pages show of them; then those in folders of the pages' own."""
    blocks, whole = [], {}
    for layer in outline.atlas:
        keys, folder = layer_keys(outline, layer), outline.folders[layer.name]
        whole[layer.name] = keys.of(range(len(layer)))
        for start in range(0, len(layer), BLOCK):
            part = Part(start=start, stop=min(start + BLOCK, len(layer)))
            key = units_key(keys, outline, layer, range(part.start, part.stop))
            blocks.append(Block(folder, f"units-{start}", key, "", layer.name, part))
        depends = [piece.depends(outline, layer) for piece in (*kinds(), *panels())]
        for page in kinds():
            module = type(page).__module__
            for part in page.parts(layer):
                key = keys.of(page.rows(layer, part), (part, depends))
                name = f"{module.rsplit('.', 1)[1]}-{part.what}-{part.start}"
                blocks.append(Block(folder, name, key, module, layer.name, part))
    return [*blocks, *(block for page in kinds() for block in page.blocks(outline, whole))]


def _draw(
    outline: Outline, source: Path, new: Path, blocks: list[Block], options: _Options
) -> Iterator[tuple[Block, dict[str, int]]]:
    """Draw blocks; yield each with its files and their sizes."""
    report = options.progress if options.progress is not None else lambda done, of: None
    if options.workers <= 1 or len(blocks) <= 1:
        drawing = _Drawing(outline, new)
        for done, block in enumerate(blocks, 1):
            yield block, drawing.draw(block)
            report(done, len(blocks))
        return
    blocks = sorted(blocks, key=lambda block: -_pixels(outline, block))  # else all may wait for one that begins last
    # Fresh processes: a forked one would share the open HDF5 file. Each opens the atlas once.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(options.workers, len(blocks)), context, initializer=_open, initargs=(source, options.full, new)
    ) as pool:
        with _deaf_to_interrupts():
            running = {pool.submit(_draw_apart, block): block for block in blocks}
        try:
            for done, future in enumerate(as_completed(running), 1):
                yield running[future], future.result()
                report(done, len(blocks))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # else it would draw all that waits first
            raise


def _pixels(outline: Outline, block: Block) -> int:
    """How many pixels of pictures a block's units have, which most of its time follows; 0 for a page's own block."""
    if block.page:
        return 0
    layer = outline.atlas[block.layer]
    of_unit = sum(climb.samples * math.prod(climb.size) for climb in (*styles(layer), *runs(layer)))
    for tops in map(layer.tops, layer.kinds):
        of_unit += tops.image.shape[1] * math.prod(tops.frame_size) * (1 + len(FORMS) * len(tops.rules))
    return of_unit * (block.part.stop - block.part.start)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Leave Ctrl-C to this process: processes started in here ignore it from their first line on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Drawing:
    """Draws blocks of one site; keeps the layer of the block before, because its arrays are read once."""

    def __init__(self, outline: Outline, new: Path) -> None:
        self.outline, self.new = outline, new
        self.layer: Layer | None = None

    def draw(self, block: Block) -> dict[str, int]:
        """Draw a block into its folder; return its files with their sizes."""
        if self.layer is None or self.layer.name != block.layer:
            self.layer = self.outline.atlas[block.layer] if block.layer else None
        folder = self.new / block.folder
        aside = folder / f".{block.name}"
        aside.mkdir(parents=True)
        if block.page:
            page = next(page for page in kinds() if type(page).__module__ == block.page)
            page.draw(self.outline, self.layer, block.part, aside)
        else:
            for page in kinds_of_units():
                page.draw_units(self.outline, self.layer, range(block.part.start, block.part.stop), aside)
        files = {path.name: path.stat().st_size for path in sorted(aside.iterdir())}
        for name in files:
            os.replace(aside / name, folder / name)
        aside.rmdir()
        return files


_apart: list[_Drawing] = []  # of a process that draws


def _open(source: Path, full: bool, new: Path) -> None:
    """Runs once in a process that draws. It ends when the one that started it is killed, and would wait for ever."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    _apart.append(_Drawing(Outline(Atlas(source, kept=1), full), new))


def end_with_parent() -> None:
    """End this process when the one that started it has ended; for a thread, which waits for that."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _draw_apart(block: Block) -> dict[str, int]:
    return _apart[0].draw(block)


def _read_keys(folder: Path) -> _Signed:
    """The keys and files of a folder of the site before; none where they are missing or damaged."""
    try:
        read = json.loads((folder / KEYS).read_text(encoding="utf-8"))
        return {
            name: (str(key), {str(file): int(size) for file, size in files.items()})
            for name, (key, files) in read.items()
        }
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _take(old: Path, new: Path, files: dict[str, int]) -> bool:
    """Link a block's files from the old folder into the new one if they are complete."""
    try:
        whole = all((old / name).stat().st_size == size for name, size in files.items())
    except OSError:
        whole = False
    if not whole or any(Path(name).name != name for name in files):
        return False  # drawn anew
    new.mkdir(exist_ok=True)
    for name in files:
        try:
            os.link(old / name, new / name)
        except OSError:  # a file system without hard links
            shutil.copyfile(old / name, new / name)
    return True
