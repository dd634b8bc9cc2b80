"""Arrays of pictures, filled shard by shard: a row for each unit (or combination), a column for each sample."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import h5py
import numpy as np

from atlas_viewer.format import Group, Status
from pipeline.card import LayerCard
from pipeline.plan import Plan
from pipeline.store.merging import MergeReport
from pipeline.store.shard import Shard


class PictureWriter:
    """Writes one group of pictures. It copies chunks unchanged, and keeps small arrays until the end."""

    def __init__(
        self,
        kind: Group,
        group: h5py.Group,
        grid: tuple[int, int],
        chunked: Mapping[str, tuple[int, ...]],
        small: Mapping[str, np.ndarray],
    ) -> None:
        """
        kind : the group in the schema.
        group : the group in the file.
        grid : number of rows and of samples.
        chunked : field → shape of one picture's chunk.
        small : field → array (row, sample, …), filled with the values of a missing picture.
        """
        self.kind, self.group, self.small = kind, group, dict(small)
        self.chunked = {
            name: kind[name].create(group, dict(zip(kind[name].axes, (*grid, *shape), strict=True)))
            for name, shape in chunked.items()
        }
        self.small["status"] = np.full(grid, Status.missing, np.uint8)
        self.unrecorded: set[str] = set()
        self.asked = np.zeros(grid, bool)
        self.reasons = [""] * grid[0]

    def add(
        self,
        rows: Sequence[int],
        sample: int,
        addresses: Sequence[str],
        shard: Shard | None,
        reason: str | None,
        report: MergeReport,
    ) -> None:
        """Add one task's pictures. Without a shard, its rows are missing, or failed if there is a reason.

        rows, addresses : of the task's items, in their order.
        """
        rows = list(rows)
        self.asked[rows, sample] = True
        report.pictures += len(rows)
        if shard is None:
            self.small["status"][rows, sample] = Status.missing if reason is None else Status.failed
            if reason is not None:
                for address, row in zip(addresses, rows, strict=True):
                    self.reasons[row] = reason
                    report.reasons[address] = reason
            return
        for name, values in self.small.items():
            if name in shard.names or self.kind[name].required:
                self.read_small(values, name, shard, rows, sample)
            else:
                self.unrecorded.add(name)
        for name, dataset in self.chunked.items():
            for index, row in enumerate(rows):
                chunk = shard.chunk(name, index)
                if chunk is not None:
                    at = (row, sample) + (0,) * (dataset.ndim - 2)
                    dataset.id.write_direct_chunk(at, chunk)

    def read_small(self, values: np.ndarray, name: str, shard: Shard, rows: list[int], sample: int) -> None:
        """Copy a shard's array into the rows of the whole array, `values`."""
        values[rows, sample] = shard.array(name)

    def close(self, report: MergeReport) -> np.ndarray:
        """Write the small arrays; return the statuses (row, sample).

        An optional array that one of the shards lacks is left out: absent means not recorded.
        A picture that was not requested (its unit belongs to another style, say) is missing in the file but ok here.
        """
        for name, values in self.small.items():
            if name not in self.unrecorded:
                self.kind[name].write(self.group, values)
        self.kind["reason"].write(self.group, self.reasons)
        statuses = self.small["status"]
        for status in Status:
            count = int((statuses[self.asked] == status).sum())
            if count:
                report.statuses[status.name] = report.statuses.get(status.name, 0) + count
        report.missing += int((statuses[self.asked] == Status.missing).sum())
        report.failed += int((statuses[self.asked] == Status.failed).sum())
        return np.where(self.asked, statuses, np.uint8(Status.ok))


def cut_sides(layer: LayerCard) -> list[int]:
    """Pixels by which a layer's window extends beyond the image: top, left, bottom, right."""
    top, left, bottom, right = layer.window
    opened = layer.open_window
    return [top - opened[0], left - opened[1], opened[2] - bottom, opened[3] - right]


def sweep_attributes(plan: Plan, method: str, name: str) -> dict[str, object]:
    """The position of a setting in a sweep, as attributes; empty if it belongs to none."""
    place = plan.sweep.get(method, {}).get(name)
    return {} if place is None else {"sweep": place.axis, "sweep_place": place.place, "sweep_base": place.base}


def pictures_digest(pixels: h5py.Dataset | np.ndarray) -> str:
    """SHA-256 of the pictures of a setting, row by row. Scores and memorisation tests name their pictures by it."""
    total = hashlib.sha256(repr(pixels.shape).encode())
    for row in range(pixels.shape[0]):
        total.update(pixels[row].tobytes())
    return total.hexdigest()
