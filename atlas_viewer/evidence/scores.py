"""Scores: how a judge, the network itself or another one, classifies the pictures of a style or a run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import h5py
import numpy as np

from atlas_viewer.evidence.climb import scalar
from atlas_viewer.field import GENERAL, Attribute, Field, Group, members, subgroups

if TYPE_CHECKING:
    from atlas_viewer.layer import Layer

JUDGE = Group(
    "/layers/<layer>/scores/<judge>",
    "how a judge classifies the pictures: the network itself, or one that was not used to make them",
    (
        Attribute("judge", "text", "original name of the judge"),
        Attribute("judge_digest", "text", "SHA-256 of the judge's definition and weights, in hexadecimal"),
    ),
    (Field("labels", "text", ("judge_class",), "names of the judge's classes", required=False),),
    open=True,
    required=False,
)
SCORES = Group(
    "/layers/<layer>/scores/<judge>/<setting>",
    "the judge's classification of each picture of one style or run; rates are further attributes",
    (
        Attribute("pictures", "text", "the pictures of this layer that were judged: ascent/<style> or dgn/<run>"),
        Attribute("judged_pictures", "text", "SHA-256 of these pictures", required=False),
        Attribute("revision", "int", "revision of the program that judged them", required=False),
        Attribute("top1_rate", "float", "share of the judged pictures whose top-1 class is the target",
                  required=False),
        Attribute("top5_rate", "float", "share of the judged pictures with the target among the top-5 classes",
                  required=False),
    ),
    (
        Field("target", "i4", ("unit",),
              "the judge's class that corresponds to the unit; -1 for none"),
        Field("top1", "i4", ("unit", "sample"), "the judge's top-1 class; -1 for a picture that was not judged"),
        Field("top1_probability", "f4", ("unit", "sample"), "probability of the judge's top-1 class",
              "probability", required=False),
        Field("target_probability", "f4", ("unit", "sample"), "probability of the target", "probability"),
        Field("target_rank", "i4", ("unit", "sample"),
              "rank of the target among the classes; 0 is the top-1 class"),
    ),
    open=True,
    required=False,
)  # fmt: skip
GROUPS = (JUDGE, SCORES)


@dataclass(frozen=True)
class Scores:
    """The scores of one judge for the pictures of one style or run; arrays begin with (unit, sample)."""

    group: h5py.Group

    @classmethod
    def of(cls, layer: Layer) -> tuple[Scores, ...]:
        """The scores of every judge for every style and run of a layer."""
        groups = (group for judge in subgroups(layer.group, "scores") for _, group in members(judge))
        return tuple(cls(group) for group in groups if isinstance(group, h5py.Group))

    @property
    def pictures(self) -> str:
        """The pictures that were judged, as a path in their layer: ascent/<style> or dgn/<run>."""
        return str(self.group.attrs["pictures"])

    @cached_property
    def judge(self) -> str:
        """The judge's original name."""
        return str(self.group.parent.attrs["judge"])

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the judge's definition and weights."""
        return str(self.group.parent.attrs["judge_digest"])

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The names of the judge's classes; empty where they are not stored."""
        return tuple(self.group.parent["labels"].asstr()[...]) if "labels" in self.group.parent else ()

    @cached_property
    def rates(self) -> dict[str, str | int | float | bool]:
        """The rates over all judged pictures, by name."""
        names = sorted(set(self.group.attrs) - {*GENERAL, "pictures"})
        return {name: scalar(self.group.attrs[name]) for name in names}

    @cached_property
    def target(self) -> np.ndarray:
        """(unit,) the judge's class that corresponds to the unit, or -1."""
        return self.group["target"][...]

    @cached_property
    def top1(self) -> np.ndarray:
        """(unit, sample) the judge's top-1 class, or -1."""
        return self.group["top1"][...]

    @cached_property
    def target_probability(self) -> np.ndarray:
        """(unit, sample) probability of the target."""
        return self.group["target_probability"][...]

    @cached_property
    def target_rank(self) -> np.ndarray:
        """(unit, sample) rank of the target among the classes; 0 is the top-1 class."""
        return self.group["target_rank"][...]

    def correlation(self, activation: np.ndarray) -> tuple[float, int]:
        """Rank correlation of the judged pictures' activations (unit, sample) with the probabilities of their targets.

        Returns it with the number of pictures; see `rank_correlation`.
        """
        judged = np.isfinite(activation) & np.isfinite(self.target_probability) & (self.target >= 0)[:, None]
        return rank_correlation(activation[judged], self.target_probability[judged]), int(judged.sum())

    def name(self, number: int) -> str:
        """The judge's name of a class: its label, or its number."""
        return self.labels[number] if 0 <= number < len(self.labels) else f"class {number}"


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation of two arrays (n,); NaN for fewer than three pairs, or where one never varies."""
    if len(a) < 3 or (a == a[0]).all() or (b == b[0]).all():
        return math.nan
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """The rank of each value; equal values have the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def faults(file: h5py.File) -> Iterator[str]:
    """Contradictions between the scores of an open file and the pictures that were judged."""
    for scores in SCORES.within(file):
        layer, pictures = file["/".join(scores.name.split("/")[:3])], scores.attrs["pictures"]
        if pictures not in layer:
            yield f"{scores.name}: attribute pictures names {pictures!r}, which is missing"
        elif scores["top1"].shape != layer[pictures]["status"].shape:
            yield f"{scores.name}: units and samples are not those of {pictures}"
