"""What decides the pictures of a search, as values that a plan and its tasks carry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from pipeline.card import NetworkCard
from pipeline.errors import SettingsError
from pipeline.records import Record
from pipeline.search_settings import SearchSettings
from pipeline.settings import DeviceSettings

Member = tuple[int, float]  # a unit and the weight of its activation
Members = tuple[Member, ...]


@dataclass(frozen=True)
class PriorCard:
    """A prior without its weights. macs, bytes : of the generator's forward pass and of its maps, for one code."""

    name: str
    digest: str
    network: str
    network_digest: str
    code_layer: str
    code_shape: tuple[int, ...]
    rectified: bool
    height: int
    width: int
    order: str
    macs: int
    bytes: int

    @property
    def entries(self) -> int:
        """Numbers of a code."""
        total = 1
        for length in self.code_shape:
            total *= length
        return total

    def check_fits(self, card: NetworkCard) -> None:
        """Raise SettingsError unless the network can read the prior's images."""
        where = f"prior {self.name}: for {card.name}"
        if self.height < card.height or self.width < card.width:
            raise SettingsError(
                f"{where}, its images of {self.height} x {self.width} pixels are smaller than the network's input of "
                f"{card.height} x {card.width}; choose another by priors=[…]"
            )
        if (self.order == "L") != (card.order == "L"):
            raise SettingsError(
                f"{where}, its images have channels {self.order}, the network reads {card.order}; choose another by "
                f"priors=[…]"
            )


@dataclass(frozen=True)
class SearchRecord:
    """All that decides a search's pictures. start_code : SHA-256 of the code of the start image, or None."""

    name: str
    prior: PriorCard
    settings: SearchSettings
    start_code: str | None
    seed: int
    device: DeviceSettings

    def record(self) -> Record:
        """Plain JSON values; what the image file is called decides nothing."""
        values = json.loads(json.dumps(asdict(self)))
        del values["settings"]["image"]
        if not self.settings.jitter:  # as it was before there was any
            del values["settings"]["jitter"]
        return values

    @classmethod
    def of_record(cls, record: Mapping[str, Mapping]) -> SearchRecord:
        prior, settings = dict(record["prior"]), dict(record["settings"])
        prior["code_shape"] = tuple(prior["code_shape"])
        settings.setdefault("jitter", 0.0)
        settings["image"] = "" if settings["start"] == "image" else None
        return cls(
            name=record["name"],  # type: ignore[arg-type]
            prior=PriorCard(**prior),
            settings=SearchSettings(**settings),
            start_code=record["start_code"],  # type: ignore[arg-type]
            seed=int(record["seed"]),  # type: ignore[call-overload]
            device=DeviceSettings(**record["device"]),
        )


@dataclass(frozen=True)
class CombinationRecord:
    """A set of combinations. items : the units of one layer, with weights, that are excited together."""

    name: str
    layer: str
    items: tuple[Members, ...]
    balance: float
    samples: int
    search: SearchRecord

    def record(self) -> Record:
        """Plain JSON values."""
        values = {"name": self.name, "layer": self.layer, "balance": self.balance, "samples": self.samples}
        items = [[list(member) for member in members] for members in self.items]
        return {**values, "items": items, "search": self.search.record()}

    @classmethod
    def of_record(cls, record: Mapping) -> CombinationRecord:
        items = tuple(tuple((int(unit), float(weight)) for unit, weight in members) for members in record["items"])
        return cls(
            record["name"],
            record["layer"],
            items,
            float(record["balance"]),
            int(record["samples"]),
            SearchRecord.of_record(record["search"]),
        )
