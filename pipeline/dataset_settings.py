"""Which images are mined, and how they become the network's input."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from pipeline.errors import SettingsError
from pipeline.records import number
from pipeline.settings import check, check_choice

DATASETS = ("folder", "list", "tar", "imagenet", "doodles")
NETWORK = "network"  # `classes` of a dataset whose classes are the network's
PREPROCESSES = ("squash", "short_side", "resize", "pad")


@dataclass(frozen=True)
class DatasetSettings:
    """Which images are read, and how they become the network's input.

    kind : "folder", "list", "tar", "imagenet" or "doodles".
    name : name in the atlas; None for the last part of `root`.
    root : folder, list file, or tar or zip file (or a glob of several); None for doodles.
    labels : text, CSV or JSON files, each with either labels (image, class) or class names (class, name); None where
        folders name the classes, or for images without classes.
    classes : "network" if the classes are the network's, by name or by number; None if they are only where all names
        agree.
    limit : maximum number of images; None for all.
    preprocess : "squash", "short_side", "resize" or "pad".
    reduced_decoding : whether the JPEG decoder may scale down.
    bad_share : share of the images that may be unreadable before a run stops.
    block : images per task.
    seed, count, size : of doodles; ignored for other kinds.
    """

    kind: str
    name: str | None
    root: str | None
    labels: str | tuple[str, ...] | None
    classes: str | None
    limit: int | None
    preprocess: str
    reduced_decoding: bool
    bad_share: float
    block: int
    seed: int
    count: int
    size: int

    def __post_init__(self) -> None:
        check_choice("dataset", self.kind, DATASETS)
        check_choice("dataset.preprocess", self.preprocess, PREPROCESSES)
        if self.root is None and self.kind != "doodles":
            raise SettingsError(f"dataset.root: missing for dataset={self.kind}; give it by dataset.root=…")
        if self.kind == "doodles" and (self.root is not None or self.labels is not None):
            name = "root" if self.root is not None else "labels"
            raise SettingsError(f"dataset.{name}: doodles are drawn and read no files; remove it, or set DATASET=…")
        if self.classes is not None:
            check_choice("dataset.classes", self.classes, (NETWORK,))
        if self.limit is not None:
            check("dataset.limit", self.limit, "1 or more", self.limit >= 1)
        check("dataset.bad_share", self.bad_share, "[0, 1]", 0 <= self.bad_share <= 1)
        check("dataset.seed", self.seed, "0 or more", self.seed >= 0)
        for name, least in (("block", 1), ("count", 1), ("size", 16)):
            check(f"dataset.{name}", getattr(self, name), f"{least} or more", getattr(self, name) >= least)
        if not self.title or "/" in self.title:
            raise SettingsError(f"dataset.name: got {self.title!r}, expected a name without /; set dataset.name=…")

    @property
    def title(self) -> str:
        """The dataset's name in the atlas; never a path of this machine."""
        if self.name is not None:
            return self.name
        parts = [part for part in (self.root or self.kind).split("/") if part not in ("", ".", "..", "~")]
        plain = [part for part in parts if not any(letter in part for letter in "*?[{")]
        last = plain[-1] if plain else self.kind
        packed = self.kind in ("list", "tar") or last.lower().endswith((".tar", ".zip"))
        return last.rsplit(".", 1)[0] if packed and "." in last[1:] else last

    def anywhere(self) -> DatasetSettings:
        """The same dataset for machines that work in other directories: with an absolute root."""
        if self.root is None:
            return self
        return replace(self, name=self.title, root=os.path.abspath(os.path.expanduser(self.root)))

    @property
    def label_files(self) -> tuple[str, ...]:
        if self.labels is None:
            return ()
        return (self.labels,) if isinstance(self.labels, str) else self.labels


@dataclass(frozen=True)
class DatasetRecord:
    """Everything about a dataset that decides results, and when the dataset is refused.

    images : number of images.
    classes : class names, by class number.
    ordered : whether the classes are the units of the class layer, in the same order, by their names or because the
        user says so.
    bad_share : as in DatasetSettings. It decides no result, so a plan may have it changed.
    """

    name: str
    kind: str
    digest: str
    images: int
    classes: tuple[str, ...]
    ordered: bool
    preprocess: str
    reduced_decoding: bool
    bad_share: float = number(recorded=False, absent=0.01)
    block: int

    def reading(self) -> dict[str, object]:
        """The fields that decide which pixels the network reads of an image."""
        return {name: getattr(self, name) for name in ("digest", "preprocess", "reduced_decoding")}
