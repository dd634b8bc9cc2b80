"""Every kind of evidence, in the order of the schema; register new kinds here.

A module offers `GROUPS`, its part of the schema, and `faults(file)`, which yields one line for each contradiction in an
open file whose groups are sound by themselves. It may also offer

- `write_tables(layer, folder)`, which writes its CSV files of a layer and yields their paths;
- `shown_beside(layer)`, which yields the groups outside of a layer's own that the layer's pages show.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import h5py

from atlas_viewer.evidence import (
    ascent,
    combinations,
    dataset,
    dgn,
    interpretability,
    memorisation,
    numbers,
    priors,
    scores,
    statistics,
    tops,
)

if TYPE_CHECKING:
    from atlas_viewer.layer import Layer

EVIDENCE = (
    numbers,
    dataset,
    priors,
    ascent,
    dgn,
    tops,
    statistics,
    scores,
    interpretability,
    combinations,
    memorisation,
)
GROUPS = tuple(group for evidence in EVIDENCE for group in evidence.GROUPS)


def contradictions(file: h5py.File) -> Iterator[str]:
    """Yield what the evidence of an open file contradicts, one line each."""
    for evidence in EVIDENCE:
        yield from evidence.faults(file)


def write_tables(layer: Layer, folder: Path) -> Iterator[Path]:
    """Write the tables of a layer into a folder; yield their paths."""
    for evidence in EVIDENCE:
        if hasattr(evidence, "write_tables"):
            yield from evidence.write_tables(layer, folder)


def shown_beside(layer: Layer) -> Iterator[h5py.Group]:
    """Yield the groups outside of a layer's own that the layer's pages show."""
    for evidence in EVIDENCE:
        if hasattr(evidence, "shown_beside"):
            yield from evidence.shown_beside(layer)
