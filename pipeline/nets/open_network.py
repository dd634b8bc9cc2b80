"""From the settings of a model to its network: find its files, fetch and read them, or ask its publisher's package."""

from __future__ import annotations

import importlib
import os
import re
import sys
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pipeline.class_names import ClassNames
from pipeline.errors import AtlasError, DefinitionError, SettingsError, UnitError, WeightsError, nearest
from pipeline.label_files import parse_classes
from pipeline.nets.caffe import caffe_network, fit_mean, read_mean
from pipeline.nets.download import Digests, cache_folder, cached_path, fetch_published
from pipeline.nets.file_kind import refuse_page
from pipeline.nets.network import Network
from pipeline.nets.preprocessing import ORDERS, Preprocessing
from pipeline.nets.publishers import Published, open_published
from pipeline.nets.publishers.published import SEED
from pipeline.nets.torch_modules import load_state, read_state, torch_network
from pipeline.settings import FORMS, INTERPOLATIONS, ModelSettings

Fetcher = Callable[[str, Digests, str | None, str], Path]  # address, digests, member of an archive, name of setting

PACKAGE = "package:"
_DEFINITIONS = Path(__file__).parent / "definitions"
_WEIGHTS = Path(__file__).parent.parent / "weights"
_MODULE = re.compile(r"^(?:.*\.py|[A-Za-z_][\w.]*):[A-Za-z_][\w.]*$")


@dataclass(frozen=True)
class NeededFile:
    """A file that a model is read from.

    role : the setting that names the file.
    path : where the file is, or will be once it is fetched.
    url : address to fetch it from; None for a local file.
    digests : of the file at the address.
    member : the file's name inside the archive at the address; None if that is not an archive.
    """

    role: str
    path: Path
    url: str | None
    digests: Digests
    member: str | None

    @property
    def present(self) -> bool:
        return self.path.is_file()


def open_network(settings: ModelSettings, *, where: str = "model", fetcher: Fetcher = fetch_published) -> Network:
    """The network that the settings describe; published files that are missing are fetched first.

    settings : of the model.
    where : group that the settings belong to, such as "judge", for the errors about files.
    fetcher : downloads a published file and returns its path.
    Raises an AtlasError that names the setting if a file is missing, damaged, or of another network.
    """
    files = fetch_files(settings, where=where, fetcher=fetcher)
    labels = read_labels(settings.labels, files.get("labels"))
    order = settings.order
    if order is not None and order not in ORDERS:
        raise SettingsError(
            f"model.order: got {order!r}, expected one of {', '.join(ORDERS)}{nearest(order.upper(), ORDERS)}"
        )
    mean = read_mean(files["mean"]) if "mean" in files else settings.mean
    if settings.published:
        published = open_published(settings, files.get("weights"))
        network = _from_published(settings, published, mean, labels)
    elif settings.form == "torch":
        network = _open_torch(settings, files.get("weights"), mean, labels)
    else:
        if "weights" not in files:
            raise WeightsError(f"model.weights: missing for model {settings.name}; give it by model.weights=PATH")
        network = caffe_network(
            settings.name,
            files["definition"],
            files["weights"],
            order=order,  # type: ignore[arg-type]  # checked by ModelSettings
            mean=mean,  # type: ignore[arg-type]
            gain=settings.gain,
            labels=labels,
            class_layer=settings.class_layer,
            size=settings.size,
        )
    _check_labels(network)
    return network.placed(_positions(settings.position)) if settings.position else network


def _positions(given: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Pattern → (row, column) of the settings "LAYER:ROW,COLUMN"."""
    positions = {}
    for text in given:
        layer, _, place = text.rpartition(":")
        row, _, column = place.partition(",")
        if not layer or not row.strip().isdecimal() or not column.strip().isdecimal():
            raise SettingsError(f"model.position: got {text!r}, expected LAYER:ROW,COLUMN, such as conv5:0,12")
        positions[layer] = (int(row), int(column))
    return positions


def fetch_files(
    settings: ModelSettings, *, where: str = "model", fetcher: Fetcher = fetch_published
) -> dict[str, Path]:
    """Role → path of every file that the model is read from; fetches files that are missing."""
    return fetch_all(locate(settings), where, fetcher)


def fetch_all(files: Sequence[NeededFile], where: str, fetcher: Fetcher) -> dict[str, Path]:
    """Role → path of each file; fetches files that are missing.

    where : group of the settings that the roles belong to, such as "model".
    """
    paths = {}
    for file in files:
        if file.url is not None:
            paths[file.role] = fetcher(file.url, file.digests, file.member, f"{where}.{file.role}")
        elif file.present:
            paths[file.role] = file.path
        else:
            raise _missing(file, where)
    return paths


def locate(settings: ModelSettings) -> tuple[NeededFile, ...]:
    """The files that the model is read from, present or not; downloads nothing."""
    weights = Digests(settings.weights_sha1, settings.weights_git_blob, settings.weights_sha256)
    return tuple(
        file
        for file in (
            needed_file("definition", settings.definition if settings.form == "caffe" else None, None, Digests()),
            needed_file("weights", settings.weights, settings.weights_url, weights),
            needed_file(
                "mean",
                settings.mean if isinstance(settings.mean, str) else None,
                settings.mean_url if settings.mean is None else None,
                Digests(sha1=settings.mean_sha1),
            ),
            needed_file(
                "labels",
                None if _is_module(settings.labels) else settings.labels,
                settings.labels_url if settings.labels is None else None,
                Digests(),  # it lies in the archive of the weights, which is checked with them
            ),
        )
        if file is not None
    )


def read_labels(source: str | None, path: Path | None) -> tuple[str, ...]:
    """The labels of the classes, in their order; empty without a source.

    The line "n01440764 tench, Tinca tinca" becomes "tench, Tinca tinca", and "/a/abbey 0" becomes "abbey".

    source : "module:NAME", a file, or None.
    path : of the file, in any form that `parse_classes` reads; None for "module:NAME".
    """
    if path is None:
        return tuple(str(label) for label in _imported("model.labels", source)) if source is not None else ()
    return read_class_names(path).names


def label_file(settings: ModelSettings) -> Path | None:
    """The file of the network's labels; None if they come from elsewhere, or if it has none."""
    return next((file.path for file in locate(settings) if file.role == "labels" and file.path.is_file()), None)


def read_class_names(path: Path) -> ClassNames:
    """The classes that a file of labels names, with their ids. Raises SettingsError for a file that names none."""
    refuse_page(path, f"model.labels {path}", SettingsError)
    try:
        return parse_classes(path.read_bytes(), path.suffix)
    except (OSError, ValueError) as error:
        reason = f"cannot be read ({error.strerror})" if isinstance(error, OSError) else error
        raise SettingsError(f"model.labels {path}: {reason}; give a text file, one label a line") from None


def needed_file(role: str, given: str | None, url: str | None, digests: Digests) -> NeededFile | None:
    """The file that a setting names, or None if it names none.

    role : the setting.
    given : path, "package:NAME" for a file that comes with the project, or None.
    url : address to fetch the file from where none is given; "address#member" for a file in an archive.
    digests : of the file at the address.
    """
    if given is not None:
        return NeededFile(role, _path(role, given), None, Digests(), None)
    if url is None:
        return None
    address, member = urllib.parse.urldefrag(url)  # archive.tar.gz#member
    inner = member if member else None
    return NeededFile(role, cached_path(address, cache_folder(), inner), address, digests, inner)


def _path(role: str, given: str) -> Path:
    if not given.startswith(PACKAGE):
        return Path(given).expanduser()
    return (_DEFINITIONS if role == "definition" else _WEIGHTS) / given.removeprefix(PACKAGE)


def _missing(file: NeededFile, where: str) -> AtlasError:
    folder = file.path.parent
    neighbours = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    kind = WeightsError if file.role in ("weights", "mean") else DefinitionError
    kind = SettingsError if file.role == "labels" else kind
    return kind(
        f"{where}.{file.role} {file.path}: no such file{nearest(file.path.name, neighbours)}; "
        f"give its path by {where}.{file.role}=PATH"
    )


# Torch modules ---------------------------------------------------------------------------------------


def _open_torch(settings: ModelSettings, weights: Path | None, mean: object, labels: tuple[str, ...]) -> Network:
    """The network of settings.build(**build_arguments), with the weights loaded if a file is given.

    What it draws at random is the same each time, so that a network without trained weights has one digest.
    """
    build, arguments = _imported("model.build", settings.build), dict(settings.build_arguments)
    call = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            module = build(**arguments)
    except AtlasError:
        raise
    except Exception as error:  # the user's own code
        raise DefinitionError(
            f"model.build: {settings.build}({call}) failed: {type(error).__name__}: {error}; "
            "set its arguments by model.build_arguments.NAME=…"
        ) from None
    if not isinstance(module, nn.Module):
        raise DefinitionError(
            f"model.build: {settings.build}({call}) returned {type(module).__name__}, expected a torch.nn.Module"
        )
    if weights is not None:
        load_state(module, read_state(weights), weights, settings.weights_key)
    channels = len(ORDERS[settings.order])  # type: ignore[index]  # checked by ModelSettings, as the size is
    mean = np.zeros(channels) if mean is None else mean
    gain = np.ones(channels) if settings.gain is None else settings.gain
    preprocessing = _preprocessing(settings.size, settings.order, mean, gain, settings.interpolation)
    return torch_network(settings.name, module, preprocessing, labels, settings.class_layer, settings.output)


def _from_published(settings: ModelSettings, published: Published, mean: object, labels: tuple[str, ...]) -> Network:
    """The network of a publisher's module, read as its card states unless the settings state it otherwise."""
    setting = FORMS[settings.form]
    size = settings.size if settings.size is not None else published.size
    order = settings.order if settings.order is not None else published.order
    mean = mean if mean is not None else published.mean
    gain = settings.gain if settings.gain is not None else published.gain
    facts = {"size": (size, "[224,224]"), "order": (order, "RGB"), "mean": (mean, "[…]"), "gain": (gain, "[…]")}
    unknown = [name for name, (value, _) in facts.items() if value is None]
    if unknown:
        ways = " ".join(f"model.{name}={facts[name][1]}" for name in unknown)
        raise SettingsError(
            f"model.{setting}={getattr(settings, setting)}: its card does not state {', '.join(unknown)}; give {ways}"
        )
    interpolation = settings.interpolation if settings.interpolation is not None else published.interpolation
    preprocessing = _preprocessing(size, order, mean, gain, interpolation)
    output = settings.output if settings.output is not None else published.output

    def translated(class_layer: str | None) -> Network:
        names = labels if labels else published.labels
        return torch_network(settings.name, published.module, preprocessing, names, class_layer, output)

    if settings.class_layer is not None or published.class_layer is None:
        network = translated(settings.class_layer)
    else:
        try:
            network = translated(published.class_layer)
        except UnitError:  # the card is of another form of the network, such as one without its head
            network = translated(None)
    known = network.class_layer is not None and len(network.labels) == network.layer(network.class_layer).channels
    if not labels and not known:  # the card's names are of other units
        network.labels = ()
    return network


def _preprocessing(
    size: tuple[int, int] | None, order: str | None, mean: object, gain: object, interpolation: str | None
) -> Preprocessing:
    height, width = size  # type: ignore[misc]
    channels = len(ORDERS[order])  # type: ignore[index]
    for name, values in (("mean", mean), ("gain", gain)):
        if len(values) not in (1, channels):  # type: ignore[arg-type]
            raise SettingsError(
                f"model.{name}: got {len(values)} numbers, expected {channels} for model.order={order}; "  # type: ignore
                f"give model.{name}=[…]"
            )
    by = interpolation if interpolation in INTERPOLATIONS else "bilinear"
    centre = fit_mean(np.asarray(mean, np.float64), height, width)
    return Preprocessing(height, width, order, centre, np.asarray(gain, np.float64), by)  # type: ignore[arg-type]


def _is_module(source: str | None) -> bool:
    return source is not None and not source.startswith(PACKAGE) and _MODULE.match(source) is not None


def _imported(setting: str, source: str | None) -> object:
    """The object that "module:NAME" or "PATH.py:NAME" names; a module may be in the current directory."""
    if not _is_module(source):
        raise SettingsError(
            f"{setting}: got {source!r}, expected module:NAME, such as torchvision.models:resnet18, or PATH.py:NAME"
        )
    name, _, attribute = source.rpartition(":")  # type: ignore[union-attr]
    folder = Path.cwd()
    if name.endswith(".py"):
        path = Path(name).expanduser().resolve()
        if not path.is_file():
            raise SettingsError(f"{setting}: {path}: no such file; give the path of your Python file")
        name, folder = path.stem, path.parent
        # Other processes look for it there too.
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
        sys.path.insert(0, str(folder))
    name = _installed_name(name)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    try:
        value: object = importlib.import_module(name)
    except Exception as error:  # the user's own code
        raise SettingsError(
            f"{setting}: cannot import {name} ({type(error).__name__}: {error}); install it, or give its file, as in "
            f"{setting}=/home/me/{name}.py:{attribute}"
        ) from None
    for part in attribute.split("."):
        if not hasattr(value, part):
            raise SettingsError(
                f"{setting}: module {name} has no {attribute}{nearest(part, _public(value))}; correct the name"
            )
        value = getattr(value, part)
    return value


def _installed_name(module: str) -> str:
    """The name under which a module of this project is installed: conf/ names it as in the checkout, pipeline.nets.…"""
    root = __name__.removesuffix("pipeline.nets.open_network")  # "" in the checkout
    file = Path(__file__).parents[2].joinpath(*module.split(".")).with_suffix(".py")
    return f"{root}{module}" if module.startswith("pipeline.") and file.is_file() else module


def _public(value: object) -> Iterator[str]:
    return (name for name in dir(value) if not name.startswith("_"))


def _check_labels(network: Network) -> None:
    """Raise SettingsError unless the network has one label for each unit of the class layer, or no labels."""
    if not network.labels or network.class_layer is None:
        return
    units = network.layer(network.class_layer).channels
    if len(network.labels) != units:
        raise SettingsError(
            f"model.labels: got {len(network.labels)}, expected {units}, one for each unit of {network.class_layer}; "
            "give the labels of this network, or null"
        )
