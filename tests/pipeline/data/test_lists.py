"""Lists of images in the forms in which people have them give the same images and classes."""

from __future__ import annotations

import json

import pytest
from given_files import labels_of, put

from pipeline.errors import DataError

FILES = ("a/0.png", "b/0.png", "a/my cat.png")
CLASSES = ("cat", "dog", "cat")
ROWS = list(zip(FILES, CLASSES, strict=True))
EXPECTED = dict(ROWS)


def lines(*parts: str, end: str = "\n") -> str:
    return end.join(parts) + end


# What the form is → name of the list and its text
FORMS = {
    "pandas": ("l.csv", lines(",image,label", *(f"{n},{f},{c}" for n, (f, c) in enumerate(ROWS)))),
    "pandas, read and written again": (
        "l.csv", lines("Unnamed: 0,image,label", *(f"{n},{f},{c}" for n, (f, c) in enumerate(ROWS)))),
    "pandas, twice": (
        "l.csv", lines("Unnamed: 0.1,Unnamed: 0,image,label", *(f"{n},{n},{f},{c}" for n, (f, c) in enumerate(ROWS)))),
    "pandas, shuffled": ("l.csv", lines(",image,label", *(f"{7 - n},{f},{c}" for n, (f, c) in enumerate(ROWS)))),
    "pandas, two levels": ("l.csv", lines(",,image,label", *(f"x,{n},{f},{c}" for n, (f, c) in enumerate(ROWS)))),
    "pandas without heads": ("l.csv", lines(*(f"{n},{f},{c}" for n, (f, c) in enumerate(ROWS)))),
    "a series of pandas": ("l.csv", lines(",label", *(f"{f},{c}" for f, c in ROWS))),
    "a column named index": ("l.csv", lines("index,path,target", *(f"{n},{f},{c}" for n, (f, c) in enumerate(ROWS)))),
    "an id before the file": ("l.csv", lines("id,file,breed", *(f"{n + 9},{f},{c}" for n, (f, c) in enumerate(ROWS)))),
    "the class first": ("l.csv", lines("label,filename", *(f"{c},{f}" for f, c in ROWS))),
    "the class first, without heads": ("l.csv", lines(*(f"{c},{f}" for f, c in ROWS))),
    "more columns": ("l.csv", lines("width,split,img_path,species,mask",
                                    *(f"9,train,{f},{c},{f}" for f, c in ROWS))),
    "heads of no list": ("l.csv", lines("where,what", *(f"{f},{c}" for f, c in ROWS))),
    "quotes": ("l.csv", lines('"image","label"', *(f'"{f}","{c}"' for f, c in ROWS))),
    "semicolons": ("l.csv", lines("image;label", *(f"{f};{c}" for f, c in ROWS))),
    "tabs": ("l.tsv", lines("image\tlabel", *(f"{f}\t{c}" for f, c in ROWS))),
    "bars": ("l.txt", lines("image|label", *(f"{f}|{c}" for f, c in ROWS))),
    "commas in a text file": ("l.txt", lines(*(f"{f}, {c}" for f, c in ROWS))),
    "heads in capitals": ("l.csv", lines("Image,Label", *(f"{f},{c}" for f, c in ROWS))),
    "Windows": ("l.csv", "\ufeff" + lines("image,label", *(f"{f.replace('/', chr(92))},{c}" for f, c in ROWS),
                                          end="\r\n")),
    "JSON lines": ("metadata.jsonl", lines(*(json.dumps({"file_name": f, "label": c}) for f, c in ROWS))),
    "JSON records": ("l.json", json.dumps([{"width": 8, "image": f, "category": c} for f, c in ROWS])),
    "a JSON dict": ("l.json", json.dumps(EXPECTED)),
    "JSON pairs": ("dataset.json", json.dumps({"labels": ROWS})),
    "counted lines": ("images.txt", lines(*(f"{n + 1} {f} {c}" for n, (f, c) in enumerate(ROWS)))),
    "words": ("l.txt", lines("# mine", *(f"{f} {c}" for f, c in ROWS))),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_images_and_classes(tmp_path, opened, form):
    root = put(tmp_path / "p", *FILES)
    name, text = FORMS[form]
    (root / name).write_text(text, newline="")
    source = opened("list", root / name)
    assert source.index.keys == FILES
    assert labels_of(source) == EXPECTED
    assert opened("folder", root, labels=name).index.class_names == ("cat", "dog")  # the same file, of a folder


def test_a_list_in_utf_16_is_read(tmp_path, opened):
    root = put(tmp_path / "p", *FILES)
    (root / "l.csv").write_text(lines("image,label", *(f"{f},{c}" for f, c in ROWS)), encoding="utf-16")
    assert labels_of(opened("list", root / "l.csv")) == EXPECTED


def test_a_count_in_front_of_bare_names_is_passed_over_unless_it_is_part_of_them(tmp_path, opened):
    root = put(tmp_path / "p", "x/a.png", "x/b.png")
    (root / "images.txt").write_text("1 x/a.png\n2 x/b.png\n")
    assert opened("list", root / "images.txt").index.keys == ("x/a.png", "x/b.png")
    put(root, "1 a.png", "2 b.png")
    (root / "named.txt").write_text("1 a.png\n2 b.png\n")
    assert opened("list", root / "named.txt").index.keys == ("1 a.png", "2 b.png")


def test_numbers_with_names_beside_them_keep_both(tmp_path, opened):
    root = put(tmp_path / "p", *FILES)
    (root / "l.csv").write_text("image,class_id,class_name\n" + lines(*(f"{f},{len(c)},{c}er" for f, c in ROWS)))
    index = opened("list", root / "l.csv").index
    assert index.labels.tolist() == [3, 3, 3]
    (root / "l.csv").write_text("image,class_id,class_name\na/0.png,2,owl\nb/0.png,0,dog\na/my cat.png,2,owl\n")
    index = opened("list", root / "l.csv").index
    assert index.class_ids == ("0", "1", "2")
    assert index.class_names == ("dog", "1", "owl")


@pytest.mark.parametrize(
    ("values", "labels", "names"),
    [
        (["0.0", "2.0", "10.0"], [0, 2, 10], tuple(map(str, range(11)))),
        (["10", "9", "2"], [10, 9, 2], tuple(map(str, range(11)))),
        (["007", "0", "3"], [7, 0, 3], tuple(map(str, range(8)))),
        (["-1", "0", "2"], [-1, 0, 2], ("0", "1", "2")),
        (["-1.0", "1.0", "0.0"], [-1, 1, 0], ("0", "1")),
        (["-1", "b", "a"], [-1, 1, 0], ("a", "b")),
        (["2.5", "10.5", "1"], [1, 2, 0], ("1", "2.5", "10.5")),
        (["-2", "10", "9"], [0, 2, 1], ("-2", "9", "10")),
        (["10", "9", "z"], [1, 0, 2], ("9", "10", "z")),
    ],
)
def test_numbers_are_classes_by_their_value_and_minus_one_is_none(tmp_path, opened, values, labels, names):
    root = put(tmp_path / "p", *FILES)
    (root / "l.csv").write_text("image,label\n" + lines(*(f"{f},{v}" for f, v in zip(FILES, values, strict=True))))
    index = opened("list", root / "l.csv").index
    assert index.labels.tolist() == labels
    assert index.class_names == names
    assert bool(index.notes) == (-1 in labels)


def test_images_that_all_have_the_class_minus_one_have_none(tmp_path, opened):
    root = put(tmp_path / "p", *FILES)
    (root / "l.csv").write_text("image,label\n" + lines(*(f"{f},-1" for f in FILES)))
    assert opened("list", root / "l.csv").index.class_names == ()


@pytest.mark.parametrize("names", [("0", "2", "10"), ("00002", "00010", "00100"), ("-2", "9", "10")])
def test_folders_that_are_numbers_are_in_the_order_of_the_numbers(tmp_path, opened, names):
    source = opened("folder", put(tmp_path / "p", *(f"{name}/a.png" for name in names)))
    assert source.index.class_ids == names
    assert {key.split("/")[0]: number for key, number in zip(source.index.keys, source.index.labels, strict=True)} == {
        name: number for number, name in enumerate(names)
    }


def test_columns_of_which_none_is_the_class_are_named_in_the_log(tmp_path, opened):
    root = put(tmp_path / "p", *FILES)
    (root / "l.csv").write_text("image,colour,taste\n" + lines(*(f"{f},red,sweet" for f in FILES)))
    index = opened("list", root / "l.csv").index
    assert index.class_names == ("a", "b")  # the folders
    (root / "l.csv").write_text("image,colour,taste\na/0.png,red,sweet\n")
    put(root, "c.png")
    (root / "l.csv").write_text("image,colour,taste\nc.png,red,sweet\n")
    (note,) = opened("list", root / "l.csv").index.notes
    assert "image, colour, taste" in note and "\n" not in note


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("l.csv", b"label,colour\ncat,red\ndog,blue\n", r"none of its columns \(label, colour\) holds names of image"),
        ("l.csv", b"url,label\nhttp://x.org/a.png,cat\n", r"none of its columns \(url, label\) holds names of image"),
        ("l.csv", b"image,label\n", "empty"),
        ("l.json", b"{}", "empty"),
        ("l.json", b"[{", "neither JSON nor JSON lines"),
        ("l.csv", b"PAR1" + bytes(40), "is a Parquet file"),
        ("l.csv", b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00N.", "is a pickle"),
        ("l.zip", b"PK\x03\x04" + bytes(40), "is a zip file"),
        ("l.csv", "image,label\ncafé.png,x\n".encode("latin-1"), "is not UTF-8"),
        ("l.csv", b"<html><body>no</body></html>", "is a web page"),
        ("l.csv", b"image,label\n../a.png,cat\n", "lies outside"),
    ],
)
def test_a_list_that_is_none_says_what_it_is(tmp_path, opened, name, data, said):
    root = put(tmp_path / "p", *FILES)
    (root / name).write_bytes(data)
    with pytest.raises(DataError, match=said) as raised:
        opened("list", root / name)
    assert "\n" not in str(raised.value) and "; " in str(raised.value)
