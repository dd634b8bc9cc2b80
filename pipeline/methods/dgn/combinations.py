"""Select the units that a request wants to excite together."""

from __future__ import annotations

import itertools

import numpy as np

from pipeline.card import NetworkCard
from pipeline.errors import SettingsError
from pipeline.methods.dgn.settings import CombinationRecord, CombinationSettings, RunRecord
from pipeline.units import Member, Members, split_address, unit_number


def select_combination(
    card: NetworkCard, name: str, settings: CombinationSettings, run: RunRecord
) -> CombinationRecord:
    """The set of combinations that the settings describe. The run's seed decides its random pairs.

    Raises UnitError with the nearest match for an unknown unit, SettingsError for an invalid set.
    """
    where = f"combinations.{name}"
    default = card.class_layer if settings.layer is None else settings.layer
    items: dict[tuple[str | None, Members], None] = {}  # an ordered set
    for address in settings.units:
        layer, text = split_address(card, address)
        layer, text = (default, address) if text == "*" else (layer, text)
        items[layer, _members(card, where, layer, text)] = None
    if settings.random:
        drawn = _random_pairs(card, where, default, settings.random, run.seed)
        items |= dict.fromkeys((default, pair) for pair in drawn)
    layers = sorted({layer for layer, _ in items if layer is not None})
    if len(layers) != 1:
        got = f"layers {', '.join(layers)}" if layers else "no units"
        raise SettingsError(f"{where}: got {got}, expected units of one layer; give units=[fc8:3+7] or random=50")
    return CombinationRecord(
        name, layers[0], tuple(members for _, members in items), settings.balance, settings.samples, run
    )


def _members(card: NetworkCard, where: str, layer: str | None, text: str) -> Members:
    """The units of "a+b" or "2*a+b" with their weights. Raises SettingsError for a unit that is named twice."""
    if layer is None:
        raise SettingsError(f"{where}: {text} names no layer and there is no class layer; write layer:unit+unit")
    members: dict[int, float] = {}
    for part in text.split("+"):
        unit, weight = _member(card, where, layer, part.strip())
        if unit in members:
            raise SettingsError(f"{where}: {text} has unit {unit} twice; name every unit once")
        members[unit] = weight
    return tuple(members.items())


def _member(card: NetworkCard, where: str, layer: str, text: str) -> Member:
    factor, star, unit = text.rpartition("*")
    try:
        weight = float(factor) if star else 1.0
    except ValueError:
        raise SettingsError(f"{where}: {factor!r} of {unit} is not a weight; write for example 0.5*{unit}") from None
    return unit_number(card, card.layer(layer), unit.strip()), weight


def _random_pairs(card: NetworkCard, where: str, layer: str | None, count: int, seed: int) -> list[Members]:
    """`count` different pairs of different units, in the order in which they are drawn."""
    if layer is None:
        raise SettingsError(f"{where}.layer: there is no class layer to draw pairs from; set {where}.layer=…")
    channels = card.layer(layer).channels
    pairs = list(itertools.combinations(range(channels), 2)) if channels < 200 else None
    possible = channels * (channels - 1) // 2
    if count > possible:
        raise SettingsError(f"{where}.random: got {count}, but {layer} has {possible} pairs; ask for fewer")
    random = np.random.RandomState(seed)
    if pairs is not None:
        chosen = [pairs[at] for at in random.permutation(possible)[:count]]
    else:
        drawn: dict[tuple[int, int], None] = {}
        while len(drawn) < count:
            first, second = sorted(random.randint(0, channels, 2).tolist())
            if first != second:
                drawn[first, second] = None
        chosen = list(drawn)
    return [((first, 1.0), (second, 1.0)) for first, second in chosen]
