"""Open a prior from its settings: a folder that the project wrote, or a published generator in Caffe's format."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import fx

from pipeline.errors import DefinitionError, SettingsError, WeightsError, nearest
from pipeline.nets.caffe import caffe_function
from pipeline.nets.download import Digests, fetch_published
from pipeline.nets.open_network import PACKAGE, Fetcher, NeededFile, fetch_all, needed_file
from pipeline.nets.preprocessing import ORDERS
from pipeline.priors.prior import Prior, read_prior
from pipeline.settings import PriorSettings

SHIPPED = Path(__file__).parent.parent / "weights" / "priors"


def open_prior(settings: PriorSettings, *, fetcher: Fetcher = fetch_published) -> Prior:
    """Return the prior that the settings describe; missing published files are downloaded first.

    fetcher : downloads a published file.
    Raises an AtlasError that names the setting if a file is missing, is damaged, or does not fit the others.
    """
    if settings.folder is not None:
        return replace(read_prior(prior_folder(settings.folder, settings.name)), name=settings.name)
    return _caffe_prior(settings, fetch_all(locate_prior(settings), f"prior.{settings.name}", fetcher))


def prior_folder(folder: str, name: str) -> Path:
    """Return the folder that a setting names.

    folder : a path, or package:NAME for a prior that the project ships.
    name : of the prior, for the error.
    Raises WeightsError, with the nearest name, if it does not exist.
    """
    shipped = folder.startswith(PACKAGE)
    path = SHIPPED / folder.removeprefix(PACKAGE) if shipped else Path(folder).expanduser()
    if not path.is_dir():
        names = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        raise WeightsError(
            f"prior.{name}.folder {folder}: no such folder{nearest(path.name, names)}; give its path by "
            f"prior.{name}.folder=PATH"
        )
    return path


def locate_prior(settings: PriorSettings) -> tuple[NeededFile, ...]:
    """Return the files of a generator in Caffe's format, whether they exist or not; nothing is downloaded."""
    weights = Digests(sha1=settings.weights_sha1, sha256=settings.weights_sha256)
    files = [
        needed_file("definition", settings.definition, None, Digests()),
        needed_file("weights", settings.weights, settings.weights_url, weights),
    ]
    for role in ("range_3x", "range_1x"):
        source, digest = getattr(settings, role), getattr(settings, f"{role}_sha256")
        remote = source is not None and source.startswith(("http://", "https://"))
        given, url = (None, source) if remote else (source, None)
        files.append(needed_file(role, given, url, Digests(sha256=digest)))
    return tuple(file for file in files if file is not None)


def _caffe_prior(settings: PriorSettings, files: dict[str, Path]) -> Prior:
    generator, code_shape, _ = caffe_function(files["definition"], files["weights"])
    with torch.no_grad():
        shape = tuple(generator(torch.zeros(1, *code_shape)).shape[1:])
    channels = len(ORDERS[settings.order])  # type: ignore[index]
    if len(shape) != 3 or shape[0] != channels or len(settings.mean) != channels:  # type: ignore[arg-type]
        raise DefinitionError(
            f"prior {settings.name}: the generator gives {shape}, expected ({channels}, rows, columns) and a mean of "
            f"{channels} numbers; set prior.{settings.name}.order and .mean, or mend {files['definition']}"
        )
    mean, deviation = _statistics(settings, files, int(np.prod(code_shape)))
    levels, gain = np.array(settings.mean, np.float64), np.ones(channels)
    head = [settings.order, levels.tolist(), list(code_shape), str(generator.graph)]
    return Prior(
        name=settings.name,
        digest=_digest(head, generator, (mean, deviation)),
        network=settings.network,
        network_digest="",
        code_layer=settings.code_layer,
        rectified=True,
        code_shape=tuple(code_shape),
        height=shape[1],
        width=shape[2],
        order=settings.order,
        mean=levels,
        gain=gain,
        generator=generator,
        code_mean=mean,
        code_deviation=deviation,
        trained_on={"source": settings.trained_on},
        licence=settings.licence,
        card="",
    )


def _statistics(settings: PriorSettings, files: dict[str, Path], entries: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every entry, float32 (entry,), from the files with mean + k deviations."""
    three = _read_range(f"prior.{settings.name}.range_3x", files["range_3x"], entries)
    if "range_1x" not in files:
        return np.zeros(entries, np.float32), (three / 3).astype(np.float32)
    one = _read_range(f"prior.{settings.name}.range_1x", files["range_1x"], entries)
    deviation = np.maximum(three - one, 0) / 2
    return (three - 3 * deviation).astype(np.float32), deviation.astype(np.float32)


def _read_range(setting: str, path: Path, entries: int) -> np.ndarray:
    """The numbers in a file with a range of codes, float64 (entry,).

    Source: Nguyen et al. 2016, the authors' act_range files: a line of integers, mean + k deviations of each entry.
    """
    try:
        values = np.array(path.read_text(encoding="ascii").split(), np.float64)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{setting} {path}: cannot be read ({error}); give a line of numbers") from None
    if values.size != entries or not np.isfinite(values).all():
        raise SettingsError(
            f"{setting} {path}: has {values.size} numbers, the code has {entries} entries; give the file of this code "
            f"layer by {setting}=PATH"
        )
    return values


def _digest(head: list, generator: fx.GraphModule, statistics: tuple[np.ndarray, np.ndarray]) -> str:
    """SHA-256 of a generator's operators and weights, of the form of its images, and of the statistics of codes."""
    total = hashlib.sha256(json.dumps(head).encode())
    for name, operator in generator.named_children():
        total.update(json.dumps([name, type(operator).__name__, operator.settings()], sort_keys=True).encode())
        for key, array in sorted(operator.state_dict().items()):
            total.update(f"{key} {array.dtype} {tuple(array.shape)}".encode())
            total.update(array.detach().contiguous().numpy().tobytes())
    for values in statistics:
        total.update(values.tobytes())
    return total.hexdigest()
