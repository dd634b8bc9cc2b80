"""Sweep a method's numbers: each regularizer from off to too strong, and random settings, scored and on one page."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from jobs.cluster import on_demand
from jobs.console import DONE, GAPS, run_job
from jobs.estimate import describe
from jobs.execution import Execution
from jobs.folder import Growing, merge_atlas, open_work, output, read_plan, write_plan
from jobs.judging import judge_settings, judged_classes
from jobs.opening import OpenedPriors, open_priors
from jobs.request import read_cluster, read_config, read_flag, read_model, read_out, read_settings, read_units
from jobs.site import build_pages, read_site
from pipeline.card import NetworkCard
from pipeline.errors import SettingsError
from pipeline.methods.method import Method
from pipeline.methods.registry import METHODS, together
from pipeline.plan import Plan
from pipeline.request import Request
from pipeline.settings import check, check_choice
from pipeline.sweep import Swept, read_draws, read_rows, swept_settings
from pipeline.units import Units, select_units

BEST_SHOWN = 3  # number of best settings to print at the end


@dataclass(frozen=True)
class SweepSettings:
    """What is swept.

    method : name of the method.
    base : name of the setting that provides all other numbers; None for the first run.
    units : number of units of the class layer, if none are named.
    iterations : iterations of each climb.
    rows, draws : see `pipeline.sweep`.
    """

    method: str
    base: str | None
    units: int
    iterations: int
    rows: dict
    draws: dict

    def __post_init__(self) -> None:
        check_choice("sweep.method", self.method, tuple(method.name for method in METHODS if method.makes_pictures))
        check("sweep.units", self.units, "1 or more", self.units >= 1)
        check("sweep.iterations", self.iterations, "2 or more", self.iterations >= 2)

    def settings(self, method: Method) -> tuple[Swept, ...]:
        """All settings of the sweep. Raises SettingsError for invalid strengths."""
        return swept_settings(read_rows(method.numbers, self.rows), read_draws(method.numbers, self.draws))


def sweep(config: DictConfig) -> int:
    """Compute and judge the settings, make the page; return the exit code."""
    from pipeline.nets.network_card import network_card
    from pipeline.nets.open_network import open_network
    from pipeline.resources import Resources

    asked = read_settings(SweepSettings, config.sweep, "sweep")
    method = next(one for one in METHODS if one.name == asked.method)
    shared, cluster, out = read_config(config, methods=(method.name,)), read_cluster(config), read_out(config)
    settings, addresses = asked.settings(method), read_units(config)
    plan_only, pages, site = read_flag(config, "plan"), read_flag(config, "pages"), read_site(config)
    section = method.read(shared) if method.name == "dgn" else None
    network = open_network(read_model(config.model))
    card = network_card(network)
    units = _units(card, addresses, asked.units)
    priors = OpenedPriors() if section is None else open_priors(section, shared, network, card)
    base = asked.base if asked.base is not None else priors.runs[0].name
    records = method.swept(base, asked.iterations, settings, Request(shared, card, units, opened={"priors": priors}))
    names = {record.name: one.placed(base) for record, one in zip(records, settings, strict=True)}
    wanted = Plan(card).asking(method.name, records, units, shared.samples).with_sweep(method.name, names)
    if plan_only:
        print(describe(together(read_plan(out), wanted), cluster, shared.device, out))
        return DONE
    judges = {network.name: network, **_judge(config, wanted)} if card.class_layer in units else {}
    with output(out, config), on_demand(cluster, shared.device) as places:
        plan = together(read_plan(out), wanted)
        write_plan(plan, out)
        words = f"{len(records)} settings of {sum(map(len, units.values()))} units"
        print(f"{card.name}@{card.digest[:12]}: {words} into {out}/", file=sys.stderr)
        resources = Resources(network, None, priors.by_digest(), priors.start_codes)
        work = open_work(plan, out, resources)
        run = Execution(work, places, Growing(work, out).tick, retry_failed=read_flag(config, "retry_failed"))
        run.compute_all(method)
        merged = merge_atlas(run.work, out)
        for name, judge in judges.items():
            plan = judge_settings(plan, out, name, judge, plan.card.class_layer, method.name, sorted(names))
        if judges:
            write_plan(plan, out)
            merge_atlas(run.work.asking(plan), out)
        if pages:
            build_pages(out, site)
    for line in run.work.problems:
        print(f"warning: {line}", file=sys.stderr)
    _report_best(out, method.name, units, pages)
    for line in run.report.lines():
        print(line, file=sys.stderr)
    return GAPS if run.report.failed or run.report.failed_before or merged.failed or merged.missing else DONE


def _units(card: NetworkCard, addresses: tuple[str, ...] | None, count: int) -> Units:
    """The named units, or `count` units of the class layer, evenly spaced."""
    if addresses is not None:
        return select_units(card, addresses)
    if card.class_layer is None:
        raise SettingsError(f"units: {card.name} has no class layer to take some from; name them by units=[layer:0-4]")
    channels = card.layer(card.class_layer).channels
    count = min(count, channels)
    spaced = sorted({round((place + 0.5) * channels / count - 0.5) for place in range(count)})
    return {card.class_layer: tuple(spaced)}


def _judge(config: DictConfig, asked: Plan) -> dict[str, Any]:
    """Name → judge; empty if the judge is the network itself or, which is reported, has none of the classes."""
    from pipeline.nets.open_network import open_network

    judge = open_network(read_model(config.judge, "judge"), where="judge")
    if judge.digest == asked.card.digest:
        return {}
    if judge.name == asked.card.name:
        raise SettingsError(f"judge.name: got {judge.name}, which is the network's own; set it by judge.name=…")
    try:
        judged_classes(asked, judge, asked.card.class_layer)
    except SettingsError as error:
        print(
            f"only the score of {asked.card.name} itself is reported; {error}, or name another judge by JUDGE=…",
            file=sys.stderr,
        )
        return {}
    return {judge.name: judge}


def _report_best(out: Path, method: str, units: Units, pages: bool) -> None:
    """Print the best settings, and where the page is."""
    from atlas_viewer.atlas import Atlas
    from atlas_viewer.site.outline import sweep_name
    from atlas_viewer.sweep import Sweep

    with Atlas(out / "atlas.h5") as opened:
        for layer in units:
            swept = Sweep(opened[layer], method)
            if swept.judge is not None:
                print(f"best of {layer} by the score of {swept.judge}; the page has the overrides for each setting:")
                for setting in swept.ranked[:BEST_SHOWN]:
                    on = ", ".join(f"{name} {value:g}" for name, value in setting.active.items())
                    print(f"  {setting.name:12} {100 * swept.rank_score(setting):5.1f} %  {on or 'no regularizer'}")
            if pages:
                print(f"open {out}/site/{opened[layer].key}/{sweep_name(method)}", file=sys.stderr)


if __name__ == "__main__":
    run_job(sweep, "sweep", __doc__)
