"""Score how well the pictures of each unit tell the images that excite it most from those that excite it least."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from jobs.console import DONE, run_job
from jobs.folder import merge_atlas, output, stored_plan, stored_work, write_plan
from jobs.opening import same_images, same_network
from jobs.request import read_model, read_out
from jobs.settings_reader import names, plain, typed
from jobs.site import build_pages, read_site
from pipeline.errors import DataError, OutputError, nearest
from pipeline.methods.interpretability.settings import InterpretabilityRecord, TrialSettings
from pipeline.methods.interpretability.task import InterpretabilityTask
from pipeline.methods.tops.task import mining_of, top_units
from pipeline.plan import Plan
from pipeline.request import read_settings
from pipeline.store.shard import ShardFolder


def interpretability(config: DictConfig) -> int:
    """Score the units, store the scores in the atlas, print a table; return the exit code."""
    from pipeline.methods.interpretability.embedding import embedding_layer
    from pipeline.nets.open_network import open_network
    from pipeline.resources import Resources, prepare

    out, pages, settings = read_out(config), read_site(config), _read_trials(config)
    plan = stored_plan(out)
    mining = mining_of(plan)
    if mining is None:
        raise OutputError(
            f"{out}/atlas.h5: has no dataset, among whose images the score finds those that excite a unit most and "
            f"least; add one by make atlas DATASET=… OUT={out}"
        )
    model, network = same_network(config, plan, out)
    judge, dataset = open_network(read_model(config.judge, "judge"), where="judge"), mining.dataset
    embedding = typed(config.embedding, str, "embedding") if config.embedding is not None else embedding_layer(judge)
    judge.layer(embedding)
    about = {"name": dataset.name, "kind": dataset.kind, "digest": dataset.digest, "images": dataset.images}
    source = same_images(config.dataset, model, plan.card, **about)
    if source is None:
        raise DataError(f"{out}/atlas.h5: its dataset {dataset.name} is not at hand; name it by DATASET=…")
    device = prepare(mining.device)
    with output(out, config):
        plan = stored_plan(out)  # read again, now that the folder is locked
        work = stored_work(plan, out)
        merge_atlas(work, out)  # a stopped run may have left a plan with more than the atlas has
        tasks = _tasks(plan, out, config, judge, embedding, settings)
        _compute(tasks, out, plan, Resources(network, source), judge.to(device=device), device)
        plan = plan.asking("interpretability", [task.asked for task in tasks])
        write_plan(plan, out)
        merge_atlas(work.asking(plan), out)
        build_pages(out, pages)
    _print_table(out, judge.name, [task.asked.layer for task in tasks])
    return DONE


def _read_trials(config: DictConfig) -> TrialSettings:
    values = plain(config)
    fields = ("images", "trials", "shown", "temperature", "seed")
    return read_settings(TrialSettings, {name: values[name] for name in fields}, "interpretability")


def _layers(plan: Plan, config: DictConfig) -> list[str]:
    """The layers to score: those that are named, or all with best images."""
    there = [layer.name for layer in plan.layers() if top_units(plan, layer.name)]
    if config.layers is None:
        return there
    asked = names(config.layers)
    for layer in asked:
        if layer not in there:
            raise OutputError(
                f"layers: {layer} has no best images in this atlas{nearest(layer, there)}; it has {', '.join(there)}"
            )
    return [layer for layer in there if layer in asked]


def _tasks(
    plan: Plan, out: Path, config: DictConfig, judge: object, embedding: str, settings: TrialSettings
) -> list[InterpretabilityTask]:
    from pipeline.methods.interpretability.pictures import shown_pictures

    mining, tasks = mining_of(plan), []
    for layer in _layers(plan, config):
        asked = InterpretabilityRecord(
            judge=judge.name,  # type: ignore[attr-defined]
            judge_digest=judge.digest,  # type: ignore[attr-defined]
            embedding=embedding,
            layer=layer,
            units=plan.layer_units(layer),
            pictures=tuple((one.path, one.digest) for one in shown_pictures(out / "atlas.h5", plan, layer)),
            dataset=mining.dataset.digest,
            device=mining.device,
            settings=settings,
        )
        tasks.append(InterpretabilityTask(plan.card.digest, asked))
    return tasks


def _compute(
    tasks: Sequence[InterpretabilityTask], out: Path, plan: Plan, resources: object, judge: object, device: object
) -> None:
    """Compute the scores that neither the atlas nor a shard has."""
    from pipeline.methods.interpretability.compute import SampleImages, compute_interpretability, sample_maxima
    from pipeline.methods.interpretability.pictures import shown_pictures
    from pipeline.methods.interpretability.store import held_scores
    from pipeline.store.held import HeldAtlas

    shards, dataset, warned = ShardFolder(out / "shards"), mining_of(plan).dataset, []
    with HeldAtlas.open(out / "atlas.h5") as held:
        left = [task for task in tasks if held_scores(held, task.asked) is None]
    left = [task for task in left if shards.take(task.id, task.record(), warned) is None]
    for problem in warned:
        print(f"warning: {problem}", file=sys.stderr)
    if not left:
        return
    count = left[0].asked.settings.images
    print(f"activations of {min(count, dataset.images)} images of {dataset.name}", file=sys.stderr)
    images = SampleImages(dataset, resources)  # type: ignore[arg-type]
    maxima = sample_maxima(images, {task.asked.layer: task.asked.units for task in left}, count, device)  # type: ignore[arg-type]
    for number, task in enumerate(left, start=1):
        print(f"scores of {task.asked.layer}, layer {number} of {len(left)}", file=sys.stderr)
        pictures = shown_pictures(out / "atlas.h5", plan, task.asked.layer)
        shard = compute_interpretability(task, images, judge, maxima, pictures, device)  # type: ignore[arg-type]
        shards.write(task.id, shard)


def _print_table(out: Path, judge: str, layers: Sequence[str]) -> None:
    """The mean score and the share of right answers, of each layer and kind of pictures."""
    from atlas_viewer.atlas import Atlas
    from atlas_viewer.evidence.interpretability import reading_order

    with Atlas(out / "atlas.h5") as atlas:
        scores = {layer: atlas[layer].interpretability[judge] for layer in layers}
        shown = reading_order(name for one in scores.values() for name in one.pictures)
        width = max(map(len, ("pictures", *shown)), default=0)
        print(f"{'pictures':{width}}" + "".join(f"  {layer:>12.12}" for layer in layers))
        for name in shown:
            cells = [f"{one.mean(name):.3f}" if name in one.pictures else "" for one in scores.values()]
            print(f"{name:{width}}" + "".join(f"  {cell:>12}" for cell in cells))
    print(f"0.5 is chance; stored in {out}/atlas.h5 under interpretability/", file=sys.stderr)


if __name__ == "__main__":
    run_job(interpretability, "interpretability", __doc__)
