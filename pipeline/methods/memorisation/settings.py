"""How pictures of the classes through priors are compared with real images."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.plan import Asked
from pipeline.settings import check


@dataclass(frozen=True)
class MemorisationSettings(Asked):
    """How a run's pictures of the classes are compared with the real images of their class.

    samples : pictures of a class that are compared, the first ones; 0 for none.
    images : of a class at most, chosen by hash.
    typical : of these at most, whose distance to the nearest other one makes the typical distance.
    """

    samples: int
    images: int
    typical: int

    name = "test"  # an atlas has one; what was asked last counts

    def __post_init__(self) -> None:
        for name, least in (("samples", 0), ("images", 1), ("typical", 1)):
            check(f"memorisation.{name}", getattr(self, name), f"{least} or more", getattr(self, name) >= least)
