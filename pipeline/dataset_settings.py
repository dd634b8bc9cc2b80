"""Which images are looked at, and what is kept of them for every unit."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import SettingsError
from pipeline.settings import check, check_choice

DATASETS = ("folder", "list", "tar", "imagenet", "doodles")
TWIN = 0.98  # |correlation| from which on the nearest unit counts as a near-duplicate
PREPROCESSES = ("squash", "short_side", "resize", "pad")


@dataclass(frozen=True)
class DatasetSettings:
    """Which images are looked at, and how they become the network's input.

    kind : "folder", "list", "tar", "imagenet" or "doodles". name : in the atlas, None for the last part of `root`.
    root : folder, list file, or tar file (a glob for shards); None for doodles. labels : text or CSV files, each
    either of labels (image, class) or of class names (class, name); None where folders say the class, or nothing.
    limit : images at most. preprocess : "squash", "short_side", "resize" or "pad". reduced_decoding : let the JPEG
    decoder scale down. bad_share : of images that may be unreadable before a run stops.
    block : images of one task. seed, count, size : of doodles; unused by the rest.
    """

    kind: str
    name: str | None
    root: str | None
    labels: str | tuple[str, ...] | None
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
        """What the atlas calls the dataset; never a path of the machine."""
        if self.name is not None:
            return self.name
        parts = [part for part in (self.root or self.kind).split("/") if part not in ("", ".", "..", "~")]
        plain = [part for part in parts if not any(letter in part for letter in "*?[")]
        last = plain[-1] if plain else self.kind
        return last.rsplit(".", 1)[0] if self.kind in ("list", "tar") and "." in last[1:] else last

    @property
    def label_files(self) -> tuple[str, ...]:
        if self.labels is None:
            return ()
        return (self.labels,) if isinstance(self.labels, str) else self.labels


@dataclass(frozen=True)
class TopSettings:
    """What is kept of a dataset for every unit.

    k : best images of a unit. smallest : also the k images with the smallest maxima. own_class : for the class layer
    also the k best of each unit's own class. quantiles : also k images evenly spaced over the maxima of a sample.
    positions : statistics of all positions too, not of the images' maxima alone. sample : images at most from which
    quantiles and correlations come. rules : back-projections of the best images, of "deconvnet", "gradient", "guided";
    whole_image_rules : the same where the window is (nearly) the whole image. lrn : "derivative", or "ignore" to let
    deconvnet's signal past normalisation unchanged. pixels : "stored", or "pointers" to keep keys and windows only.
    batch : images of one forward pass.
    """

    k: int
    smallest: bool
    own_class: bool
    quantiles: bool
    positions: bool
    sample: int
    rules: tuple[str, ...]
    whole_image_rules: tuple[str, ...]
    lrn: str
    pixels: str
    batch: int

    def __post_init__(self) -> None:
        check("top.k", self.k, "1 or more", self.k >= 1)
        check("top.sample", self.sample, "2 or more", self.sample >= 2)
        check("top.batch", self.batch, "1 or more", self.batch >= 1)
        for rule in (*self.rules, *self.whole_image_rules):
            check_choice("top.rules", rule, ("deconvnet", "gradient", "guided"))
        check_choice("top.lrn", self.lrn, ("derivative", "ignore"))
        check_choice("top.pixels", self.pixels, ("stored", "pointers"))

    def mined(self) -> dict[str, object]:
        """What decides the pass over the dataset."""
        names = ("k", "smallest", "own_class", "quantiles", "positions", "sample")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class MemorisationSettings:
    """How a search's pictures of the classes are compared with the real images of their class.

    samples : pictures of a class that are compared, the first ones; 0 for none. images : of a class at most, chosen by
    hash. typical : of these, at most, whose distance to the nearest other one makes the typical distance.
    """

    samples: int
    images: int
    typical: int

    def __post_init__(self) -> None:
        for name, least in (("samples", 0), ("images", 1), ("typical", 1)):
            check(f"memorisation.{name}", getattr(self, name), f"{least} or more", getattr(self, name) >= least)
