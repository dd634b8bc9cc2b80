"""Fill the images into an atlas that keeps pointers only, from a local copy of the dataset."""

from __future__ import annotations

import sys
from dataclasses import replace

from omegaconf import DictConfig

from jobs.atlas import merge_atlas, output, read_plan, write_plan
from jobs.cluster import on_demand
from jobs.console import DONE, GAPS, run_job
from jobs.request import read_model, read_out, read_settings
from jobs.run import Run
from jobs.site import build_pages
from pipeline.dataset_settings import DatasetSettings
from pipeline.errors import DataError, OutputError, SettingsError
from pipeline.settings import ClusterSettings
from pipeline.store.memorisation_groups import further_images, read_tests
from pipeline.store.shard import ShardFolder
from pipeline.store.tops import all_image_tasks, read_tops


def pixels(config: DictConfig) -> int:
    """Read the hits' images, check that they are those that were mined, and merge; return the exit code."""
    from pipeline.compute import Resources
    from pipeline.data.open_source import open_source
    from pipeline.nets.download import cache_folder
    from pipeline.nets.open_network import open_network

    out = read_out(config)
    plan = read_plan(out)
    if plan is None or plan.mining is None:
        raise OutputError(f"{out}: holds no atlas with a dataset; make one with make atlas DATASET=… OUT=…")
    if config.dataset.kind == "none":
        raise SettingsError("dataset: missing; name the images' local copy by DATASET=… and dataset.root=…")
    settings = read_settings(DatasetSettings, config.dataset, "dataset")
    source = open_source(settings, cache=cache_folder())
    known = plan.mining.dataset
    if source.digest != known.digest:
        raise DataError(
            f"dataset {source.name}: its digest is {source.digest[:12]}, the atlas was made from {known.name} with "
            f"{known.digest[:12]}; give the same images in the same layout"
        )
    cluster = read_settings(ClusterSettings, config.cluster, "cluster")
    with output(out, config), on_demand(cluster, plan.mining.device) as opened:
        plan = read_plan(out)
        plan = replace(plan, mining=replace(plan.mining, top=replace(plan.mining.top, pixels="stored")))
        run = Run(ShardFolder(out / "shards"), opened, Resources(open_network(read_model(config.model)), source))
        tops = read_tops(plan, run.shards, run.report.set_aside)
        if tops is None:
            raise OutputError(f"{out}: its best images are not all there; finish it by make atlas OUT={out} first")
        further = further_images(read_tests(plan, run.shards, run.report.set_aside))
        run.compute(all_image_tasks(plan, tops, further))
        write_plan(plan, out)
        merged = merge_atlas(plan, out)
        build_pages(out, workers=None)
    print(f"{out}/atlas.h5: has the pixels of {len({*tops.numbers, *further})} images", file=sys.stderr)
    return GAPS if run.report.failed or merged.missing or merged.failed else DONE


if __name__ == "__main__":
    run_job(pixels, "pixels", __doc__)
