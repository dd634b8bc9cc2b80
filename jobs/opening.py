"""Open what a request names: the images of its dataset, and its priors with the runs that it requests."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig
from tqdm import tqdm

from jobs.console import compose_config, groups
from jobs.request import read_model, read_settings
from pipeline.card import NetworkCard
from pipeline.class_names import disagreement
from pipeline.dataset_settings import NETWORK, DatasetSettings
from pipeline.errors import DataError, SettingsError, WeightsError, nearest
from pipeline.methods.dgn.request import DgnRequest
from pipeline.methods.dgn.settings import RunRecord
from pipeline.plan import Plan
from pipeline.request import Config
from pipeline.settings import ModelSettings

if TYPE_CHECKING:
    from pipeline.data.source import ImageSource
    from pipeline.nets.network import Network


def open_images(settings: DatasetSettings | None, model: ModelSettings, card: NetworkCard) -> ImageSource | None:
    """Open and hash the images of a dataset; return None if there is none.

    model, card : of the network, which may name the classes.
    """
    from pipeline.data.network_classes import with_network_names
    from pipeline.data.open_source import open_source
    from pipeline.nets.download import cache_folder
    from pipeline.nets.open_network import label_file, read_class_names

    if settings is None:
        return None
    with tqdm(desc="hash images", unit="B", unit_scale=True, disable=not sys.stderr.isatty(), leave=False) as bar:

        def progress(done: int, whole: int) -> None:
            bar.total = whole
            bar.update(done - bar.n)

        source = open_source(settings, cache=cache_folder(), progress=progress, card=card)
    labels = label_file(model)
    if labels is not None:
        source = with_network_names(source, read_class_names(labels))
    return source


def network_settings(config: DictConfig, name: str) -> ModelSettings | None:
    """The network that a configuration names, else the option of conf/model with this name; None without one."""
    if config.get("model") is not None:
        return read_model(config.model)
    known = name in groups()["model"]
    return read_model(compose_config("layers", [f"model={name}"]).model) if known else None


def same_network(config: DictConfig, plan: Plan, out: Path) -> tuple[ModelSettings, Network]:
    """The network that a configuration names, else the one of the atlas's name.

    Raises WeightsError if there is none, or it is not that of the atlas in a folder.
    """
    from pipeline.nets.open_network import open_network

    cited = f"{plan.card.name}@{plan.card.digest[:12]}"
    settings = network_settings(config, plan.card.name)
    if settings is None:
        raise WeightsError(
            f"{out}/atlas.h5: is an atlas of {cited}, and conf/model has no {plan.card.name}; name the atlas's own "
            f"network by MODEL=…"
        )
    network = open_network(settings)
    if network.digest != plan.card.digest:
        raise WeightsError(
            f"{out}/atlas.h5: is an atlas of {cited}, but model={network.name} has digest {network.digest[:12]}; name "
            f"the atlas's own network by MODEL=…"
        )
    return settings, network


def same_images(
    section: DictConfig, model: ModelSettings, card: NetworkCard, *, name: str, kind: str, digest: str, images: int
) -> ImageSource | None:
    """The images of an atlas's dataset; None if a configuration names none and they are not drawings.

    section : of the configuration, which may name the dataset.
    name, kind, digest, images : of the atlas's dataset; `images` is their number.
    Raises DataError if other images are named.
    """
    named = section.kind != "none"
    if not named and kind == "doodles":  # drawn, and not read
        section = compose_config("atlas", ["dataset=doodles", f"dataset.count={max(1, images)}"]).dataset
    if section.kind == "none":
        return None
    source = open_images(read_settings(DatasetSettings, section, "dataset"), model, card)
    if source.digest == digest:
        return source
    if named:
        raise DataError(
            f"dataset {source.name}: its digest is {source.digest[:12]}, the atlas was made from {name} with "
            f"{digest[:12]}; give the same images in the same layout"
        )
    return None


def class_notes(source: ImageSource, settings: DatasetSettings, card: NetworkCard) -> list[str]:
    """Lines for the log: how the classes of a dataset were read, and why they are not taken for the network's."""
    names = source.index.class_names
    notes = [f"{source.name}: {note}" for note in source.index.notes]
    why = disagreement(names, card) if names and settings.classes != NETWORK else None
    if why is not None:
        notes.append(
            f"{source.name}: its classes are not taken for those of the network, so no unit has images of its own class"
            f" ({why}); dataset.classes=network says that they are"
        )
    return notes


@dataclass(frozen=True)
class OpenedPriors:
    """The open priors of a request, in the requested order, and the runs with them.

    start_codes : digest → code (entry,) of a start image.
    """

    opened: tuple = ()
    runs: tuple[RunRecord, ...] = ()
    start_codes: Mapping[str, object] = field(default_factory=dict)

    def by_digest(self) -> dict[str, object]:
        return {prior.digest: prior for prior in self.opened}


def open_priors(asked: DgnRequest | None, config: Config, network: object, card: NetworkCard) -> OpenedPriors:
    """Open the requested priors, and check them against the network.

    asked : None if no pictures through priors are requested.
    Raises an AtlasError for a prior that is missing or damaged, or whose images the network cannot read.
    """
    from pipeline.priors.card import prior_card
    from pipeline.priors.open import open_prior
    from pipeline.priors.prior import read_prior

    if asked is None:
        return OpenedPriors()
    if not asked.priors:
        if config.methods == ("dgn",) or asked.combinations:
            what = "combinations" if asked.combinations else "methods: dgn alone"
            raise SettingsError(f"{what}: needs a prior, and {card.name} has none of its own; name one by priors=[…]")
        return OpenedPriors()
    opened = tuple(read_prior(each) if isinstance(each, Path) else open_prior(each) for each in asked.priors)
    names = [prior.name for prior in opened]
    if len(set(names)) < len(names):
        raise SettingsError(f"priors: got {', '.join(names)}, expected each name once; set prior.NAME.name=…")
    for name in asked.variants_of or ():
        if name not in names:
            raise SettingsError(
                f"dgn.variants_of: got {name!r}, not a prior of this request ({', '.join(names)}){nearest(name, names)}"
            )
    runs, codes = [], {}
    for prior in opened:
        described = prior_card(prior)
        described.check_fits(card)
        for variant, settings in asked.settings_of(prior.name).items():
            name = f"{prior.name}-{variant}" if variant else prior.name
            digest = None
            if settings.image is not None:
                code = _image_code(prior, network, Path(settings.image).expanduser())
                digest = hashlib.sha256(code.tobytes()).hexdigest()
                codes[digest] = code
            runs.append(
                RunRecord(name, described, settings, digest, config.seed, config.device, precision=config.precision)
            )
    return OpenedPriors(opened, tuple(runs), codes)


def _image_code(prior: object, network: object, path: Path) -> object:
    """The code of an image file, by the network that the prior inverts: the atlas's own, or an option of conf/model."""
    from pipeline.nets.open_network import open_network
    from pipeline.priors.encoding import file_code

    inverts_own = network.digest == prior.network_digest or (not prior.network_digest and network.name == prior.network)
    if inverts_own:
        return file_code(prior, network, path)
    options: Sequence[str] = groups()["model"]
    if prior.network not in options:
        raise SettingsError(
            f"dgn.image: prior {prior.name} inverts {prior.network}, which is not an option of conf/model"
            f"{nearest(prior.network, options)}; choose another start by dgn.start=noise"
        )
    encoder = open_network(read_model(compose_config("layers", [f"model={prior.network}"]).model))
    if prior.network_digest and encoder.digest != prior.network_digest:
        raise SettingsError(
            f"dgn.image: prior {prior.name} inverts {prior.network}@{prior.network_digest[:12]}, but the option "
            f"{prior.network} is now @{encoder.digest[:12]}; choose another start by dgn.start=noise"
        )
    return file_code(prior, encoder, path)
