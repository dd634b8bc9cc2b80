"""Score an atlas's pictures of the classes: which class the network and a judge see in them, style by style."""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import DictConfig

from jobs.atlas import merge_atlas, output, read_plan, write_plan
from jobs.console import DONE, run_job
from jobs.judging import judge_styles
from jobs.request import read_model, read_out
from jobs.site import build_pages
from pipeline.errors import OutputError, SettingsError, WeightsError
from pipeline.plan import Plan
from pipeline.store.shard import ShardFolder

STYLE_ORDER = ("low_frequency", "high_frequency", "sparse", "contribution")


def score(config: DictConfig) -> int:
    """Judge, keep the verdicts in the atlas, print the table; return the exit code."""
    from pipeline.nets.open_network import open_network

    out = read_out(config)
    plan = _stored_plan(out)
    network, judge = open_network(read_model(config.model)), open_network(read_model(config.judge))
    if network.digest != plan.card.digest:
        raise WeightsError(
            f"{out}/atlas.h5: is of {plan.card.name}@{plan.card.digest[:12]}, model={network.name} has digest "
            f"{network.digest[:12]}; name the atlas's own network by MODEL=…"
        )
    if judge.name == network.name and judge.digest != network.digest:
        raise SettingsError(f"judge.name: got {judge.name}, which is the atlas's own network; set it by judge.name=…")
    judges = {network.name: network, judge.name: judge}
    with output(out, config):
        plan = _stored_plan(out)  # as it is now that nobody else writes it
        merge_atlas(plan, out)  # a run that was stopped may have asked for more than the atlas has
        layers = _class_layers(plan, out)
        for name, member in judges.items():
            for layer in layers:
                plan = judge_styles(plan, out, name, member, layer, plan.layer_styles(layer))
                plan = judge_styles(plan, out, name, member, layer, plan.layer_searches(layer), "dgn")
        write_plan(plan, out)
        merge_atlas(plan, out)
        build_pages(out, workers=None)
    _print_table(plan, out, list(judges))
    return DONE


def _stored_plan(out: Path) -> Plan:
    plan = read_plan(out)
    if plan is None or not (out / "atlas.h5").is_file():
        raise OutputError(f"{out}/atlas.h5: not there; make it with make atlas OUT={out}, or name another by OUT=…")
    return plan


def _class_layers(plan: Plan, out: Path) -> list[str]:
    """The layers whose units are the classes and have pictures: the class layer, and softmaxes of it."""
    found = [layer.name for layer in plan.layers() if plan.card.names_classes(layer.name)]
    if not found:
        layer = plan.card.class_layer
        raise OutputError(f"{out}/atlas.h5: has no pictures of the class layer {layer}; make them with units=[{layer}]")
    return found


def _print_table(plan: Plan, out: Path, judges: list[str]) -> None:
    shards = ShardFolder(out / "shards")
    own = plan.card.class_layer
    shown = {task.question[1:] for task in plan.scores}
    shown -= {(own, "ascent", style) for style in plan.sweep}  # a style search has a page of its own
    rows = sorted(shown, key=lambda row: (row[0] != own, *row[:2], row[2] not in STYLE_ORDER, row[2]))
    names = {row: row[2] if row[0] == own else f"{row[0]}: {row[2]}" for row in rows}
    width = max(map(len, ("style", *names.values())))
    print(f"{'style':{width}} {'pictures':>8}  " + "  ".join(f"{judge + ' first, first 5':>32}" for judge in judges))
    for layer, made_by, style in rows:
        cells, count = [], 0
        for judge in judges:
            task = next(task for task in plan.scores if task.question == (judge, layer, made_by, style))
            ranks = shards.read(task.id, task.record()).array("target_rank")
            ranks = ranks[ranks >= 0]
            count = max(count, ranks.size)
            first, five = (100 * float((ranks < n).mean()) if ranks.size else float("nan") for n in (1, 5))
            cells.append(f"{f'{first:.1f} %, {five:.1f} %':>32}")
        print(f"{names[layer, made_by, style]:{width}} {count:8}  " + "  ".join(cells))
    print(f"kept in {out}/atlas.h5 under scores/", file=sys.stderr)


if __name__ == "__main__":
    run_job(score, "score", __doc__)
