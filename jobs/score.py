"""Score an atlas's class pictures: how often the network and a judge recognize the class, setting by setting."""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import DictConfig

from jobs.console import DONE, run_job
from jobs.folder import merge_atlas, output, stored_plan, stored_work
from jobs.judging import class_layers, judge_atlas
from jobs.opening import same_network
from jobs.request import read_model, read_out
from jobs.site import build_pages, read_site
from pipeline.errors import OutputError
from pipeline.methods.scores.task import score_tasks
from pipeline.plan import Plan

STYLE_ORDER = ("low_frequency", "high_frequency", "sparse", "contribution")


def score(config: DictConfig) -> int:
    """Judge the pictures, store the verdicts in the atlas, print a table; return the exit code."""
    from pipeline.nets.open_network import open_network

    out, pages = read_out(config), read_site(config)
    plan = stored_plan(out)
    (_, network), judge = (
        same_network(config, plan, out),
        open_network(read_model(config.judge, "judge"), where="judge"),
    )
    with output(out, config):
        plan = stored_plan(out)  # read again, now that the folder is locked
        work = stored_work(plan, out)
        merge_atlas(work, out)  # a stopped run may have left a plan with more than the atlas has
        if not class_layers(plan):
            layer = plan.card.class_layer
            raise OutputError(
                f"{out}/atlas.h5: has no pictures of the class layer {layer}; make them with units=[{layer}]"
            )
        plan = judge_atlas(work, out, network, judge)
        build_pages(out, pages)
    _print_table(plan, out, list(dict.fromkeys((network.name, judge.name))))
    return DONE


def _print_table(plan: Plan, out: Path, judges: list[str]) -> None:
    from pipeline.methods.scores.store import held_judge, held_score
    from pipeline.store.held import HeldAtlas

    class_layer, asked = plan.card.class_layer, {task.asked.question: task for task in score_tasks(plan)}
    shown = {question[1:] for question in asked}
    swept = {(class_layer, method, name) for method, places in plan.sweep.items() for name in places}
    shown -= swept  # a sweep has a page of its own
    rows = sorted(shown, key=lambda row: (row[0] != class_layer, *row[:2], row[2] not in STYLE_ORDER, row[2]))
    names = {row: row[2] if row[0] == class_layer else f"{row[0]}: {row[2]}" for row in rows}
    width = max(map(len, ("setting", *names.values())))
    print(f"{'setting':{width}} {'pictures':>8}  " + "  ".join(f"{judge + ' first, first 5':>32}" for judge in judges))
    with HeldAtlas.open(out / "atlas.h5") as held:
        for row in rows:
            cells, count = [], 0
            for judge in judges:
                record = asked[(judge, *row)].asked
                ranks = held_score(held_judge(held, record.layer, record.judge_digest), record)["target_rank"][...]
                ranks = ranks[ranks >= 0]
                count = max(count, ranks.size)
                first, five = (100 * float((ranks < n).mean()) if ranks.size else float("nan") for n in (1, 5))
                cells.append(f"{f'{first:.1f} %, {five:.1f} %':>32}")
            print(f"{names[row]:{width}} {count:8}  " + "  ".join(cells))
    print(f"stored in {out}/atlas.h5 under scores/", file=sys.stderr)


if __name__ == "__main__":
    run_job(score, "score", __doc__)
