"""Compute an atlas: plan, tasks, shards, atlas.h5 and pages. The same command goes on where it was stopped."""

from __future__ import annotations

import fcntl
import json
import logging
import sys
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TextIO

from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from jobs import dataset_side, dgn_side, driver, site
from jobs.cluster import on_demand
from jobs.console import DONE, GAPS, run_job
from jobs.estimate import describe
from jobs.request import Request, read_request
from jobs.run import Run
from pipeline.cuts import ascent_tasks
from pipeline.errors import OutputError, SettingsError
from pipeline.plan import Plan
from pipeline.search_cuts import combination_tasks, dgn_tasks
from pipeline.search_records import CombinationRecord
from pipeline.settings import check_choice
from pipeline.store.merge import merge
from pipeline.store.picture_groups import MergeReport
from pipeline.store.shard import ShardFolder, write_whole
from pipeline.units import address, select_units

log = logging.getLogger("atlas")


def atlas(config: DictConfig) -> int:
    """Do what the configuration asks; return the exit code."""
    from pipeline.compute import Resources
    from pipeline.nets.network_card import network_card
    from pipeline.nets.open_network import open_network

    request = read_request(config, device_kind(config.device, config.cluster.kind))
    network = open_network(request.model)
    card = network_card(network)
    units = select_units(card, request.units)
    styles = request.styles if "ascent" in request.methods else ()
    asked = Plan.of_request(card, units, styles, request.samples)
    priors = dgn_side.open_priors(request, network, card)
    asked = dgn_side.ask(asked, request, card, priors)
    source = dataset_side.open_images(request)
    if source is not None:
        asked = asked.with_tops(dataset_side.mining_record(request, card, source), units)
        if request.memorisation.samples and asked.mining.dataset.ordered:
            asked = asked.with_memorisation(request.memorisation)
    if request.plan_only:
        print(describe(together(asked, request.out), request.cluster, request.device, request.out))
        return DONE
    with output(request.out, config), on_demand(request.cluster, request.device) as cluster:
        plan = together(asked, request.out)
        write_plan(plan, request.out)
        print(f"{plan.card.name}@{plan.card.digest[:12]} into {request.out}/", file=sys.stderr)
        if "top" in request.methods and source is None:
            print("best images are left out, for there is no dataset; name one by DATASET=…", file=sys.stderr)
        dgn_side.say_if_none(request, priors)
        resources = Resources(network, source, priors.by_digest(), priors.start_codes)
        run = Run(ShardFolder(request.out / "shards"), cluster, resources)
        run.compute(ascent_tasks(plan))
        dgn_side.look(plan, run, priors)
        if source is not None:
            dataset_side.look(plan, run)
        merged = merge_atlas(plan, request.out)
        if request.pages:
            site.build_pages(request.out, workers=None)
    return _summary(run.report, merged, request)


def device_kind(wanted: str, cluster: str) -> str:
    """The kind of device that a run uses: what is asked, or a GPU if this machine has one."""
    check_choice("device", wanted, ("auto", "cpu", "cuda"))
    if wanted == "cpu":
        return wanted
    from pipeline.compute import has_gpu

    here = has_gpu()
    if wanted == "cuda" and not here and cluster != "ray":
        raise SettingsError("device: got cuda, but torch sees no GPU on this machine; use device=cpu or cluster=ray")
    return "cuda" if here or wanted == "cuda" else "cpu"


def together(asked: Plan, out: Path) -> Plan:
    """What is asked now, together with what was asked of this atlas before."""
    before = read_plan(out)
    return asked if before is None else before.union(asked)


def read_plan(out: Path) -> Plan | None:
    """The plan of an atlas folder, or None where there is none yet."""
    try:
        return Plan.of_record(json.loads((out / "plan.json").read_text()))
    except FileNotFoundError:
        return None
    except OutputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        raise OutputError(f"{out}/plan.json: cannot be read ({reason}); choose another folder by OUT=…") from None


def write_plan(plan: Plan, out: Path) -> None:
    """Store the plan of an atlas folder."""
    write_whole(out / "plan.json", (json.dumps(plan.record(), sort_keys=True, indent=1) + "\n").encode())


def merge_atlas(plan: Plan, out: Path) -> MergeReport:
    """Merge the shards of an atlas folder into its atlas.h5."""
    total = len(ascent_tasks(plan)) + len(dgn_tasks(plan)) + sum(map(len, combination_tasks(plan).values()))
    with tqdm(total=total, desc="merge", unit="task", disable=not sys.stderr.isatty(), leave=False) as bar:
        return merge(plan, ShardFolder(out / "shards"), out / "atlas.h5", _deciding_settings(plan), bar.update)


def _deciding_settings(plan: Plan) -> str:
    """The settings that decide results, as YAML."""
    record = {
        "model": {"name": plan.card.name, "digest": plan.card.digest},
        "styles": {name: plan.styles[name].record() for name in sorted(set(plan.styles) - set(plan.sweep))},
        "searches": {name: plan.searches[name].record() for name in sorted(plan.searches)},
        "combinations": {name: _combination(plan.combinations[name]) for name in sorted(plan.combinations)},
        "dataset": None if plan.mining is None else plan.mining.record(),
        "units": [address(layer.name, plan.layer_units(layer.name)) for layer in plan.layers()],
    }
    if plan.memorisation is not None:
        record["memorisation"] = asdict(plan.memorisation)
    if plan.sweep:  # hundreds of settings: their numbers stand at their groups
        record["sweep"] = {name: f"{plan.sweep[name].axis} {plan.sweep[name].place}" for name in sorted(plan.sweep)}
    return OmegaConf.to_yaml(OmegaConf.create(json.loads(json.dumps(record))))


def _combination(asked: CombinationRecord) -> dict[str, object]:
    """A set of combinations without its units, which stand in its group."""
    return {"layer": asked.layer, "balance": asked.balance, "samples": asked.samples, "search": asked.search.record()}


@contextmanager
def output(out: Path, config: DictConfig):
    """The atlas folder, made and held for this run alone, with a log of its own."""
    try:
        (out / "log").mkdir(parents=True, exist_ok=True)
        lock = open(out / ".lock", "w")  # noqa: SIM115 - held until the run ends
    except OSError as error:
        raise _unwritable(out, error) from None
    with lock:
        _hold(lock, out)
        try:
            handler = logging.FileHandler(out / "log" / f"{datetime.now():%Y-%m-%d-%H%M%S}.log")
        except OSError as error:
            raise _unwritable(out, error) from None
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
        log.info("configuration:\n%s", OmegaConf.to_yaml(config, resolve=True))
        try:
            yield
        finally:
            log.removeHandler(handler)
            handler.close()


def _unwritable(out: Path, error: OSError) -> OutputError:
    return OutputError(f"{out}: cannot be written ({error.strerror}); choose another folder by OUT=…")


def _hold(lock: TextIO, out: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(f"{out}: another run is writing here; wait for it, or choose OUT=…") from None
    except OSError:  # some network file systems have no locks
        log.warning("%s: this file system has no locks; see to it that one run at a time writes here", out)


def _summary(report: driver.RunReport, merged: MergeReport, request: Request) -> int:
    out = request.out
    for line in (*report.set_aside, *merged.set_aside):
        print(f"warning: {line}", file=sys.stderr)
    for line in report.left_out:
        print(f"left out: {line}", file=sys.stderr)
    counts = ", ".join(f"{count} {name}" for name, count in sorted(merged.statuses.items()))
    with suppress(OSError):
        size = (out / "atlas.h5").stat().st_size / 1e6
        print(f"{out}/atlas.h5: {merged.pictures} pictures ({counts}), {size:.1f} MB", file=sys.stderr)
    if request.pages:
        print(f"open {out}/site/index.html", file=sys.stderr)
    if not report.failed and not merged.failed and not merged.missing:
        return DONE
    for words, reason in list(report.failed.items())[:10]:
        print(f"failed: {words}: {reason}", file=sys.stderr)
    print(
        f"{merged.failed} pictures failed, {merged.missing} are missing; the same command tries them again",
        file=sys.stderr,
    )
    return GAPS


if __name__ == "__main__":
    run_job(atlas, "atlas", __doc__)
