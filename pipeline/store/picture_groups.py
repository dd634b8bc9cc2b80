"""Arrays of pictures, filled shard by shard: a row a unit (or a combination), a column a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import h5py
import numpy as np

from atlas_viewer.format import Group, Status
from pipeline.store.shard import Shard


@dataclass
class MergeReport:
    """What a merge found: pictures by status, shards that were set aside, reasons of failed tasks."""

    pictures: int = 0
    missing: int = 0
    failed: int = 0
    set_aside: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)  # address → reason
    statuses: dict[str, int] = field(default_factory=dict)


class PictureWriter:
    """One group of pictures: what belongs to a picture is copied chunk by chunk, the small arrays are kept until the
    end."""

    def __init__(
        self, kind: Group, group: h5py.Group, grid: tuple[int, int], chunked: Mapping[str, tuple[int, ...]],
        small: Mapping[str, np.ndarray],
    ) -> None:  # fmt: skip
        """kind : the schema's. grid : rows, samples. chunked : field → shape of one picture's part. small : field →
        array (row, sample, …) of what nobody has written."""
        self.kind, self.group, self.small = kind, group, dict(small)
        self.chunked = {
            name: kind[name].create(group, dict(zip(kind[name].axes, (*grid, *shape), strict=True)))
            for name, shape in chunked.items()
        }
        self.small["status"] = np.full(grid, Status.missing, np.uint8)
        self.asked = np.zeros(grid, bool)
        self.reasons = [""] * grid[0]

    def add(
        self, rows: Sequence[int], sample: int, addresses: Sequence[str], shard: Shard | None, reason: str | None,
        report: MergeReport,
    ) -> None:  # fmt: skip
        """One task's pictures; without a shard its rows stay missing, or failed with the reason."""
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
            self.read_small(values, name, shard, rows, sample)
        for name, dataset in self.chunked.items():
            for index, row in enumerate(rows):
                chunk = shard.chunk(name, index)
                if chunk is not None:
                    at = (row, sample) + (0,) * (dataset.ndim - 2)
                    dataset.id.write_direct_chunk(at, chunk)

    def read_small(self, values: np.ndarray, name: str, shard: Shard, rows: list[int], sample: int) -> None:
        """Put a shard's array into the whole one."""
        values[rows, sample] = shard.array(name)

    def close(self, report: MergeReport) -> np.ndarray:
        """Write the small arrays; return the statuses (row, sample).

        What nobody asked for (a unit of another style, say) is missing in the file, but it is no gap: it counts as ok.
        """
        for name, values in self.small.items():
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
