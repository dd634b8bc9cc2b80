"""Connections: which units of a layer below a unit depends on most. They follow from the weights, without any task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.methods.method import Method
from pipeline.plan import NamedSettings, Plan
from pipeline.task import Task
from pipeline.work import Work

CONNECTIONS_REVISION = 1  # raise it when the numbers that are stored change
LINKS = 8  # connections of a unit with one other layer that are stored
# What a strength is, in words; of a product, with what the mean is over.
WEIGHT = "the weight alone, because no images were evaluated"
PRODUCT = "weight × mean positive activation of the unit below, over {}"
OF_CLASS = "weight × mean activation of the unit below over the images of the class, the largest in each"
POSITIONS, IMAGES = "all positions that were counted", "the largest activations of the images"


@dataclass(frozen=True)
class Links:
    """The strongest connections of all units of a layer with another layer, arrays (unit, link), strongest first.

    other : the other layer.
    direction : "incoming" if it lies below, else "outgoing".
    meaning : what a strength is, in words.
    linked : units of the other layer, −1 for none.
    """

    other: str
    direction: str
    meaning: str
    linked: np.ndarray
    weight: np.ndarray
    strength: np.ndarray


@dataclass(frozen=True)
class Activity:
    """The activations of a layer that strengths are made of. The values are at least zero.

    mean : (unit,) mean positive activation.
    words : what the mean is over.
    by_class : (unit, class) mean over the images of each class of the network, NaN without images; None if the dataset
        has no such classes.
    """

    mean: np.ndarray
    words: str
    by_class: np.ndarray | None = None


class Connections(Method):
    """The connections of every pair of layers of an atlas that one layer of weights joins.

    They are read off the weights whenever a network is open, which takes less than a second, and again when a dataset
    was evaluated since.
    """

    name, setting, requested, stated = "connections", NamedSettings, False, False
    after = ("tops",)

    def stages(self, work: Work) -> Iterator[Sequence[Task]]:
        if work.resources is not None:
            layers, activity = [layer.name for layer in work.plan.layers()], _activity(work)
            work.results[self.name] = self.part("weights").strongest_links(work.resources.network, layers, activity)
        yield from ()


CONNECTIONS = Connections()


def _activity(work: Work) -> dict[str, Activity]:
    """The activity of each layer that images were evaluated for."""
    result = work.results.get("tops")
    if result is None:
        return {}
    classes = _network_classes(work.plan)
    return {name: mean_activity(arrays.statistics, classes) for name, arrays in result.layers.items()}


def _network_classes(plan: Plan) -> bool:
    """Whether the classes of the dataset are those of the network."""
    mining = plan.settings.get("tops", {}).get("dataset")
    return mining is not None and mining.dataset.ordered


def mean_activity(statistics: Mapping[str, np.ndarray], classes: bool) -> Activity:
    """The mean positive activation of each unit, from the statistics of its layer.

    Of a unit without negative values it is the mean; else it is read off the histogram, whose bins are a quarter of an
    octave wide, with the geometric middle of each.
    classes : whether the classes of the dataset are those of the network.
    """
    what, words = ("position", POSITIONS) if "position_mean" in statistics else ("image", IMAGES)
    least, most = (statistics[f"{what}_{end}"].astype(float) for end in ("min", "max"))
    counts = statistics[f"{what}_histogram"].astype(float)
    low, high = np.maximum(statistics["edge"][:-1], 0), statistics["edge"][1:]
    middle = np.sqrt(low * np.minimum(high, np.nan_to_num(most, posinf=0)[:, None]).clip(low))
    positive = (counts * middle).sum(axis=1) / np.maximum(counts.sum(axis=1), 1)
    mean = np.where(least >= 0, statistics[f"{what}_mean"], positive)
    by_class = statistics.get("class_mean") if classes else None
    return Activity(np.nan_to_num(mean).clip(0), words, None if by_class is None else by_class.clip(0))
