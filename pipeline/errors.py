"""The pipeline's errors that a user can fix. Each message is one line: where, what, and what to do."""

from __future__ import annotations

from atlas_viewer.errors import AtlasError, FormatError, MissingError, disk_fault, nearest, of_hdf5, one_line

__all__ = [
    "AtlasError",
    "DataError",
    "DefinitionError",
    "DownloadError",
    "EnvironmentFault",
    "FormatError",
    "MissingError",
    "OutputError",
    "RefusedDataset",
    "SettingsError",
    "ShardError",
    "TrainingError",
    "UnitError",
    "WeightsError",
    "disk_fault",
    "nearest",
    "of_hdf5",
    "one_line",
]


class SettingsError(AtlasError, ValueError):
    """A setting that is unknown, out of range, or in conflict with another."""


class UnitError(AtlasError, LookupError):
    """A layer or unit that the network does not have."""


class DefinitionError(AtlasError, ValueError):
    """A network definition that cannot be read, or that uses an unsupported feature."""


class WeightsError(AtlasError, ValueError):
    """Weights that are missing, damaged, or belong to another network."""


class DownloadError(AtlasError, OSError):
    """A published file that cannot be fetched, or that differs from the published one."""


class DataError(AtlasError, ValueError):
    """A dataset that cannot be read, or that is not the expected one."""


class RefusedDataset(DataError):
    """A dataset of which too many images cannot be used; nothing of it enters an atlas."""


class EnvironmentFault(AtlasError, OSError):
    """A fault of the machine and not of the task: files that cannot be read there, no device, no memory, a lost worker.

    It is never stored as a result. The task is tried on another machine, and by the next run.
    """


class OutputError(AtlasError, OSError):
    """An output folder that cannot be used, or that holds another atlas."""


class ShardError(AtlasError, ValueError):
    """A shard that is damaged or belongs to another task."""


class MissingBlockError(AtlasError, LookupError):
    """A block of a dataset that no shard has; another run computes it."""


class TrainingError(AtlasError, ArithmeticError):
    """A training run that diverged or lost a process; the last good checkpoint remains."""
