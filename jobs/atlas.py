"""Compute an atlas: plan, tasks, shards, atlas.h5 and pages. The same command continues where it was stopped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from jobs.cluster import Cluster, on_demand
from jobs.console import DONE, GAPS, run_job
from jobs.driver import ExecutionReport
from jobs.estimate import describe, estimate, shortage
from jobs.execution import Execution
from jobs.folder import Growing, merge_atlas, open_work, output, read_plan, stored_work, write_plan
from jobs.judging import check_judge, judge_atlas, lacks_scores
from jobs.opening import OpenedPriors, class_notes, open_images, open_priors
from jobs.request import AtlasRequest, read_request
from jobs.visibility import seen_by_nodes
from pipeline.card import NetworkCard
from pipeline.errors import OutputError, RefusedDataset
from pipeline.methods.registry import METHODS, together
from pipeline.methods.tops.task import without_refused
from pipeline.plan import Plan
from pipeline.request import Request
from pipeline.store.merging import MergeReport
from pipeline.units import select_units
from pipeline.work import Work

if TYPE_CHECKING:
    from pipeline.resources import Resources


def atlas(config: DictConfig) -> int:
    """Compute the atlas that the configuration describes; return the exit code."""
    from jobs.early_pages import early_pages  # which loads the templates of all pages
    from jobs.site import build_pages, read_site
    from pipeline.nets.network_card import network_card
    from pipeline.nets.open_network import open_network
    from pipeline.resources import Resources

    asked, pages = read_request(config), read_site(config)
    network = open_network(asked.model)
    card = network_card(network)
    units = select_units(card, asked.units)
    priors = open_priors(asked.section("dgn"), asked.config, network, card)
    tops = asked.section("tops")
    source = open_images(None if tops is None else tops.dataset, asked.model, card)
    plan = requested(Request(asked.config, card, units, asked.asked, {"priors": priors, "source": source}))
    if asked.plan_only:
        print(describe(together(read_plan(asked.out), plan), asked.cluster, asked.config.device, asked.out))
        return DONE
    with output(asked.out, config), on_demand(asked.cluster, asked.config.device) as places:
        before = read_plan(asked.out)
        plan = together(before, plan)
        judge = None
        if asked.judge is not None and (before is None or before.record() != plan.record()):
            judge = open_network(asked.judge, where="judge")
            check_judge(plan, network, judge)  # before hours of work, and not after them
        _announce(card, asked, source, priors, network.notes)
        resources = Resources(network, source, priors.by_digest(), priors.start_codes)
        places = seen_by_nodes(places, asked.cluster, None if tops is None else tops.dataset)
        with early_pages(asked.out, pages, wanted=asked.pages) as more:
            run, merged = grow(before, plan, asked, resources, places, more)
        if asked.judge is not None and lacks_scores(plan, asked.out, asked.judge.name):
            judge_atlas(run.work, asked.out, network, judge or open_network(asked.judge, where="judge"))
        if asked.pages:
            build_pages(asked.out, pages)
    return _summary(run.report, run.work, merged, asked.out, asked.pages)


def grow(
    before: Plan | None,
    plan: Plan,
    asked: AtlasRequest,
    resources: Resources,
    places: Callable[[], Cluster],
    merged: Callable[[MergeReport], None] = lambda report: None,
) -> tuple[Execution, MergeReport]:
    """Compute what the atlas in a folder lacks of a plan, and merge it; return what was done.

    before : the folder's plan until now; plan : together with what is requested.
    merged : called after each merge of a part while the rest is computed.
    """
    if before is not None and before.record() != plan.record():
        merge_atlas(stored_work(before, asked.out), asked.out)  # results of tasks that may be cut otherwise now
    estimates = estimate(plan, asked.out)
    short = shortage(plan, estimates, asked.out) if asked.check_disk else None
    if short is not None:
        raise OutputError(short)
    write_plan(plan, asked.out)
    work = open_work(plan, asked.out, resources)
    run = Execution(
        work,
        places,
        Growing(work, asked.out, merged).tick,
        retry_failed=asked.retry_failed,
        expected=sum(one.seconds for one in estimates),
    )
    try:
        run.compute_all()
    except RefusedDataset:
        write_plan(without_refused(plan, before), asked.out)
        raise
    return run, merge_atlas(run.work, asked.out)


def requested(request: Request) -> Plan:
    """The plan of a request, with the requested methods and those that follow from them."""
    plan = Plan(request.card)
    for method in METHODS:
        if not method.requested or method.name in request.config.methods:
            plan = method.ask(plan, request)
    return plan


def _announce(
    card: NetworkCard, asked: AtlasRequest, source: object, priors: OpenedPriors, notes: Sequence[str]
) -> None:
    """Print what begins, notes on the network and the classes, and what is left out for want of images or a prior."""
    print(f"{card.name}@{card.digest[:12]} into {asked.out}/", file=sys.stderr)
    for note in notes:
        print(note, file=sys.stderr)
    if "tops" in asked.config.methods and source is None:
        print("best images are left out, because no dataset is given; name one by DATASET=…", file=sys.stderr)
    if "dgn" in asked.config.methods and not priors.opened:
        print(
            f"pictures through a learned prior are left out, because {card.name} has no prior; name one by priors=[…]",
            file=sys.stderr,
        )
    if source is not None:
        for note in class_notes(source, asked.section("tops").dataset, card):  # type: ignore[arg-type]
            print(note, file=sys.stderr)


def _summary(report: ExecutionReport, work: Work, merged: MergeReport, out: Path, pages: bool) -> int:
    for line in work.problems:
        print(f"warning: {line}", file=sys.stderr)
    for line in work.notes:
        print(line, file=sys.stderr)
    for line in work.left_out:
        print(f"left out: {line}", file=sys.stderr)
    counts = ", ".join(f"{count} {name}" for name, count in sorted(merged.statuses.items()))
    pictures = f"{merged.pictures} pictures ({counts})" if merged.pictures else "no synthesized pictures"
    with suppress(OSError):
        size = (out / "atlas.h5").stat().st_size / 1e6
        nothing = "" if report.computed or report.failed else "; nothing was left to compute"
        print(f"{out}/atlas.h5: {pictures}, {size:.1f} MB{nothing}", file=sys.stderr)
    if pages:
        print(f"open {out}/site/index.html", file=sys.stderr)
    if not report.failed and not report.failed_before and not merged.failed and not merged.missing:
        return DONE
    for line in report.lines():
        print(line, file=sys.stderr)
    again = "; the same command computes them" if merged.missing and not merged.failed else ""
    print(f"{merged.failed} pictures failed, {merged.missing} are missing{again}", file=sys.stderr)
    return GAPS


if __name__ == "__main__":
    run_job(atlas, "atlas", __doc__)
