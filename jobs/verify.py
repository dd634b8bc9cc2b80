"""Find damage in an atlas by the digests that it keeps, and recompute a sample of it from its network and dataset."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from jobs.console import DONE, run_job
from jobs.opening import network_settings, same_images
from jobs.request import read_out
from jobs.settings_reader import typed
from pipeline.errors import AtlasError, OutputError, WeightsError
from pipeline.settings import ModelSettings, check

if TYPE_CHECKING:
    from atlas_viewer.atlas import Atlas
    from pipeline.data.source import ImageSource
    from pipeline.nets.network import Network

DAMAGED = 1
SEEDS = 1_000_000


def verify(config: DictConfig) -> int:
    """Print a line for each fault; return the exit code, 1 if there are any."""
    from atlas_viewer.verify import faults

    out, (count, seed) = read_out(config), _read_sample(config)
    if not (out / "atlas.h5").is_file():
        raise OutputError(f"{out}/atlas.h5: not found; make it with make atlas OUT={out}, or name another with OUT=…")
    found = 0
    for fault in faults(out / "atlas.h5"):
        print(f"{out}/atlas.h5: {fault}")
        found += 1
    if count and not found:
        found = _recompute(config, out, count, seed)
    elif count:
        print(f"{out}/atlas.h5: nothing is computed again before this damage is mended", file=sys.stderr)
    print(f"{out}/atlas.h5: {found} faults" if found else f"{out}/atlas.h5: as it was written", file=sys.stderr)
    return DAMAGED if found else DONE


def _read_sample(config: DictConfig) -> tuple[int, int]:
    count = typed(config.recompute, int, "recompute")
    check("recompute", count, "0 or more", count >= 0)
    seed = secrets.randbelow(SEEDS) if config.seed is None else typed(config.seed, int, "seed")
    check("seed", seed, "0 or more", seed >= 0)
    return count, seed


def _recompute(config: DictConfig, out: Path, count: int, seed: int) -> int:
    """Compute a sample again, and print a line for each kind and each fault; return the number of faults."""
    from atlas_viewer.atlas import Atlas
    from pipeline.recomputation import REASONS, recompute

    faults = 0
    with Atlas(out / "atlas.h5") as atlas:
        opened = _open_network(config, atlas)
        if opened is None:
            return 0
        settings, network = opened
        source = _open_images(config, atlas, settings, network)
        packages = ", ".join(atlas.packages.splitlines())
        remedy = f"compute it again in another folder, with the packages that it names ({packages})"
        print(f"computed again: {count} of each kind, drawn with seed={seed}, by {atlas.cited}")
        for one in recompute(atlas, network, source, count, seed):
            print(
                f"{one.kind}: {len(one.compared)} of {one.stored}, largest deviation {one.largest:.2g} {one.measure}, "
                f"allowed {one.allowed:g} ({REASONS[one.measure]})"
            )
            for fault in one.faults:
                print(
                    f"{out}/atlas.h5: {fault.place}: {fault.about}, deviation {fault.deviation:.2g} {one.measure}; "
                    f"its digest is right, so it was written so; {remedy}"
                )
            faults += len(one.faults)
    return faults


def _open_network(config: DictConfig, atlas: Atlas) -> tuple[ModelSettings, Network] | None:
    """The network that the atlas names, or that MODEL names; None, with a line, where the former is not at hand."""
    from pipeline.nets.open_network import locate, open_network

    named = config.get("model") is not None
    why = f"conf/model has no {atlas.model}"
    settings = network_settings(config, atlas.model)
    if settings is not None:
        absent = [] if named else [str(file.path) for file in locate(settings) if not file.present]
        if not absent:
            try:
                network = open_network(settings)
            except AtlasError:
                if named:
                    raise
                absent = [settings.name]
            else:
                if network.digest == atlas.digest:
                    return settings, network
                why = f"{network.name} has digest {network.digest[:12]}"
        why = f"{', '.join(absent)} is not here" if absent else why
    line = f"{atlas.path}: its network {atlas.cited} is not at hand ({why})"
    if named:
        raise WeightsError(f"{line}; name the atlas's own network by MODEL=…")
    print(f"{line}, so nothing is computed again; name it by MODEL=…", file=sys.stderr)
    return None


def _open_images(config: DictConfig, atlas: Atlas, model: ModelSettings, network: Network) -> ImageSource | None:
    """The images of the atlas's dataset; None, with a line, where it has one that is not at hand."""
    from pipeline.nets.network_card import network_card

    dataset = atlas.dataset
    if dataset is None:
        return None
    about = {"name": dataset.name, "kind": dataset.kind, "digest": dataset.digest, "images": dataset.images}
    source = same_images(config.dataset, model, network_card(network), **about)
    if source is not None:
        return source
    left_out = "images are not compared with it" if dataset.has_pixels else "hits are not computed again"
    print(
        f"{atlas.path}: its dataset {dataset.name} is not at hand, so {left_out}; name it by DATASET=…", file=sys.stderr
    )
    return None


if __name__ == "__main__":
    run_job(verify, "verify", __doc__)
