"""Tables in Parquet, as data hubs show them: units, pictures and hits, with the pictures in them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from atlas_viewer.atlas import Atlas
from atlas_viewer.errors import MissingError
from atlas_viewer.extras import installed
from atlas_viewer.layer import Layer

TEXT, NUMBER, WHOLE, PICTURE = "string", "float32", "int32", "image"
PICTURES = {
    "layer": TEXT, "unit": WHOLE, "label": TEXT, "method": TEXT, "setting": TEXT, "sample": WHOLE, "status": TEXT,
    "activation": NUMBER, "picture": PICTURE,
}  # fmt: skip
HITS = {
    "layer": TEXT, "unit": WHOLE, "label": TEXT, "kind": TEXT, "rank": WHOLE, "activation": NUMBER, "key": TEXT,
    "class": TEXT, "patch": PICTURE,
}  # fmt: skip
ROWS = 500  # of a table that are held at once

_CARD = """---
configs:
{configs}
---

# {cited}

A visualization atlas of the network `{model}`: what each unit of each layer prefers. `units` has a row for each unit,
`pictures` for each synthetic picture (true colours, PNG), `hits` for each image of the dataset that excites a unit.
Whether images of the dataset may be given on depends on the dataset's licence.
"""


def write_parquet(atlas: Atlas, folder: Path, side: int) -> int:
    """Write units.parquet, pictures.parquet, hits.parquet and README.md, the card of the dataset; return how many.

    The column of pictures is a struct of bytes and path with the metadata that `datasets` reads as images. Settings of
    a sweep are left out; hits need the pixels of the images.
    Raises MissingError without pyarrow and pandas.
    """
    for package in ("pyarrow", "pandas"):
        if not installed(package):
            raise MissingError(f"layout=parquet: {package} is not installed; install it with pip install {package}")
    tables = {"pictures": (PICTURES, _pictures(atlas))}
    if atlas.dataset is not None and atlas.dataset.has_pixels:
        tables["hits"] = (HITS, _hits(atlas))
    atlas.units().to_parquet(folder / "units.parquet", index=False)
    for name, (columns, rows) in tables.items():
        _write(folder / f"{name}.parquet", columns, rows)
    names = ("units", *tables)
    configs = "\n".join(f"- config_name: {name}\n  data_files: {name}.parquet" for name in names)
    (folder / "README.md").write_text(
        _CARD.format(configs=configs, cited=atlas.cited, model=atlas.model), encoding="utf-8"
    )
    return len(names) + 1


def _pictures(atlas: Atlas) -> Iterator[tuple[object, ...]]:
    for layer in atlas:
        for method, named in (("ascent", layer.ascent), ("dgn", layer.dgn)):
            for name, climb in named.items() if layer else ():
                for row in range(len(layer)) if climb.sweep is None else ():
                    unit = climb.at(row)
                    pixels, values, states = unit.images, unit.activation.tolist(), unit.status
                    for sample, state in enumerate(states):
                        exists = np.isfinite(values[sample])
                        yield (
                            *_unit(layer, row), method, name, sample, state.name, values[sample] if exists else None,
                            _png(pixels[sample]) if exists else None,
                        )  # fmt: skip


def _hits(atlas: Atlas) -> Iterator[tuple[object, ...]]:
    for layer in atlas:
        for kind in layer.kinds:
            tops = layer.tops(kind)
            for row in range(len(layer)):
                unit = tops.at(row)
                patches = unit.patches
                for hit in unit.hits:
                    about = (kind, hit.rank, hit.activation, hit.key, hit.class_name)
                    yield (*_unit(layer, row), *about, _png(patches[hit.rank]))


def _unit(layer: Layer, row: int) -> tuple[str, int, str]:
    return layer.name, int(layer.units[row]), layer.labels[row]


def _png(pixels: np.ndarray) -> dict[str, object]:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return {"bytes": file.getvalue(), "path": None}


def _write(path: Path, columns: dict[str, str], rows: Iterator[tuple[object, ...]]) -> None:
    """Write the rows a few at a time."""
    import pyarrow
    import pyarrow.parquet

    kinds = {
        TEXT: pyarrow.string(),
        NUMBER: pyarrow.float32(),
        WHOLE: pyarrow.int32(),
        PICTURE: pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())]),
    }
    features = {
        name: {"_type": "Image"} if kind == PICTURE else {"dtype": kind, "_type": "Value"}
        for name, kind in columns.items()
    }
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in columns.items()], metadata=about)
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for part in _parts(rows):
            arrays = zip(*part, strict=True)
            made: list[Any] = [pyarrow.array(values, field.type) for values, field in zip(arrays, schema, strict=True)]
            writer.write_table(pyarrow.Table.from_arrays(made, schema=schema))


def _parts(rows: Iterator[tuple[object, ...]]) -> Iterator[list[tuple[object, ...]]]:
    part: list[tuple[object, ...]] = []
    for row in rows:
        part.append(row)
        if len(part) == ROWS:
            yield part
            part = []
    if part:
        yield part
