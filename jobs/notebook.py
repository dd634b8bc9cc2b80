"""In a notebook: `visualize` computes the pictures of a few units, `render` draws a picture again from its code.

Both compute what an atlas stores for the same settings, with the same code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from tqdm import tqdm

from atlas_viewer.atlas import CITED, Atlas
from atlas_viewer.layer import Layer, Unit
from atlas_viewer.visualization import UnitPictures, Visualization
from jobs.atlas import requested
from jobs.console import CONF, compose_config, groups
from jobs.folder import open_work
from jobs.opening import OpenedPriors, open_priors
from jobs.request import device_kind, read_config, read_device, read_model
from jobs.settings_reader import plain, read_settings
from pipeline.errors import MissingError, SettingsError, nearest
from pipeline.methods.ascent.settings import StyleSettings
from pipeline.methods.dgn.settings import RunSettings
from pipeline.methods.registry import METHODS, stages
from pipeline.plan import Plan
from pipeline.request import Request, names
from pipeline.settings import ModelSettings, PriorSettings, check, check_choice
from pipeline.units import select_units

if TYPE_CHECKING:
    from pipeline.nets.network import Network
    from pipeline.priors.prior import Prior

ITERATES = ("last", "best")
_STYLE = [field.name for field in fields(StyleSettings) if field.name != "name"]
_RUN = [field.name for field in fields(RunSettings)]


def visualize(
    model: Any,
    units: str | Sequence[str],
    *,
    styles: Sequence[str] | None = None,
    runs: Sequence[str | Path] | bool = (),
    samples: int | None = None,
    canvas: str | None = None,
    seed: int | None = None,
    device: str | None = None,
    overrides: Sequence[str] = (),
    progress: bool = False,
    name: str | None = None,
    size: int | tuple[int, int] | None = None,
    mean: Any = None,
    gain: Any = None,
    order: str | None = None,
    labels: Sequence[str] = (),
    class_layer: str | None = None,
    **numbers: Any,
) -> Visualization:
    """The pictures of some units with their facts, as an atlas with the same settings would store them.

    model : an option of conf/model, such as "doodlenet"; a torch module; or an open network, such as the `network` of
        a result.
    units : addresses "layer:unit", as in the setting `units` of an atlas: "fc8:house", "conv5:0-3", "layer4.1:12".
    styles : options of conf/style; None for those of conf/visualize.yaml, [] for none.
    runs : priors for DGN-AM, options of conf/prior or folders; True for the network's own.
    samples : pictures of each unit in each style and run, each from another start.
    canvas : "window" optimizes only the unit's receptive field, "image" the whole input.
    seed : of all random starts.
    device : "auto" (a GPU if there is one), "cpu" or "cuda".
    overrides : further settings of an atlas, as on the command line: ["model.weights=a.pt", "ascent.start=reference"].
    progress : show a progress bar.
    name, size, mean, gain, order, labels, class_layer : of a torch module, as the settings of conf/model/torch.yaml,
        whose defaults apply; size : (height, width) in pixels; labels : names of the classes.
    numbers : values of the styles and runs, by name: max_iter=200, decay=0.01, blur_radius=1.0, iterations=100; see
        docs/numbers.md. Without max_iter and iterations, the numbers of iterations are at most those of
        conf/visualize.yaml.
    Raises an AtlasError, with the nearest match, for a name that is unknown or a value out of range.
    """
    from pipeline.nets.network_card import network_card

    given = {"name": name, "size": size, "mean": mean, "gain": gain, "order": order, "class_layer": class_layer}
    given = {setting: value for setting, value in (*given.items(), ("labels", labels or None)) if value is not None}
    config = _composed(model, given, overrides)
    defaults = OmegaConf.load(CONF / "visualize.yaml")
    _set(config, {"samples": defaults.samples if samples is None else samples})
    _set(config, {"seed": seed, "device": device, "ascent.canvas": canvas})
    methods = _choose(config, names(plain(defaults.styles) if styles is None else styles), runs)
    _set_numbers(config, methods, numbers, defaults)
    shared = read_config(config, methods)
    asked = {method.name: method.read(shared) for method in METHODS}
    network = _opened(model, config, given)
    card = network_card(network)
    chosen = select_units(card, names(units))
    priors = open_priors(asked["dgn"] if runs else None, shared, network, card)
    if runs and not priors.opened:
        raise SettingsError(f"runs: {card.name} has no prior of its own; name an option of conf/prior, or a folder")
    plan = requested(Request(shared, card, chosen, asked, {"priors": priors, "source": None}))
    cited = f"{card.name}@{card.digest[:CITED]}"
    return Visualization(cited, _computed(plan, network, priors, progress), network)


def render(
    atlas: Atlas | Path | str,
    unit: Unit | str,
    *,
    run: str | None = None,
    sample: int = 0,
    iterate: str = "last",
    prior: Prior | Path | str | None = None,
    device: str = "cpu",
) -> Any:
    """A picture of DGN-AM, drawn again from its stored code: uint8 (y, x, rgb).

    A code alone is drawn as in its micro-batch but for the last bits, so that few values differ, by one level.

    atlas : open, or its path.
    unit : its address, or a unit of the open atlas.
    run : name of the run; None for the leading one.
    sample : number of the picture.
    iterate : "last" or "best".
    prior : the run's prior, open, as an option of conf/prior or as a folder; None for the option of its name.
    device : "cpu", "cuda" or "auto".
    Raises MissingError where there is no such picture, or the prior is not at hand; SettingsError for another prior
    than the one that the picture was made with.
    """
    if not isinstance(atlas, Atlas):
        with Atlas(atlas) as opened:
            address = unit.address if isinstance(unit, Unit) else unit
            return render(opened, address, run=run, sample=sample, iterate=iterate, prior=prior, device=device)
    from pipeline.methods.dgn.rendering import render_codes
    from pipeline.nets.preprocessing import Preprocessing
    from pipeline.nets.window import Window
    from pipeline.resources import placed_prior, prepare

    found = atlas.unit(unit) if isinstance(unit, str) else unit
    check_choice("iterate", iterate, ITERATES)
    climb = found.layer.run(_leading(found.layer) if run is None else run)
    there = climb.there[found.row].nonzero()[0].tolist()
    if sample not in there:
        samples = ", ".join(map(str, there)) if there else "none"
        raise MissingError(f"{found.address}, run {climb.name}: no picture of sample {sample}; it has {samples}")
    config = compose_config("atlas", [])
    opened = _prior(climb.prior, climb.prior_digest, prior, config)
    stored = atlas.file["preprocessing"]
    preprocessing = Preprocessing(
        *atlas.input_size, str(stored.attrs["channels"]), stored["mean"][...], stored["gain"][...]
    )
    codes = climb.code if iterate == "last" else climb.best_code
    with _torch_settings_kept():
        where = prepare(read_device(config, device_kind(device, "serial")))
        window, code = Window(*found.layer.window), codes[found.row, sample : sample + 1]
        return render_codes(placed_prior(opened, where), preprocessing, window, code, where)[0]


# The settings of a request ---------------------------------------------------------------------------


def _composed(model: object, given: Mapping[str, object], overrides: Sequence[str]) -> DictConfig:
    """The configuration of an atlas of the network, with the network's own recipe."""
    from pipeline.nets.network import Network

    if given and isinstance(model, str | Network):
        what = "the option states it; use overrides=['model.…']" if isinstance(model, str) else "the network is open"
        raise SettingsError(f"{next(iter(given))}: got {next(iter(given.values()))!r}, only for a torch module; {what}")
    option = model if isinstance(model, str) else "torch"
    if isinstance(model, Network) and model.name in groups()["model"]:
        option = model.name
    return compose_config("atlas", [f"model={option}", *names(list(overrides))])


def _set(config: DictConfig, values: Mapping[str, object]) -> None:
    """Set those values of a configuration that are given. Raises SettingsError for what is no plain value."""
    for key, value in values.items():
        if value is not None:
            try:
                OmegaConf.update(config, key, value)
            except OmegaConfBaseException:
                raise SettingsError(f"{key}: got {value!r}, expected a number, text, or a list of these") from None


def _choose(config: DictConfig, styles: tuple[str, ...], runs: Sequence[str | Path] | bool) -> tuple[str, ...]:
    """Set the styles and the priors; return the names of the methods that compute them."""
    for name in styles:
        check_choice("styles", name, tuple(config.style))
    if styles:
        config.styles = list(styles)
    config.priors = None if runs is True else list(names(runs if runs else ()))
    config.dgn.samples = config.dgn.class_samples = config.dgn.units = None
    config.style_units = {}
    methods = (*(("ascent",) if styles else ()), *(("dgn",) if runs else ()))
    if not methods:
        raise SettingsError("styles: got none, and no runs; name a style of conf/style, or a prior by runs=[…]")
    return methods


def _set_numbers(
    config: DictConfig, methods: tuple[str, ...], numbers: Mapping[str, object], defaults: DictConfig
) -> None:
    """Set the numbers of all styles and runs, and shorten those whose iterations are not among the numbers."""
    styles = config.styles if "ascent" in methods else ()
    sections = [(f"style.{name}", _STYLE, "max_iter") for name in styles]
    sections += [("dgn", _RUN, "iterations")] if "dgn" in methods else []
    known = sorted({name for _, listed, _ in sections for name in listed})
    for name in numbers:
        if name not in known:
            raise SettingsError(f"{name}: not a number of what is computed{nearest(name, known)}; {', '.join(known)}")
    for section, listed, length in sections:
        _set(config, {f"{section}.{name}": value for name, value in numbers.items() if name in listed})
        if length not in numbers:
            _set(
                config, {f"{section}.{length}": min(OmegaConf.select(config, f"{section}.{length}"), defaults[length])}
            )


# Network, pictures and prior -------------------------------------------------------------------------


def _opened(model: object, config: DictConfig, given: Mapping[str, Any]) -> Network:
    """The network of an option, of a torch module, or the open one that is given."""
    from torch import nn

    from pipeline.nets.network import Network
    from pipeline.nets.open_network import open_network

    if isinstance(model, str):
        return open_network(read_model(config.model))
    if isinstance(model, nn.Module):
        return _captured(model, config, given)
    if isinstance(model, Network):
        return model
    raise SettingsError(
        f"model: got {type(model).__name__}, expected a torch module, an open network, or an option of conf/model: "
        f"{', '.join(groups()['model'])}"
    )


def _captured(module: Any, config: DictConfig, given: Mapping[str, Any]) -> Network:
    """The network of a torch module, which stays as it is. given : settings in place of those of the configuration."""
    from pipeline.nets.preprocessing import Preprocessing
    from pipeline.nets.torch_modules import torch_network

    kind = type(module)
    plain_values = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in given.items()}
    labels = names(list(plain_values.pop("labels", ())))
    if isinstance(plain_values.get("size"), int):
        plain_values["size"] = [plain_values["size"]] * 2
    named = {"name": kind.__name__, "build": f"{kind.__module__}:{kind.__qualname__}"}
    settings = read_settings(ModelSettings, {**plain(config.model), **named, **plain_values}, "model")
    if isinstance(settings.mean, str):
        raise SettingsError(f"model.mean: got {settings.mean!r}, expected one number a channel; give the numbers")
    check("model.size", settings.size, "a height and a width of 1 or more", min(settings.size) >= 1)
    filter_name = settings.interpolation or "bilinear"
    preprocessing = Preprocessing(*settings.size, settings.order, settings.mean, settings.gain, filter_name)
    classes, output = settings.class_layer, settings.output
    network = torch_network(settings.name, module, preprocessing, labels, classes, output)
    if labels and network.class_layer is not None:
        classes = network.layer(network.class_layer).channels
        check("labels", len(labels), f"{classes}, one for each unit of {network.class_layer}", len(labels) == classes)
    return network


def _computed(plan: Plan, network: Network, priors: OpenedPriors, progress: bool) -> tuple[UnitPictures, ...]:
    """Compute a plan as the job atlas does, in a temporary folder, and read the pictures from the atlas."""
    from pipeline.compute import compute
    from pipeline.resources import Resources
    from pipeline.store.merge import merge

    resources = Resources(network, None, priors.by_digest(), priors.start_codes)
    pictures = sum(len(units) for units in plan.parts.values())
    with TemporaryDirectory() as folder, _torch_settings_kept():
        work = open_work(plan, Path(folder), resources)
        with tqdm(total=pictures, unit="picture", disable=not progress) as bar:
            for tasks in stages(work):
                for task in tasks:
                    work.shards.write(task.id, compute(task, resources))
                    bar.update(task.count if task.noun == "pictures" else 0)
        merge(work, Path(folder) / "atlas.h5", "", lambda tasks: None)
        with Atlas(Path(folder) / "atlas.h5") as atlas:
            return tuple(_pictures(atlas, plan))


def _pictures(atlas: Atlas, plan: Plan) -> Iterator[UnitPictures]:
    """Yield the pictures unit by unit: the styles in their order, then the runs."""
    for layer in atlas:
        for unit in layer:
            for style in plan.order.get("ascent", ()):
                yield UnitPictures.of(unit, layer.pictures(style))
            for run in plan.order.get("dgn", ()):
                yield UnitPictures.of(unit, layer.run(run))


def _leading(layer: Layer) -> str:
    """The run of a layer that was asked for first."""
    if not layer.runs:
        raise MissingError(f"layer {layer.name}: no pictures through a prior; pictures of styles have no code to draw")
    places = {name: layer.run(name).place for name in layer.runs}
    return min(places, key=lambda name: (places[name] is None, places[name]))


def _prior(name: str, digest: str, given: object, config: DictConfig) -> Prior:
    """The prior of a run: the one given, or the option of its name.

    name, digest : of the run's prior.
    given : an open prior, an option or a folder; None for the option of that name.
    """
    from pipeline.priors.open import open_prior
    from pipeline.priors.prior import Prior, read_prior

    wanted = name if given is None else given
    if isinstance(wanted, Prior):
        prior = wanted
    elif str(wanted) in config.prior:
        prior = open_prior(read_settings(PriorSettings, config.prior[str(wanted)], f"prior.{wanted}"))
    elif isinstance(wanted, Path) or "/" in str(wanted) or Path(str(wanted)).is_dir():
        prior = read_prior(Path(str(wanted)).expanduser())
    else:
        close = nearest(str(wanted), config.prior)
        raise MissingError(f"prior {wanted}: not an option of conf/prior{close}; give its folder by prior=PATH")
    if prior.digest != digest:
        raise SettingsError(
            f"prior {prior.name}@{prior.digest[:CITED]}: the picture was made with {name}@{digest[:CITED]}; give the "
            "folder of that one by prior=PATH"
        )
    return prior


@contextmanager
def _torch_settings_kept() -> Iterator[None]:
    """Give back the settings of torch that computing changes for the whole process."""
    import torch

    threads, cudnn, matmul = torch.get_num_threads(), torch.backends.cudnn, torch.backends.cuda.matmul
    kept = cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32 = kept
