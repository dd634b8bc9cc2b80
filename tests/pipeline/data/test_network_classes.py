"""A dataset's classes become the network's when the user says so: by name, by number, or in their order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cards import network_card
from given_files import labels_of, put, settings

from pipeline.class_names import ClassNames, disagreement
from pipeline.data.network_classes import with_network_names
from pipeline.data.open_source import open_source
from pipeline.errors import DataError, SettingsError
from pipeline.label_files import parse_classes

CARD = network_card()  # goldfish, Carassius auratus; tench; school bus; <b>odd</b>
NAMELESS = replace(CARD, labels=())


@pytest.fixture
def asked(tmp_path):
    """Opens images with these classes, given by a list or by folders, as those of a network."""

    def open_with(classes, card=CARD, by="list", **changes):
        names = [f"{value}/{at}.png" if by == "folders" else f"{at}.png" for at, value in enumerate(classes)]
        root = put(tmp_path / "p", *names)
        if by == "list":
            (root / "l.csv").write_text("image,label\n" + "".join(f"{at}.png,{v}\n" for at, v in enumerate(classes)))
        given = settings("list" if by == "list" else "folder", root / "l.csv" if by == "list" else root,
                         classes="network", **changes)  # fmt: skip
        return open_source(given, cache=tmp_path / "cache", card=card)

    return open_with


@pytest.mark.parametrize("by", ["list", "folders"])
@pytest.mark.parametrize(
    ("classes", "card", "units"),
    [
        (["tench", "goldfish"], CARD, [1, 0]),
        (["Tench", "school_bus", "Goldfish"], CARD, [1, 2, 0]),
        (["3", "1"], CARD, [3, 1]),
        (["3.0", "1.0", "0.0"], NAMELESS, [3, 1, 0]),
        (["003", "001"], NAMELESS, [3, 1]),
        (["2", "2"], NAMELESS, [2, 2]),
        (["-1", "2", "0"], NAMELESS, [-1, 2, 0]),
        (["ant", "bee", "cat", "dog"], NAMELESS, [0, 1, 2, 3]),  # as many as units
        (["ant", "bee", "school bus", "tench"], replace(CARD, labels=("a", "b", "School bus", "t")), [0, 1, 2, 3]),
    ],
)
def test_classes_are_the_units_that_they_name(asked, by, classes, card, units):
    if by == "folders":
        classes, units = zip(*sorted(zip(classes, units, strict=True)), strict=True)
    source = asked(classes, card, by)
    order = np.argsort([int(key.rsplit("/")[-1].split(".")[0]) for key in source.index.keys])
    assert source.index.labels[order].tolist() == [*units]
    assert source.index.class_names == (card.labels if card.labels else ("0", "1", "2", "3"))


@pytest.mark.parametrize(
    ("classes", "card", "said"),
    [
        (["4", "0"], NAMELESS, "class 4 of l is none of toy's 4, expected 0 to 3"),
        (["-2", "0"], NAMELESS, "class -2 of l is none"),
        (["1", "2", "3", "4"], NAMELESS, "class 4 of l .* number the classes from 0"),
        (["tenth", "goldfish"], CARD, "class 'tenth' of l is none of toy's 4 .nearest: tench"),
        (["tench", "goldfish", "ant", "x"], CARD, "class 'ant' of l"),  # goldfish is unit 0, not 1 as by its place
        (["2.5", "0"], NAMELESS, "class '2.5' of l"),
        (["a", "b"], NAMELESS, "class 'a' of l"),
        (["-1", "-1"], CARD, "the images of l have no classes"),
    ],
)
def test_a_class_that_is_no_unit_is_named(asked, classes, card, said):
    with pytest.raises(DataError, match=said) as raised:
        asked(classes, card)
    assert "; " in str(raised.value) and "\n" not in str(raised.value)


def test_a_network_without_a_class_layer_has_no_classes_to_share(asked):
    with pytest.raises(SettingsError, match=r"toy has no class layer; name it by model\.class_layer"):
        asked(["0", "1"], replace(CARD, class_layer=None))


def test_without_a_network_the_classes_stay_the_datasets_own(asked):
    assert labels_of(asked(["b", "a"], None)) == {"0.png": "b", "1.png": "a"}


def test_only_network_can_be_said():
    with pytest.raises(SettingsError, match=r"dataset\.classes: got 'netwrok', expected one of network"):
        settings("folder", "x", classes="netwrok")


NAMED = ClassNames(("tench, Tinca tinca", "goldfish"), ("n01440764", "n01443537"), (0, 1))


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (("n01440764", "n01443537"), NAMED.names),
        (("n01443537",), ("goldfish",)),
        (("n01443537", "n99999999"), ("n01443537", "n99999999")),  # one that the network does not know
        (("cat", "dog"), ("cat", "dog")),
    ],
)
def test_folders_that_are_wnids_have_the_names_that_the_network_gives_them(tmp_path, opened, folders, names):
    source = opened("folder", put(tmp_path / "p", *(f"{folder}/a.png" for folder in folders)))
    named = with_network_names(source, NAMED)
    assert named.index.class_names == names
    assert named.index.class_ids == folders
    assert named.digest == source.digest


def test_names_that_a_dataset_has_are_kept(tmp_path, opened):
    root = put(tmp_path / "p", "n01440764/a.png", "n01443537/a.png")
    (tmp_path / "names.txt").write_text("n01440764 my tench\nn01443537 my goldfish\n")
    source = opened("folder", root, labels=str(tmp_path / "names.txt"))
    assert with_network_names(source, NAMED).index.class_names == ("my tench", "my goldfish")


def test_the_photos_agree_with_imagenets_labels_with_and_without_their_names(test_data, opened):
    labels = test_data / "imagenet-labels.txt"
    imagenet = parse_classes(labels.read_bytes(), ".txt")
    fc = replace(CARD.layer("fc8"), channels=1000)
    card = replace(CARD, labels=imagenet.names, layers=(fc,))
    photos = test_data / "photos-1000.tar"
    assert disagreement(opened("tar", photos, labels=str(labels)).index.class_names, card) is None
    folders = opened("tar", photos)
    assert "n01440764" in disagreement(folders.index.class_names, card)
    assert disagreement(with_network_names(folders, imagenet).index.class_names, card) is None
