"""Add the pixels of images to an atlas that has only pointers, from a local copy of the dataset."""

from __future__ import annotations

import sys
from dataclasses import replace

from omegaconf import DictConfig

from jobs.cluster import on_demand
from jobs.console import DONE, GAPS, run_job
from jobs.execution import Execution
from jobs.folder import merge_atlas, output, read_plan, stored_work, write_plan
from jobs.request import read_model, read_out, read_settings
from jobs.site import build_pages, read_site
from pipeline.dataset_settings import DatasetSettings
from pipeline.errors import DataError, OutputError, SettingsError
from pipeline.methods.tops.task import mining_of
from pipeline.settings import ClusterSettings


def pixels(config: DictConfig) -> int:
    """Check that the images are the mined ones, read those that are hits, and merge; return the exit code."""
    from pipeline.data.open_source import open_source
    from pipeline.nets.download import cache_folder
    from pipeline.nets.open_network import open_network
    from pipeline.resources import Resources

    out, pages = read_out(config), read_site(config)
    plan = read_plan(out)
    mining = None if plan is None else mining_of(plan)
    if mining is None:
        raise OutputError(f"{out}: holds no atlas with a dataset; make one with make atlas DATASET=… OUT=…")
    if config.dataset.kind == "none":
        raise SettingsError("dataset: missing; name the images' local copy by DATASET=… and dataset.root=…")
    settings = read_settings(DatasetSettings, config.dataset, "dataset")
    source = open_source(settings, cache=cache_folder(), card=plan.card)
    mined = mining.dataset
    if source.digest != mined.digest:
        raise DataError(
            f"dataset {source.name}: its digest is {source.digest[:12]}, the atlas was made from {mined.name} with "
            f"{mined.digest[:12]}; give the same images in the same layout"
        )
    cluster = read_settings(ClusterSettings, config.cluster, "cluster")
    with output(out, config), on_demand(cluster, mining.device) as opened:
        plan = read_plan(out)
        mining = mining_of(plan)
        plan = plan.asking("tops", [replace(mining, tops=replace(mining.tops, pixels="stored"))])
        work = stored_work(plan, out)
        if work.results["tops"] is None:
            raise OutputError(f"{out}: its best images are incomplete; complete it by make atlas OUT={out} first")
        work.resources = Resources(open_network(read_model(config.model)), source)
        run = Execution(work, opened)
        run.compute(work.tasks["images"])
        write_plan(plan, out)
        merged = merge_atlas(work, out)
        build_pages(out, pages)
    print(f"{out}/atlas.h5: has the pixels of {len(work.images)} images", file=sys.stderr)
    for line in run.report.lines():
        print(line, file=sys.stderr)
    return GAPS if run.report.failed or run.report.failed_before or merged.missing or merged.failed else DONE


if __name__ == "__main__":
    run_job(pixels, "pixels", __doc__)
