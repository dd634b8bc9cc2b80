"""Files of class names, in every form in which they are published, give the same classes; the others say why not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.label_files import parse_classes

NAMES = ("tench, Tinca tinca", "goldfish, Carassius auratus", "great white shark")
WNIDS = ("n01440764", "n01443537", "n01484850")
PAIRS = list(zip(WNIDS, NAMES, strict=True))


def lines(*parts: object) -> bytes:
    return "\n".join(map(str, parts)).encode() + b"\n"


# What the form is → the file, its suffix, the ids (None: the names)
FORMS: dict[str, tuple[bytes, str, tuple[str, ...] | None]] = {
    "one name a line": (lines(*NAMES), ".txt", None),
    "wnid and name": (lines(*(f"{wnid} {name}" for wnid, name in PAIRS)), ".txt", WNIDS),
    "wnid, tab, name": (lines(*(f"{wnid}\t{name}" for wnid, name in PAIRS)), ".txt", WNIDS),
    "number and name": (lines(*(f"{at} {name}" for at, name in enumerate(NAMES))), ".txt", None),
    "number, colon, name": (lines(*(f"{at}: {name}" for at, name in enumerate(NAMES))), ".names", None),
    "numbers from 1": (lines(*(f"{at + 1}\t{name}" for at, name in enumerate(NAMES))), ".txt", None),
    "numbers in another order": (lines(*(f"{at} {NAMES[at]}" for at in (2, 0, 1))), ".txt", None),
    "name and number": (lines(*(f"{name} {at}" for at, name in enumerate(NAMES))), ".txt", None),
    "entries of a dict": (lines(*(f"{at}: '{name}'," for at, name in enumerate(NAMES))), ".txt", None),
    "a Python dict": (("{" + ",\n ".join(f"{at}: {name!r}" for at, name in enumerate(NAMES)) + "}").encode(), ".txt",
                      None),
    "a Python list": (repr(list(NAMES)).encode(), ".txt", None),
    "a JSON list": (json.dumps(NAMES).encode(), ".json", None),
    "a JSON list of pairs": (json.dumps(PAIRS).encode(), ".json", WNIDS),
    "imagenet_class_index": (json.dumps({str(at): pair for at, pair in enumerate(PAIRS)}).encode(), ".json", WNIDS),
    "class_to_idx": (json.dumps({name: at for at, name in enumerate(NAMES)}).encode(), ".json", None),
    "id2label": (json.dumps({str(at): NAMES[at] for at in (2, 1, 0)}).encode(), ".json", None),
    "a Hugging Face config": (
        json.dumps({"id2label": dict(enumerate(NAMES)), "label2id": {n: i for i, n in enumerate(NAMES)}}).encode(),
        ".json", None),
    "wnid to name": (json.dumps(dict(PAIRS)).encode(), ".json", WNIDS),
    "COCO's categories": (
        json.dumps({"images": [], "categories": [{"id": 2 * at + 1, "name": n, "supercategory": "fish"}
                                                 for at, n in enumerate(NAMES)]}).encode(), ".json", None),
    "records": (json.dumps([{"wnid": wnid, "name": name} for wnid, name in PAIRS]).encode(), ".json", WNIDS),
    "JSON lines": (lines(*(json.dumps({"id": at, "name": name}) for at, name in enumerate(NAMES))), ".jsonl", None),
    "a table": (lines("id,name", *(f'{at},"{name}"' for at, name in enumerate(NAMES))), ".csv", None),
    "a table without quotes": (lines("id,name", *(f"{at},{name}" for at, name in enumerate(NAMES))), ".csv", None),
    "a table of pandas": (lines(",class_id,name", *(f'{at},{at},"{name}"' for at, name in enumerate(NAMES))), ".csv",
                          None),
    "a table with semicolons": (lines("id;name", *(f"{at};{name}" for at, name in enumerate(NAMES))), ".csv", None),
    "a table of wnids": (lines("id,wnid,words", *(f'{at},{w},"{n}"' for at, (w, n) in enumerate(PAIRS))), ".csv",
                         WNIDS),
    "a table without heads": (lines(*(f'{wnid},"{name}"' for wnid, name in PAIRS)), ".csv", WNIDS),
    "a column": (lines("name", *(f'"{name}"' for name in NAMES)), ".csv", None),
    "a label map": (lines(*(f'item {{\n  id: {at + 1}\n  name: "{name}"\n}}' for at, name in enumerate(NAMES))),
                    ".pbtxt", None),
    "Caffe's label map": (
        lines(*(f'item {{ name: "{wnid}" label: {at} display_name: "{name}" }}' for at, (wnid, name) in
                enumerate(PAIRS))), ".prototxt", WNIDS),
    "the development kit's": (lines(*(f"{wnid} {at + 1} {name}" for at, (wnid, name) in enumerate(PAIRS))), ".txt",
                              WNIDS),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("written", ["as it is", "with a mark", "on Windows", "in UTF-16"])
def test_every_form_gives_the_same_classes(form, written):
    data, suffix, ids = FORMS[form]
    text = data.decode()
    if written == "with a mark":
        data = b"\xef\xbb\xbf" + data
    if written == "on Windows":
        data = b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()
    if written == "in UTF-16":
        data = text.encode("utf-16")
    read = parse_classes(data, suffix)
    assert read.names == NAMES
    assert read.ids == (NAMES if ids is None else ids)
    assert read.has_wnids == (ids is not None)


def test_the_names_of_places_are_read_without_their_initial():
    data = b"/a/airfield 0\n/a/apartment_building/outdoor 1\n/b/bar 2\n"
    assert parse_classes(data).names == ("airfield", "apartment_building/outdoor", "bar")
    assert parse_classes(data).ids[0] == "/a/airfield"


@pytest.mark.parametrize(
    "names",
    [
        ("20 km/h", "30 km/h", "no passing"),  # signs, not numbers of classes
        ("class 0", "class 1", "class 2"),
        ("boeing 707", "boeing 727"),
        ("001.Black_footed_Albatross", "002.Laysan_Albatross"),
        ("0", "1", "2"),
        ("crane", "crane", "maillot"),
        ("tench, Tinca tinca", "goldfish", "ray, skate, sea fish"),
        ("it's", "don't"),
    ],
)
def test_names_that_look_like_another_form_are_names(names):
    assert parse_classes(lines(*names), ".txt").names == names


def test_imagenets_two_cranes_keep_their_numbers():
    assert parse_classes(b"1 crane\n0 crane\n2 maillot\n3 ox\n").names == ("crane", "crane", "maillot", "ox")


def test_the_numbers_of_a_file_are_kept():
    assert parse_classes(b'{"3": "car", "1": "person"}').numbers == (1, 3)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"\n# nothing\n", "empty"),
        (b"{}", "empty"),
        (b'{"0": "a", "2": "b"}', "class 0 and class 2, but none between"),
        (b'{"-1": "a", "0": "b"}', "numbers a class -1"),
        (b'[["a", 0], ["b"', "neither JSON nor a Python literal"),
        (b'{"0": "a", "1": ""}', "no name for class 1"),
        (b"[" * 10**6, "neither JSON nor a Python literal"),
        (b"{0: __import__('os').system('true')}", "neither JSON nor a Python literal"),
        (b"caf\xe9\n", "not UTF-8"),
        (b"<!DOCTYPE html>\n<html><body>404</body></html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer"),
        (b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00N.", "a pickle"),
        (b"PK\x03\x04" + bytes(40), "a zip file"),
        (b"x" * (2**25 + 1), "more than class names take"),
    ],
)
def test_what_holds_no_names_says_why(data, said):
    with pytest.raises(ValueError, match=said) as raised:
        parse_classes(data, ".txt")
    assert "\n" not in str(raised.value)


@given(st.binary(max_size=60), st.sampled_from([".txt", ".csv", ".json"]))
def test_any_bytes_give_classes_or_a_reason(data, suffix):
    try:
        read = parse_classes(data, suffix)
    except ValueError:
        return
    assert len(read.names) == len(read.ids) == len(read.numbers) > 0
    assert all(isinstance(name, str) and name for name in read.names)


@given(st.text(alphabet="01 ,;:\t\n\"'{}[]abn-#/", max_size=40), st.sampled_from([".txt", ".csv", ".json"]))
def test_any_text_gives_classes_or_a_reason(text, suffix):
    test_any_bytes_give_classes_or_a_reason.hypothesis.inner_test(text.encode(), suffix)
