"""Read the requests of jobs from a composed configuration, as frozen settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from jobs.settings_reader import check_sample_count, plain, read_settings, typed
from pipeline.errors import SettingsError
from pipeline.methods.registry import METHODS
from pipeline.request import Config, some_names
from pipeline.settings import PRECISIONS, ClusterSettings, DeviceSettings, ModelSettings, check, check_choice

LARGEST_SEED = 2**31 - 1  # the legacy generator takes 32 bits, and sample i adds i to the seed


@dataclass(frozen=True)
class AtlasRequest:
    """The request of `make atlas`, checked before anything is opened.

    judge : a network that classifies the class pictures, or None.
    units : addresses, or None for the units of all layers that an atlas shows.
    asked : method → what its `read` returned.
    """

    model: ModelSettings
    judge: ModelSettings | None
    units: tuple[str, ...] | None
    config: Config
    asked: Mapping[str, Any]
    cluster: ClusterSettings
    out: Path
    plan_only: bool
    pages: bool
    retry_failed: bool
    check_disk: bool

    def section(self, method: str) -> Any:
        """What a method's `read` returned; None if the method is not requested."""
        return self.asked[method] if method in self.config.methods else None


def read_request(config: DictConfig) -> AtlasRequest:
    """The request of a composed atlas configuration. Raises SettingsError for invalid values."""
    shared = read_config(config)
    return AtlasRequest(
        model=read_model(config.model),
        judge=read_model(config.judge, "judge") if "judge" in config else None,
        units=read_units(config),
        config=shared,
        asked={method.name: method.read(shared) for method in METHODS},
        cluster=read_cluster(config),
        out=read_out(config),
        plan_only=read_flag(config, "plan"),
        pages=read_flag(config, "pages"),
        retry_failed=read_flag(config, "retry_failed"),
        check_disk=read_flag(config, "check_disk"),
    )


def read_config(config: DictConfig, methods: tuple[str, ...] | None = None) -> Config:
    """A composed configuration as plain values, and the settings that every method needs.

    methods : the requested methods; None for those of the configuration.
    Raises SettingsError for values out of range.
    """
    device = read_device(config, device_kind(config.device, config.cluster.kind))
    values = plain(config)
    if methods is None:
        methods = some_names(values, "methods", "ascent")
        for method in methods:
            check_choice("methods", method, tuple(one.name for one in METHODS if one.requested))
    samples, seed = read_starts(config)
    return Config(values, device, methods, samples, seed, read_precision(config, device.kind))


def device_kind(wanted: str, cluster: str) -> str:
    """The kind of device to compute on: the requested one, or with "auto" a GPU if this machine has one."""
    check_choice("device", wanted, ("auto", "cpu", "cuda"))
    if wanted == "cpu":
        return wanted
    from pipeline.resources import has_gpu

    available = has_gpu()
    if wanted == "cuda" and not available and cluster != "ray":
        raise SettingsError("device: got cuda, but torch finds no GPU on this machine; use device=cpu or cluster=ray")
    return "cuda" if available or wanted == "cuda" else "cpu"


def read_precision(config: DictConfig, kind: str) -> str:
    """The precision of climbs, "float32" or "bf16".

    With "auto" it is bf16 if this machine's device states that it is fast at it; nothing is measured. Raises
    SettingsError for bf16 on a device without it, unless other machines compute.
    """
    wanted = typed(config.precision, str, "precision")
    check_choice("precision", wanted, PRECISIONS)
    if wanted == "float32":
        return wanted
    from pipeline.resources import computes_bf16

    if wanted == "auto":
        return "bf16" if computes_bf16(kind, fast=True) else "float32"
    if config.cluster.kind != "ray" and not computes_bf16(kind, fast=False):
        raise SettingsError(
            f"precision: got bf16, and this machine's {'GPU' if kind == 'cuda' else 'CPU'} does not compute in it; use "
            "precision=float32, or cluster=ray with machines that do"
        )
    return wanted


def read_model(config: DictConfig, name: str = "model") -> ModelSettings:
    """The model option of a configuration, or another option of its group, such as the judge."""
    return read_settings(ModelSettings, config, name)


def read_device(config: DictConfig, kind: str) -> DeviceSettings:
    """The sizes that cut work for a kind of device."""
    check_choice("device", kind, tuple(config.devices))
    return read_settings(DeviceSettings, config.devices[kind], f"devices.{kind}")


def read_cluster(config: DictConfig) -> ClusterSettings:
    """Where tasks run."""
    return read_settings(ClusterSettings, config.cluster, "cluster")


def read_starts(config: DictConfig) -> tuple[int, int]:
    """The number of pictures of a unit in a setting, and the seed of their starts."""
    samples, seed = typed(config.samples, int, "samples"), typed(config.seed, int, "seed")
    check_sample_count("samples", samples)
    check("seed", seed, f"0 to {LARGEST_SEED}", 0 <= seed <= LARGEST_SEED)
    return samples, seed


def read_units(config: DictConfig) -> tuple[str, ...] | None:
    """The addresses of the requested units; None to let the job choose."""
    return None if config.units is None else some_names({"units": plain(config.units)}, "units", "conv5:0-63")


def read_flag(config: DictConfig, name: str) -> bool:
    """A setting that is true or false."""
    return typed(config[name], bool, name)


def read_out(config: DictConfig) -> Path:
    """The folder of the atlas. Raises SettingsError for an empty name, which would be the current folder."""
    out = typed(config.out, str, "out")
    if not out.strip():
        raise SettingsError("out: is empty; name a folder with OUT=…")
    return Path(out).expanduser()
