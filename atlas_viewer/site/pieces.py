"""The pieces that a build walks: kinds of pages, and the panels of a unit's page. Each is a class in its own module.

A new panel is a module in `panels` with a subclass of Panel, and its template; a new page is a module in `pages` with a
subclass of Page, and its template. Nothing lists them: they are found in their packages and sorted by `order`.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

if TYPE_CHECKING:
    from atlas_viewer.layer import Layer, Unit
    from atlas_viewer.site.outline import Link, Outline
    from atlas_viewer.site.packing import UnitSprite

Piece = TypeVar("Piece")


class Panel(ABC):
    """One part of a unit's page, for one kind of evidence.

    order : its place on the page.
    template : in `templates/panels`; it is included with `shown`, what `draw` returned.
    lead_template, lead_order : of its figure in the page's head, and that figure's place there; "" for none.
    """

    order: ClassVar[int]
    template: ClassVar[str]
    lead_template: ClassVar[str] = ""
    lead_order: ClassVar[int] = 0

    @abstractmethod
    def draw(self, outline: Outline, unit: Unit, sprite: UnitSprite) -> Any:
        """Add the unit's pictures to its sprite; return what the template shows, None for nothing."""

    def leads(self, shown: Any) -> bool:
        """Whether the page's head has a figure of what is shown."""
        return False

    def switches(self, shown: Any) -> Mapping[str, tuple[str, ...]]:
        """The switches that the panel needs, by name, each with its positions, the first one chosen."""
        return {}

    def contents(self, outline: Outline, shown: Any) -> Sequence[tuple[str, str]]:
        """The id and the name of each of its sections, for the page's table of contents."""
        return ()

    def remark(self, shown: Any) -> str:
        """A sentence for the page's head, or empty; the page shows the first non-empty remark."""
        return ""

    def footnote(self, outline: Outline, shown: Any) -> str:
        """A sentence for the page's foot, or empty."""
        return ""

    def reached(self, unit: Unit) -> Mapping[str, float]:
        """The largest activation of the unit's synthetic pictures, by method; NaN without pictures."""
        return {}

    def depends(self, outline: Outline, layer: Layer) -> object:
        """Anything outside of the layer's own evidence that decides the panel; its `repr` is hashed."""
        return None


@dataclass(frozen=True)
class Part:
    """A part of a page's files that one process draws on its own.

    start, stop : pages or rows, as the page counts.
    """

    what: str = ""
    start: int = 0
    stop: int = 0


@dataclass(frozen=True)
class Block:
    """Files of one folder that are drawn together, or taken from the site before where their key is the same.

    name : of the block, no other of its folder has it.
    page : module of the page; "" for what all pages draw of some units, rows part.start to part.stop.
    layer : its name, "" for none.
    """

    folder: str
    name: str
    key: str
    page: str
    layer: str
    part: Part


BLOCK = 50  # units whose pictures are drawn together, and taken over together from the site before


class Page:
    """One kind of page.

    order : its place among the kinds, and among the links of the first page.
    top : the files and folders that it has at the top of a site, which must not be used as a layer's folder name.
    """

    order: ClassVar[int]
    top: ClassVar[tuple[str, ...]] = ()

    def parts(self, layer: Layer) -> Iterator[Part]:
        """Yield the parts that a layer's folder has of this page."""
        return iter(())

    def rows(self, layer: Layer, part: Part) -> range:
        """The rows of the units that a part shows."""
        return range(len(layer))

    def draw(self, outline: Outline, layer: Layer | None, part: Part, folder: Path) -> None:
        """Draw one part into its folder. A page that yields parts or blocks overrides it."""
        raise NotImplementedError

    def draw_units(self, outline: Outline, layer: Layer, rows: range, folder: Path) -> None:
        """Draw the files that show nothing but these units, at most BLOCK, into the layer's folder."""

    def blocks(self, outline: Outline, layers: Mapping[str, str]) -> Iterator[Block]:
        """Yield the blocks of folders of its own that the page has.

        layers : for each layer a key of all that its pages show.
        """
        return iter(())

    def write(self, outline: Outline, site: Path) -> None:
        """Write the files that belong to no folder that is taken over; all folders are complete by then."""

    def links(self, outline: Outline) -> Iterator[tuple[Link, str]]:
        """Yield links for the first page, each with a sentence about the page."""
        return iter(())

    def depends(self, outline: Outline, layer: Layer) -> object:
        """Anything outside of a layer's own evidence that decides its files; its `repr` is hashed."""
        return None


@lru_cache(maxsize=1)
def panels() -> tuple[Panel, ...]:
    """The panels of a unit's page, in their order."""
    return _walk("atlas_viewer.site.panels", Panel)


@lru_cache(maxsize=1)
def kinds() -> tuple[Page, ...]:
    """The kinds of pages, in their order."""
    return _walk("atlas_viewer.site.pages", Page)


def _walk(package: str, kind: type[Piece]) -> tuple[Piece, ...]:
    """An instance of every subclass that the modules of a package define, by order, then by module."""
    path = importlib.import_module(package).__path__
    modules = [importlib.import_module(f"{package}.{info.name}") for info in pkgutil.iter_modules(path)]
    classes = {
        each
        for module in modules
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, kind) and each.__module__ == module.__name__
    }
    return tuple(each() for each in sorted(classes, key=lambda each: (each.order, each.__module__)))
