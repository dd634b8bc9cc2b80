"""How class pictures through priors are compared with real images."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.plan import NamedSettings
from pipeline.settings import check


@dataclass(frozen=True)
class MemorisationSettings(NamedSettings):
    """How the class pictures of a run are compared with the real images of their class.

    samples : number of pictures of a class that are compared, the first ones; 0 for none.
    images : maximum number of images of a class, chosen by hash.
    typical : maximum number of these images from which the typical distance is computed.
    """

    samples: int
    images: int
    typical: int

    name = "test"  # an atlas has one; the latest request counts

    def __post_init__(self) -> None:
        for name, least in (("samples", 0), ("images", 1), ("typical", 1)):
            check(f"memorisation.{name}", getattr(self, name), f"{least} or more", getattr(self, name) >= least)
