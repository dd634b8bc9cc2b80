"""The classes of a dataset as those of a network: numbered as its units, and with its names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.card import NetworkCard
from pipeline.class_names import ClassNames, number, place_of, spellings
from pipeline.data.source import NO_LABEL, ImageSource
from pipeline.errors import DataError, SettingsError, nearest


def with_network_classes(source: ImageSource, card: NetworkCard) -> ImageSource:
    """The images with the units of the network's class layer as their classes, as the user says that they are.

    A class is the unit that has its name, else, if the classes are numbers, the unit of that number, else, if there are
    as many classes as units and none has the name of another unit, the unit in its place.

    Raises SettingsError for a network without a class layer, and DataError for a class that is no unit.
    """
    if card.class_layer is None:
        raise SettingsError(
            f"dataset.classes: got network, but {card.name} has no class layer; name it by model.class_layer=…"
        )
    index, units = source.index, card.layer(card.class_layer).channels
    present = np.unique(index.labels[index.labels != NO_LABEL]).tolist()
    if not present:
        raise DataError(
            f"dataset.classes: got network, but the images of {source.name} have no classes; give them by "
            "dataset.labels=…, or leave dataset.classes out"
        )
    labels = card.labels if card.labels else tuple(str(unit) for unit in range(units))
    places = spellings(ClassNames(labels, labels, tuple(range(len(labels))))) if card.labels else {}
    count = len(index.class_ids)
    named = [_named(index.class_ids[at], index.class_names[at], places) for at in range(count)]
    whole = [number(name) for name in index.class_ids]
    if all(named[at] is not None for at in present):
        unit_of = named
    elif all(isinstance(whole[at], int) for at in present):
        unit_of = whole  # type: ignore[assignment]
    elif count == units and all(named[at] in (None, at) for at in range(count)):
        unit_of = [*range(units)]
    else:
        strange = [at for at in present if named[at] is None]
        unknown = index.class_names[min(strange, key=lambda at: isinstance(whole[at], int))]
        raise DataError(
            f"dataset.classes: got network, but class {unknown!r} of {source.name} is none of {card.name}'s {units}"
            f"{nearest(unknown, [*places])}; give the names by dataset.labels=… and model.labels=…, or leave "
            "dataset.classes out"
        )
    outside = [unit_of[at] for at in present if not 0 <= unit_of[at] < units]  # type: ignore[operator]
    if outside:
        raise DataError(
            f"dataset.classes: got network, but class {outside[0]} of {source.name} is none of {card.name}'s {units}, "
            f"expected 0 to {units - 1}; number the classes from 0, or leave dataset.classes out"
        )
    table = np.full(count + 1, NO_LABEL, np.int32)  # the last entry is that of NO_LABEL
    table[present] = [unit_of[at] for at in present]
    return replace(source, index=replace(index, labels=table[index.labels], class_ids=labels, class_names=labels))


def with_network_names(source: ImageSource, classes: ClassNames) -> ImageSource:
    """The images with classes that are wnids named as the network names them; unchanged if it does not know them all.

    classes : of the network.
    """
    index = source.index
    names = dict(zip(classes.ids, classes.names, strict=True)) if classes.has_wnids else {}
    if not index.class_ids or index.class_names != index.class_ids or not set(index.class_ids) <= set(names):
        return source
    return replace(source, index=replace(index, class_names=tuple(names[each] for each in index.class_ids)))


def _named(identifier: str, name: str, places: dict[str, int]) -> int | None:
    """The unit that has the name of a class, or its id."""
    place = place_of(name, places)
    return place_of(identifier, places) if place is None else place
