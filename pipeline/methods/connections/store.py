"""Write the groups of connections."""

from __future__ import annotations

from collections.abc import Mapping

import h5py
import numpy as np

from atlas_viewer.evidence.connections import CONNECTIONS
from pipeline.card import LayerCard
from pipeline.methods.connections.task import CONNECTIONS_REVISION, Links
from pipeline.store.held import same_attributes
from pipeline.store.merging import Writer


class ConnectionsWriter(Writer):
    """Writes the connections of the units of a layer; without a network, those of the atlas stay."""

    def write_layer(self, layer: LayerCard, group: str) -> list[np.ndarray]:
        merge, result = self.merge, self.merge.work.results.get("connections")
        units, path = merge.plan.layer_units(layer.name), merge.held.layer_groups.get(layer.name)
        held = {} if path is None else merge.held.group(f"{path}/connections") or {}
        if result is None:
            if np.array_equal(merge.held.units(layer.name), units):
                for name, one in held.items():
                    merge.keep(CONNECTIONS.at(layer=group, other=name), one)
            return []
        for links in result.get(layer.name, ()):
            self._write(links, group, units, held.get(merge.groups[links.other]))
        return []

    def _write(self, links: Links, group: str, units: tuple[int, ...], held: h5py.Group | None) -> None:
        about = {
            "other": links.other,
            "direction": links.direction,
            "strength": links.meaning,
            "revision": CONNECTIONS_REVISION,
        }
        other, rows = self.merge.groups[links.other], np.array(units, np.int32)
        arrays = {"unit": rows, **{name: getattr(links, name)[rows] for name in ("linked", "weight", "strength")}}
        root = CONNECTIONS.at(layer=group, other=other)
        if held is not None and same_attributes(held, about) and _same_arrays(held, arrays):
            self.merge.keep(root, held)
            return
        with self.merge.parts.part(root) as part:
            stored = CONNECTIONS.create(part.file, about, layer=group, other=other)
            for name, array in arrays.items():
                CONNECTIONS[name].write(stored, array)


def _same_arrays(group: h5py.Group, values: Mapping[str, np.ndarray]) -> bool:
    return all(
        np.array_equal(group[name][...], array, equal_nan=array.dtype.kind == "f") for name, array in values.items()
    )


WRITERS = {"connections": ConnectionsWriter}
