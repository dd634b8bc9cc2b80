"""The dataset side of a run: opening the images, looking at them all, and what excites the units most."""

from __future__ import annotations

import sys

from tqdm import tqdm

from jobs.request import Request
from jobs.run import Run
from pipeline.card import NetworkCard
from pipeline.cuts import backproject_tasks, image_tasks, mine_tasks
from pipeline.plan import Plan
from pipeline.records import DatasetRecord, MiningRecord, record_digest
from pipeline.store.memorisation_groups import further_images, memorisation_tasks, read_tests, tested_searches
from pipeline.store.tops import all_image_tasks, best_hits, encode_tops, read_tops, tops_record


def open_images(request: Request) -> object | None:
    """The images of the dataset that is asked for, or None where there is none."""
    from pipeline.data.open_source import open_source
    from pipeline.nets.download import cache_folder

    if "top" not in request.methods or request.dataset is None:
        return None
    with tqdm(desc="hash images", unit="B", unit_scale=True, disable=not sys.stderr.isatty(), leave=False) as bar:

        def progress(done: int, whole: int) -> None:
            bar.total = whole
            bar.update(done - bar.n)

        return open_source(request.dataset, cache=cache_folder(), progress=progress)


def mining_record(request: Request, card: NetworkCard, source: object) -> MiningRecord:
    """What decides the dataset side."""
    settings, index = request.dataset, source.index
    names = tuple(index.class_names)
    dataset = DatasetRecord(
        name=source.name,
        kind=settings.kind,
        digest=source.digest,
        images=len(source),
        classes=names,
        ordered=_are_the_units(names, card),
        preprocess=settings.preprocess,
        reduced_decoding=settings.reduced_decoding,
        bad_share=settings.bad_share,
        block=settings.block,
    )
    return MiningRecord(dataset, request.top, request.device)


def look(plan: Plan, run: Run) -> None:
    """Mine every block, put the blocks together, fetch the hits' pixels and project them back.

    Then compare the searches' pictures of the classes with the real images, if the plan says so. If a block failed, the
    rest waits for the next run. Raises DataError if too many images cannot be read.
    """
    from pipeline.compute.tops import put_together

    mined = mine_tasks(plan)
    run.compute(mined)
    tops = read_tops(plan, run.shards, run.report.set_aside)
    if tops is None:
        try:
            tops = put_together(plan, mined, run.shards, run.resources)
        except LookupError as missing:
            print(f"best images wait: {missing} failed; the same command tries again", file=sys.stderr)
            return
        run.shards.write(record_digest(tops_record(plan)), encode_tops(plan, tops))
    run.report.left_out = [f"{key}: {reason}" for key, reason in tops.skipped]
    run.compute(image_tasks(plan, tops.numbers))
    run.compute(backproject_tasks(plan, best_hits(plan, tops.layers)))
    for search in tested_searches(plan):
        run.compute([*memorisation_tasks(plan, search, run.shards, run.report.set_aside)])
    further = further_images(read_tests(plan, run.shards, run.report.set_aside))
    run.compute(all_image_tasks(plan, tops, further))


def _are_the_units(names: tuple[str, ...], card: NetworkCard) -> bool:
    """Whether the dataset's classes are the class layer's units, in their order."""
    if card.class_layer is None or not names:
        return False
    if len(names) != card.layer(card.class_layer).channels:
        return False
    known = [label.split(",")[0].strip().casefold() for label in card.labels]
    return not known or known == [name.split(",")[0].strip().casefold() for name in names]
