"""Reading an atlas: layers, units and their pictures by name, address or citation.

with Atlas("atlas.h5") as atlas:
    pictures = atlas.unit("conv5:151").ascent["low_frequency"].images  # (sample, y, x, rgb) uint8
    patches = atlas.unit("conv5:151").top.patches  # (rank, y, x, rgba) uint8
    table = atlas.units()  # a row for each unit
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from atlas_viewer import format
from atlas_viewer.errors import UNREADABLE, AtlasError, FormatError, MissingError, disk_fault, nearest, of_hdf5
from atlas_viewer.evidence.combinations import Combinations
from atlas_viewer.evidence.dataset import Dataset
from atlas_viewer.evidence.memorisation import Memorisation
from atlas_viewer.evidence.priors import PriorCard
from atlas_viewer.evidence.registry import write_tables
from atlas_viewer.extras import installed, require
from atlas_viewer.field import has_member, subgroup
from atlas_viewer.layer import Layer, LayerInfo, Unit
from atlas_viewer.summary import atlas_text
from atlas_viewer.unit_list import unit_frame
from atlas_viewer.validator import check

_MEND = "put a whole copy in its place, or move it away, and make atlas with the same OUT computes it again"
KEPT_LAYERS = 16  # with the arrays that were read of them: tens of megabytes for layers of thousands of units
CHUNK_CACHE = 1 << 20  # bytes of a dataset; 8 MB (HDF5 2.0) for each file behind an array of pictures add up to GB
CITED = 12  # characters of the digest in a citation: enough to distinguish any two networks


class Atlas:
    """An open atlas. Close it, or use it in a `with`, which also explains errors of reading (`__exit__`).

    kept : layers, the last ones used, that are kept with what was read of them.
    Raises MissingError for a file that does not exist, FormatError for one that is not an atlas, is damaged or
    has another version.
    """

    def __init__(self, path: Path | str, kept: int = KEPT_LAYERS) -> None:
        self.path = Path(path)
        self._layer = lru_cache(kept)(self._open_layer)
        if not self.path.is_file():
            raise MissingError(f"atlas {path}: no such file; write it with make atlas")
        try:
            with open(self.path, "rb") as file:
                file.read(1)  # is_hdf5 takes a file that cannot be read for another format
            if not h5py.is_hdf5(self.path):
                raise FormatError(f"atlas {path}: not an HDF5 file; name the atlas.h5 that make atlas wrote")
            self.file = h5py.File(self.path, "r", rdcc_nbytes=CHUNK_CACHE)  # open, for the readers of evidence
        except FormatError:
            raise
        except UNREADABLE as error:
            raise _damaged(self.path, error) from None
        try:
            _refuse_other_formats(self.file, self.path)
        except OSError as error:
            self.file.close()
            raise _damaged(self.path, error) from None
        except FormatError:
            self.file.close()
            raise
        except Exception as error:
            self.file.close()
            raise _damaged(self.path, error) from None

    def __enter__(self) -> Atlas:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the file. Where the error is one of HDF5, or the file is unsound, it becomes a FormatError."""
        try:
            if isinstance(error, Exception) and not isinstance(error, AtlasError):
                self._explain(error)
        finally:
            self.close()

    def _explain(self, error: Exception) -> None:
        """Raise FormatError if the file is why reading ended with an error: if HDF5 says so, or a check of it does."""
        if not self.file.id.valid or isinstance(error, ImportError):  # a missing package says nothing about the file
            return
        if of_hdf5(error, self.path):
            raise _damaged(self.path, error) from error
        try:
            faults = check(self.file)
        except Exception as further:
            raise _damaged(self.path, further) from error
        if faults:
            raise FormatError(f"atlas {self.path}: unsound ({faults[0]}); {_MEND}") from error

    def close(self) -> None:
        """Close the file; arrays that were not read before can no longer be read."""
        self._layer.cache_clear()  # layers of an atlas in parts have files of their own open
        self.file.close()

    @cached_property
    def model(self) -> str:
        """The network's name."""
        return str(self.file.attrs["model"])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the network's definition and weights, in hexadecimal."""
        return str(self.file.attrs["model_digest"])

    @property
    def settings(self) -> str:
        """The settings that decided the results, as YAML."""
        return self._text("settings")

    @property
    def packages(self) -> str:
        """The packages that computed the results, one "name version" per line."""
        return self._text("packages")

    @cached_property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the network's input in pixels."""
        attributes = self.file["preprocessing"].attrs
        return int(attributes["height"]), int(attributes["width"])

    @cached_property
    def mean(self) -> np.ndarray:
        """The mean that the network subtracts, (y, x, rgb) in pixel levels; y and x may be 1."""
        mean = np.moveaxis(self.file["preprocessing/mean"][...], 0, -1)
        mean = mean[:, :, ::-1] if self.file["preprocessing"].attrs["channels"] == "BGR" else mean
        return np.ascontiguousarray(np.broadcast_to(mean, (*mean.shape[:2], 3)))

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(self.file["network/labels"].asstr()[...])

    @cached_property
    def table(self) -> tuple[LayerInfo, ...]:
        """The layer table of the network, inputs first, with the layers that have no pictures."""
        group = self.file["network/layers"]
        fields = (field for field in format.LAYERS.fields if field.name in group)
        read = {field.name: field.read(group[field.name]).tolist() for field in fields}
        return tuple(
            LayerInfo(
                name=name,
                kind=read["kind"][row],
                channels=read["channels"][row],
                size=(read["height"][row], read["width"][row]),
                window_size=tuple(read["window_size"][row]),
                window_stride=tuple(read["window_stride"][row]),
                window_offset=tuple(read["window_offset"][row]),
                window_status=read["window_status"][row] if "window_status" in read else "",
                measure=read["measure"][row] if "measure" in read else "",
                has_units=read["has_units"][row],
                class_layer=read["class_layer"][row],
            )
            for row, name in enumerate(read["name"])
        )

    @cached_property
    def dataset(self) -> Dataset | None:
        """The images that were evaluated; None where there were none."""
        return Dataset.of(self)

    @cached_property
    def priors(self) -> dict[str, PriorCard]:
        """The priors of the runs, by original name."""
        return PriorCard.of(self)

    @cached_property
    def runs(self) -> dict[str, tuple[str, ...]]:
        """The runs of DGN-AM by original name, each with the layers that have pictures of it."""
        layers: dict[str, tuple[str, ...]] = {}
        for layer in self:
            for name in layer.runs:
                layers[name] = (*layers.get(name, ()), layer.name)
        return layers

    @cached_property
    def combinations(self) -> dict[str, Combinations]:
        """The sets of pictures that excite several units at once, by original name."""
        return Combinations.of(self)

    @cached_property
    def memorisation(self) -> dict[str, Memorisation]:
        """The memorisation tests, by the original name of the run whose pictures were compared."""
        return Memorisation.of(self)

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """The names of the network's nodes, inputs first."""
        return tuple(self.file["network/graph/nodes"].asstr()[...])

    @cached_property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """The network's edges as pairs of node names: from, to."""
        return tuple((self.nodes[a], self.nodes[b]) for a, b in self.file["network/graph/edges"][...].tolist())

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers that have units in this atlas, inputs first."""
        groups = subgroup(self.file, "layers")
        return tuple(name for name, key in self._keys.items() if has_member(groups, key))

    def __getitem__(self, layer: str) -> Layer:
        if layer not in self.layers:
            why = " (it has no units in this atlas)" if layer in self._keys else nearest(layer, self.layers)
            raise MissingError(f"atlas {self.path}: no layer {layer}{why}; it has {', '.join(self.layers)}")
        return self._layer(layer)

    def __iter__(self) -> Iterator[Layer]:
        return (self[layer] for layer in self.layers)

    def unit(self, address: str) -> Unit:
        """The unit at an address, conv5:151 or fc8:<label>, or a citation, doodlenet@01234567:conv5:151."""
        rest = address
        if "@" in address.split(":", 1)[0]:
            model, _, tail = address.partition("@")
            digest, _, rest = tail.partition(":")
            if model != self.model or not digest or not self.digest.startswith(digest.lower()):
                raise MissingError(f"{address}: cites {model}@{digest}, but {self.path} shows {self.cited}")
        layer, colon, unit = rest.partition(":")
        while colon and layer not in self._keys and ":" in unit:  # names of layers may have colons
            more, _, unit = unit.partition(":")
            layer = f"{layer}:{more}"
        if not colon or not unit:
            raise MissingError(f"{address}: expected layer:unit, for example {self.layers[0]}:0")
        return self[layer].unit(unit)

    @property
    def cited(self) -> str:
        """The network as a citation names it: its name, @, and the first characters of its digest."""
        return f"{self.model}@{self.digest[:CITED]}"

    def units(self) -> Any:
        """All units as one pandas.DataFrame: a row for each, with the columns of `unit_list.unit_frame`.

        Raises MissingError without pandas.
        """
        return unit_frame(self)

    def to_xarray(self, group: str = "/") -> Any:
        """The file as an xarray.DataTree, whose arrays are read when used; close it when done.

        group : the path of the part to open, as docs/format.md names it; opening all takes seconds.
            `atlas.to_xarray("layers/conv5")["ascent/sparse"].pixels.sel(unit=12)`
        Raises MissingError without xarray and h5netcdf, without netCDF4 for an atlas in parts, and for a group that is
        not in the file.
        """
        require("xarray", "to_xarray")
        if self._is_in_parts:  # h5netcdf looks for the axes of a part in the file that links to it
            if not installed("netCDF4"):
                todo = "install it with pip install netCDF4, or write one whole file with make pack"
                raise MissingError(f"to_xarray: an atlas in parts needs netCDF4; {todo}")
            engine = "netcdf4"
        else:
            require("h5netcdf", "to_xarray")
            engine = "h5netcdf"
        if group not in self.file:
            raise MissingError(f"atlas {self.path}: no group {group}; docs/format.md names them")
        import xarray

        return xarray.open_datatree(self.path, engine=engine, group=group)

    def to_csv(self, folder: Path | str) -> tuple[Path, ...]:
        """Write the tables of every layer into a folder; return their paths.

        <layer>.csv : one line per picture of a style.
        <layer>.runs.csv : one line per picture of a run.
        <layer>.tops.csv : one line per hit.
        <layer>.statistics.csv : one line per unit.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        return tuple(path for layer in self for path in write_tables(layer, folder))

    def __repr__(self) -> str:
        return atlas_text(self)

    def _repr_html_(self) -> str:
        from atlas_viewer.notebook_view import atlas_html

        return atlas_html(self)

    def _open_layer(self, name: str) -> Layer:
        info = next(info for info in self.table if info.name == name)
        return Layer(self, info, subgroup(self.file["layers"], self._keys[name]))

    @cached_property
    def _keys(self) -> dict[str, str]:
        return format.group_names(self.file["network/layers/name"].asstr()[...].tolist())

    @cached_property
    def _is_in_parts(self) -> bool:
        """Whether groups of the file are links to other files."""
        return bool(self.file.visititems_links(lambda _, link: isinstance(link, h5py.ExternalLink) or None))

    def _text(self, path: str) -> str:
        return str(self.file[path].asstr()[()])


def _damaged(path: Path, error: Exception) -> FormatError:
    fault = disk_fault(error)
    if fault is not None:  # which says nothing about the file
        return FormatError(f"atlas {path}: cannot be read ({fault.reason}); see to the disk, or read a copy elsewhere")
    return FormatError(f"atlas {path}: damaged ({error}); {_MEND}")


def _refuse_other_formats(file: h5py.File, path: Path) -> None:
    if file.attrs.get("format") != format.FORMAT:
        raise FormatError(f"atlas {path}: an HDF5 file, but not an atlas; name the atlas.h5 that make atlas wrote")
    version = file.attrs.get("version")
    if version != format.VERSION:
        newer = isinstance(version, (int, np.integer)) and version > format.VERSION
        todo = "update the viewer" if newer else "write the atlas again with make atlas"
        raise FormatError(f"atlas {path}: schema {version}, this viewer reads {format.VERSION}; {todo}")
