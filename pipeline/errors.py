"""The errors of the pipeline that a user can mend: one line each, saying where, what and what to do."""

from __future__ import annotations

from atlas_viewer.errors import AtlasError, FormatError, MissingError, nearest

__all__ = [
    "AtlasError",
    "DataError",
    "DefinitionError",
    "DownloadError",
    "FormatError",
    "MissingError",
    "OutputError",
    "SettingsError",
    "ShardError",
    "TrainingError",
    "UnitError",
    "WeightsError",
    "nearest",
]


class SettingsError(AtlasError, ValueError):
    """A setting out of range, unknown, or at odds with another."""


class UnitError(AtlasError, LookupError):
    """A layer or unit that the network does not have."""


class DefinitionError(AtlasError, ValueError):
    """A network definition that cannot be read, or that uses what is not supported."""


class WeightsError(AtlasError, ValueError):
    """Weights that are missing, damaged, or of another network."""


class DownloadError(AtlasError, OSError):
    """A published file that could not be fetched, or is not the one that was published."""


class DataError(AtlasError, ValueError):
    """A dataset that cannot be read, or is not the one that was expected."""


class OutputError(AtlasError, OSError):
    """An output folder that cannot be used, or that holds another atlas."""


class ShardError(AtlasError, ValueError):
    """A shard that is damaged or belongs to another task."""


class TrainingError(AtlasError, ArithmeticError):
    """A training that has gone astray; its last good checkpoint is there."""
