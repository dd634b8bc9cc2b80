"""A judge's verdicts on stored pictures. A judge is a network that took no part in making them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.errors import SettingsError
from pipeline.methods.scores.pictures import StoredPictures
from pipeline.methods.scores.task import ScoreTask
from pipeline.nets.network import Network
from pipeline.store.shard import encode_shard

BATCH = 64  # pictures judged at a time; they do not affect one another


def score(task: ScoreTask, judge: Network, pictures: StoredPictures, packages: Sequence[str]) -> bytes:
    """The shard of a score: the judge's verdicts on the task's pictures.

    packages : versions of the packages that compute it, as "name version".
    """
    verdicts = judge_pictures(judge, pictures.pixels, pictures.shown, task.asked.classes)
    arrays = {"target": np.array(task.asked.classes, np.int32), **vars(verdicts)}
    return encode_shard(task.record(), arrays, {"labels": list(judge.labels), "packages": list(packages)})


@dataclass(frozen=True)
class Verdicts:
    """A judge's verdicts on pictures, axes (unit, sample); −1 and NaN without a picture or a class.

    top1 : the judge's first class.
    target_rank : rank of the target among the classes, from 0.
    """

    top1: np.ndarray
    top1_probability: np.ndarray
    target_probability: np.ndarray
    target_rank: np.ndarray


def judge_pictures(judge: Network, pixels: np.ndarray, shown: np.ndarray, targets: Sequence[int]) -> Verdicts:
    """The judge's verdicts on pictures of class units.

    pixels : uint8 (unit, sample, y, x, rgb).
    shown : bool (unit, sample), which pictures exist.
    targets : of each unit, the number of its class in the judge, or −1.
    """
    grid = shown.shape
    verdicts = Verdicts(
        np.full(grid, -1, np.int32),
        np.full(grid, np.nan, np.float32),
        np.full(grid, np.nan, np.float32),
        np.full(grid, -1, np.int32),
    )
    places = [(row, sample) for row, sample in np.argwhere(shown) if targets[row] >= 0]
    for start in range(0, len(places), BATCH):
        chosen = places[start : start + BATCH]
        values = class_values(judge, np.stack([pixels[place] for place in chosen]))
        shares = torch.softmax(torch.from_numpy(values), dim=1).numpy()
        for place, value, share in zip(chosen, values, shares, strict=True):
            target = targets[place[0]]
            verdicts.top1[place] = first = int(value.argmax())
            verdicts.top1_probability[place] = share[first]
            verdicts.target_probability[place] = share[target]
            verdicts.target_rank[place] = int((value > value[target]).sum())
    return verdicts


def class_values(judge: Network, pixels: np.ndarray) -> np.ndarray:
    """Values of the judge's class layer, float64 (picture, class). pixels : uint8 (picture, y, x, rgb)."""
    if judge.class_layer is None:
        raise SettingsError(f"judge {judge.name}: has no class layer; name it by judge.class_layer=…")
    size = judge.preprocessing
    if pixels.shape[1:3] != (size.height, size.width):
        pixels = size.fitted(pixels)
    with torch.no_grad():
        values = judge.run(torch.from_numpy(size.centred(pixels)), [judge.class_layer])[judge.class_layer]
    return values.flatten(1).double().numpy()


def matching_classes(labels: Sequence[str], judge: Network) -> list[int]:
    """For each label, the judge's class of the same name, or −1. Raises SettingsError if no name is shared."""
    numbers = {_plain(label): number for number, label in reversed(list(enumerate(judge.labels)))}
    classes = [numbers.get(_plain(label), -1) for label in labels]
    if all(number < 0 for number in classes):
        raise SettingsError(
            f"judge {judge.name}: shares no class name with the pictures' labels; name a judge that has them by "
            f"JUDGE=…, or give labels to both models by model.labels=… and judge.labels=…"
        )
    return classes


def _plain(label: str) -> str:
    return label.split(",")[0].strip().casefold()
