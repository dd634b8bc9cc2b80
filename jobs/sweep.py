"""Search for a style: each regularizer from none to too strong, and random settings, scored and on one page."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig

from jobs import atlas
from jobs.cluster import on_demand
from jobs.console import DONE, GAPS, run_job
from jobs.estimate import describe
from jobs.judging import judge_styles, judged_classes
from jobs.request import (
    read_device,
    read_flag,
    read_model,
    read_out,
    read_settings,
    read_starts,
    read_units,
)
from jobs.run import Run
from jobs.site import build_pages
from pipeline.card import NetworkCard
from pipeline.cuts import ascent_tasks
from pipeline.errors import SettingsError
from pipeline.plan import Plan
from pipeline.records import StyleRecord
from pipeline.settings import AscentSettings, ClusterSettings, StyleSettings, check, check_choice
from pipeline.store.shard import ShardFolder
from pipeline.sweep import SweepPlace, SweepRows, SweepSearch, swept_styles
from pipeline.units import Units, select_units

TOLD = 3  # of the best settings, at the end of a run


@dataclass(frozen=True)
class SweepRequest:
    """What `make sweep` is asked. unit_count : of the class layer, where `units` is None."""

    units: tuple[str, ...] | None
    unit_count: int
    samples: int
    styles: tuple[StyleRecord, ...]
    places: Mapping[str, SweepPlace]
    cluster: ClusterSettings
    out: Path
    plan_only: bool
    pages: bool


def sweep(config: DictConfig) -> int:
    """Compute the settings, have them judged, make the page; return the exit code."""
    from pipeline.compute import Resources
    from pipeline.nets.network_card import network_card
    from pipeline.nets.open_network import open_network

    request = read_sweep(config, atlas.device_kind(config.device, config.cluster.kind))
    network = open_network(read_model(config.model))
    card = network_card(network)
    units = _units(card, request)
    asked = Plan.of_request(card, units, request.styles, request.samples).with_sweep(request.places)
    device = request.styles[0].device
    if request.plan_only:
        print(describe(atlas.together(asked, request.out), request.cluster, device, request.out))
        return DONE
    judges = {network.name: network, **_judge(config, asked)} if card.class_layer in units else {}
    with atlas.output(request.out, config), on_demand(request.cluster, device) as cluster:
        plan = atlas.together(asked, request.out)
        atlas.write_plan(plan, request.out)
        words = f"{len(request.styles)} settings of {sum(map(len, units.values()))} units"
        print(f"{card.name}@{card.digest[:12]}: {words} into {request.out}/", file=sys.stderr)
        run = Run(ShardFolder(request.out / "shards"), cluster, Resources(network, None))
        run.compute(ascent_tasks(plan))
        merged = atlas.merge_atlas(plan, request.out)
        for name, judge in judges.items():
            plan = judge_styles(plan, request.out, name, judge, plan.card.class_layer, sorted(request.places))
        if judges:
            atlas.write_plan(plan, request.out)
            atlas.merge_atlas(plan, request.out)
        if request.pages:
            build_pages(request.out, workers=None)
    for line in (*run.report.set_aside, *merged.set_aside):
        print(f"warning: {line}", file=sys.stderr)
    _tell(request, units)
    for words, reason in list(run.report.failed.items())[:10]:
        print(f"failed: {words}: {reason}; the same command tries it again", file=sys.stderr)
    return GAPS if run.report.failed or merged.failed or merged.missing else DONE


def read_sweep(config: DictConfig, device_kind: str) -> SweepRequest:
    """The request of a composed configuration. Raises SettingsError for values out of range."""
    device, ascent = read_device(config, device_kind), read_settings(AscentSettings, config.ascent, "ascent")
    samples, seed = read_starts(config)
    asked = read_settings(_Sweep, {name: config.sweep[name] for name in ("base", "units", "max_iter")}, "sweep")
    check_choice("sweep.base", asked.base, tuple(config.style))
    rows = read_settings(SweepRows, config.sweep.rows, "sweep.rows")
    search = read_settings(SweepSearch, config.sweep.search, "sweep.search")
    base = read_settings(StyleSettings, config.style[asked.base], f"style.{asked.base}")
    swept = swept_styles(replace(base, max_iter=asked.max_iter), asked.base, rows, search)
    return SweepRequest(
        units=read_units(config),
        unit_count=asked.units,
        samples=samples,
        styles=tuple(StyleRecord(style, ascent, seed, device) for style, _ in swept),
        places={style.name: place for style, place in swept},
        cluster=read_settings(ClusterSettings, config.cluster, "cluster"),
        out=read_out(config),
        plan_only=read_flag(config, "plan"),
        pages=read_flag(config, "pages"),
    )


@dataclass(frozen=True)
class _Sweep:
    """What stands under `sweep` itself."""

    base: str
    units: int
    max_iter: int

    def __post_init__(self) -> None:
        check("sweep.units", self.units, "1 or more", self.units >= 1)
        check("sweep.max_iter", self.max_iter, "2 or more", self.max_iter >= 2)


def _units(card: NetworkCard, request: SweepRequest) -> Units:
    """The units that are named, or some of the class layer, evenly spaced."""
    if request.units is not None:
        return select_units(card, request.units)
    if card.class_layer is None:
        raise SettingsError(f"units: {card.name} has no class layer to take some from; name them by units=[layer:0-4]")
    channels = card.layer(card.class_layer).channels
    count = min(request.unit_count, channels)
    spaced = sorted({round((place + 0.5) * channels / count - 0.5) for place in range(count)})
    return {card.class_layer: tuple(spaced)}


def _judge(config: DictConfig, asked: Plan) -> dict[str, object]:
    """The judge by its name; none, and a word about it, where it cannot judge these classes."""
    from pipeline.nets.open_network import open_network

    judge = open_network(read_model(config.judge))
    if judge.digest == asked.card.digest:
        return {}
    if judge.name == asked.card.name:
        raise SettingsError(f"judge.name: got {judge.name}, which is the network's own; set it by judge.name=…")
    try:
        judged_classes(asked, judge, asked.card.class_layer)
    except SettingsError as error:
        print(f"only {asked.card.name} itself scores; {error}, or name another by JUDGE=…", file=sys.stderr)
        return {}
    return {judge.name: judge}


def _tell(request: SweepRequest, units: Units) -> None:
    """Where the page is, and which settings came out best."""
    from atlas_viewer.atlas import Atlas
    from atlas_viewer.sweep import REGULARIZERS, Sweep

    with Atlas(request.out / "atlas.h5") as opened:
        for layer in units:
            found = Sweep(opened[layer])
            if found.judge is not None:
                print(f"best of {layer} by the score of {found.judge}; the page has the words that ask for one:")
                for setting in found.ranked[:TOLD]:
                    numbers = {name: setting.numbers[name] for name in REGULARIZERS if setting.numbers[name]}
                    on = ", ".join(f"{name} {value:g}" for name, value in numbers.items())
                    print(f"  {setting.name:12} {100 * found.worth(setting):5.1f} %  {on or 'no regularizer'}")
            if request.pages:
                print(f"open {request.out}/site/{opened[layer].key}/sweep.html", file=sys.stderr)


if __name__ == "__main__":
    run_job(sweep, "sweep", __doc__)
