"""What an atlas, a layer or a unit holds, in a few lines of text: what Python prints of one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from atlas_viewer.field import Status

if TYPE_CHECKING:
    from atlas_viewer.atlas import Atlas
    from atlas_viewer.layer import Layer, Unit


def atlas_text(atlas: Atlas) -> str:
    """The network, the dataset, and a line for each layer."""
    if not atlas.file.id.valid:
        return f"atlas {atlas.path}: closed"
    return "\n".join([*atlas_facts(atlas), *(f"  {layer_text(layer)}" for layer in atlas)])


def atlas_facts(atlas: Atlas) -> Iterator[str]:
    """Yield the lines above those of the layers."""
    units = sum(len(layer) for layer in atlas)
    yield f"atlas {atlas.path} of {atlas.cited}: {units} units of {len(atlas.layers)} layers"
    if atlas.dataset is not None:
        waiting = f", {atlas.dataset.waiting} not evaluated yet" if atlas.dataset.waiting else ""
        yield f"dataset {atlas.dataset.name}: {atlas.dataset.images} images{waiting}"
    for name, prior in atlas.priors.items():
        yield f"prior {name}: draws from {prior.network} {prior.code_layer}"


def layer_text(layer: Layer) -> str:
    """A line: units, the window of one, and the names of what the atlas has of them."""
    top, left, bottom, right = layer.window
    evidence = {
        "ascent": [name for name in layer.styles if name not in layer.swept],
        "dgn": [name for name in layer.runs if name not in layer.swept_runs],
        "swept": [*layer.swept, *layer.swept_runs],
        "tops": layer.kinds,
        "judged by": layer.judges,
    }
    evidence["swept"] = [f"{len(evidence['swept'])} settings"] if evidence["swept"] else []
    said = "; ".join(f"{method} {', '.join(names)}" for method, names in evidence.items() if names)
    return f"{layer.name}: {len(layer)} units, window {right - left}x{bottom - top}{f'; {said}' if said else ''}"


def unit_line(unit: Unit) -> str:
    """The citation, and the best activation of each setting and of the dataset's images."""
    swept = {*unit.layer.swept, *unit.layer.swept_runs}
    shown = (*unit.ascent.values(), *unit.dgn.values())
    best = [f"{pictures.name} {pictures.best:.4g}" for pictures in shown if pictures.name not in swept]
    if unit.stats is not None:
        best.append(f"dataset {unit.stats.most:.4g}")
    return f"{unit_title(unit)}: {', '.join(best) if best else 'nothing'}"


def unit_text(unit: Unit) -> str:
    """The citation, then a line for each setting, the hits and the statistics."""
    return "\n".join([unit_title(unit), *(f"  {line}" for line in unit_lines(unit))])


def unit_title(unit: Unit) -> str:
    """The citation, the label, and the status unless it is ok."""
    status = unit.status()
    said = "" if status is Status.ok else f", {status.name.replace('_', ' ')}"
    return f"{unit.citation}{f' {unit.label}' if unit.label else ''}{said}"


def unit_lines(unit: Unit) -> Iterator[str]:
    """Yield the lines below the title. Settings of a sweep are only counted."""
    swept = {*unit.layer.swept, *unit.layer.swept_runs}
    for pictures in (*unit.ascent.values(), *unit.dgn.values()):
        if pictures.name not in swept:
            yield repr(pictures)
    if swept:
        yield f"{len(swept)} settings of a sweep"
    for kind in unit.layer.kinds:
        yield repr(unit.tops(kind))
    if unit.stats is not None:
        yield repr(unit.stats)
