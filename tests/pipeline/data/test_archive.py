"""Tars and zips: classes from files beside the images, several shards, and archives that are damaged or hostile."""

from __future__ import annotations

import io
import json
import os
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
from given_files import LONG_AGO, content, labels_of, pack, put, read
from image_forms import picture, saved

from pipeline.data import archive, member
from pipeline.data.batches import batches
from pipeline.errors import DataError, EnvironmentFault

TREE = ("dog/b.png", "cat/a.png", "cat/deep/c.png", "dog/a.png")
SHOWN = {"height": 8, "width": 8, "preprocess": "resize", "fill": (0, 0, 0), "reduced": False, "batch": 4, "threads": 2}


def written(path: Path, files: dict[str, bytes | None], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """A tar, a zip or a folder with these files; None for a small picture of that name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {name: content(name) if data is None else data for name, data in files.items()}
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", method) as packed:
            for name, data in whole.items():
                packed.writestr(name, data)
    elif path.suffix == ".tar":
        with tarfile.open(path, "w") as packed:
            for name, data in whole.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                packed.addfile(entry, io.BytesIO(data))
    else:
        for name, data in whole.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
        return path
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


KINDS = {"tar": "x.tar", "zip": "x.zip", "folder": "x"}


@pytest.fixture(params=KINDS)
def made(tmp_path, opened, request):
    """Opens files in a tar, in a zip and in a folder."""

    def make(files: dict[str, bytes | None], **changes: object):
        path = written(tmp_path / KINDS[request.param], files)
        return opened("folder" if request.param == "folder" else "tar", path, **changes)

    return make


# Classes beside the images ---------------------------------------------------------------------------

SAMPLES = ("0000", "0001", "0002", "0003")


def sides(suffix: str, *values: object) -> dict[str, bytes | None]:
    """An image and a file beside it for each value; None for no file."""
    files: dict[str, bytes | None] = {}
    for name, value in zip(SAMPLES, values, strict=False):
        files[f"{name}.png"] = None
        if value is not None:
            files[f"{name}.{suffix}"] = value if isinstance(value, bytes) else str(value).encode()
    return files


def record(**values: object) -> bytes:
    return json.dumps(values).encode()


@pytest.mark.parametrize(
    ("suffix", "values", "classes"),
    [
        ("cls", (0, 1, 0, 1), ("0", "1", "0", "1")),
        ("cls", ("10\n", "9", "2.0", "\ufeff10\r\n"), ("10", "9", "2", "10")),
        ("cls", ("cat", "dog", "cat", "ant"), ("cat", "dog", "cat", "ant")),
        ("CLS", (1, 1, 0, 0), ("1", "1", "0", "0")),
        ("label", (1, 1, 0, 0), ("1", "1", "0", "0")),
        ("json", tuple(record(label=n, width=9) for n in (3, 0, 3, 1)), ("3", "0", "3", "1")),
        ("json", tuple(record(cls=n) for n in "baba"), ("b", "a", "b", "a")),
        ("json", tuple(record(class_name=n, caption="a long story") for n in "baba"), ("b", "a", "b", "a")),
        ("json", tuple(record(label=n, class_name=f"no {n}") for n in (1, 0, 1, 0)), ("no 1", "no 0", "no 1", "no 0")),
        ("json", tuple(record(category=[n]) for n in "baba"), ("b", "a", "b", "a")),
        ("json", (b"0", b"1", b'"1"', b"0"), ("0", "1", "1", "0")),
        ("txt", ("cat", "dog", "cat", "dog"), ("cat", "dog", "cat", "dog")),
        ("json", tuple(record(text=n) for n in ("cat", "cat", "dog", "dog")), ("cat", "cat", "dog", "dog")),
    ],
)
def test_a_file_beside_an_image_states_its_class(made, suffix, values, classes):
    source = made(sides(suffix, *values))
    assert labels_of(source) == {f"{name}.png": label for name, label in zip(SAMPLES, classes, strict=True)}


def test_the_parts_of_a_sample_share_its_name_up_to_the_first_dot(made):
    source = made({"a/1.seg.png": None, "a/1.cls": b"3", "a/1.rgb.png": None, "a/2.x.png": None, "a/2.x.png.cls": b"0"})
    assert source.index.labels.tolist() == [3, 3, 0]


def test_a_class_beside_an_image_comes_before_its_folder_and_a_text_after_it(made):
    files = {"p/1.png": None, "p/1.cls": b"7", "q/2.png": None, "q/2.cls": b"8"}
    assert made(files).index.labels.tolist() == [7, 8]


def test_a_text_in_class_folders_is_no_class(made):
    files = {f"{folder}/{n}.{suffix}": b"same" if suffix == "txt" else None
             for folder in "pq" for n in "12" for suffix in ("png", "txt")}  # fmt: skip
    assert made(files).index.class_names == ("p", "q")


@pytest.mark.parametrize(
    "values",
    [
        ("a cat on a mat", "a dog", "two cats", "nothing"),  # hardly one occurs twice
        ("0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.2 0.2\n",) * 4,  # boxes
        ("long " * 30,) * 4,
    ],
)
def test_captions_are_no_classes_and_the_log_says_so(made, values):
    index = made(sides("txt", *values)).index
    assert index.class_names == ()
    (note,) = index.notes
    assert "captions" in note


def test_minus_one_beside_an_image_is_no_class_and_shifts_no_other(made):
    index = made(sides("cls", -1, 0, 1, 2)).index
    assert index.labels.tolist() == [-1, 0, 1, 2]
    assert index.class_names == ("0", "1", "2")


@pytest.mark.parametrize("missing", [None, b"\xff\xfe\xff", b"x" * (archive.beside.MOST_BYTES + 1)])
def test_an_image_without_the_class_that_the_others_have_is_an_error(made, missing):
    with pytest.raises(DataError, match=r"no label for 1 of 4 images \(first 0001\.png\)"):
        made(sides("cls", 0, missing, 1, 1))


def test_json_that_is_none_states_nothing(made):
    assert made(sides("json", b"{", b"[" * 10**5, b"null", b"\x00")).index.class_names == ()


def test_class_names_go_with_the_numbers_beside_the_images(made, tmp_path):
    (tmp_path / "names.json").write_text('{"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}')
    index = made(sides("cls", 1, 0, 1, 0), labels=str(tmp_path / "names.json")).index
    assert index.labels.tolist() == [1, 0, 1, 0]
    assert index.class_names == ("tench", "goldfish")


@pytest.mark.parametrize("name", ["x.tar", "x.zip"])
def test_a_limit_keeps_the_class_of_the_last_image(tmp_path, opened, name):
    path = written(tmp_path / name, sides("cls", 4, 5, 6, 7))
    assert opened("tar", path, limit=2).index.labels.tolist() == [4, 5]
    assert opened("tar", path, limit=3).index.labels.tolist() == [4, 5, 6]  # the record of before is too short
    assert opened("tar", path).index.labels.tolist() == [4, 5, 6, 7]
    assert opened("tar", path, limit=1).index.labels.tolist() == [4]  # from the record


# Shards ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "root", ["s", "s/*.tar", "s/d-{000..002}.tar", "s/d-{000,001,002}.tar", "{s,s}/d-00{0..2}.tar"]
)
def test_shards_are_a_folder_a_glob_or_numbers_in_braces(tmp_path, opened, root):
    for shard in range(3):
        written(tmp_path / "s" / f"d-{shard:03d}.tar", {f"{shard}.png": None, f"{shard}.cls": str(shard).encode()})
    if root.startswith("{"):
        with pytest.raises(DataError, match="is there twice"):
            opened("tar", tmp_path / root)
        return
    source = opened("tar", tmp_path / root)
    assert source.index.keys == ("0.png", "1.png", "2.png")
    assert source.index.labels.tolist() == [0, 1, 2]
    assert source.name == "s"
    assert [data for _, data in read(source, 0, 3)] == [content(key) for key in source.index.keys]


def test_tars_and_zips_may_be_shards_of_one_dataset(tmp_path, opened):
    written(tmp_path / "s" / "a.tar", {"cat/1.png": None})
    written(tmp_path / "s" / "b.zip", {"dog/1.png": None})
    assert labels_of(opened("tar", tmp_path / "s")) == {"cat/1.png": "cat", "dog/1.png": "dog"}


def test_a_shard_of_the_braces_that_is_missing_is_named(tmp_path, opened):
    written(tmp_path / "d-0.tar", {"a.png": None})
    with pytest.raises(DataError, match=r"no such file as .*d-1\.tar"):
        opened("tar", tmp_path / "d-{0..1}.tar")
    with pytest.raises(DataError, match="more than 100000 files"):
        opened("tar", tmp_path / "d-{0..999999999}.tar")


# Zips ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tar", "folder"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_is_read_as_the_tar_and_the_folder_would_be(tmp_path, opened, kind, method):
    path = written(tmp_path / "pets.zip", dict.fromkeys((*TREE, "README.md", "__MACOSX/cat/._a.png")), method)
    source, tar = opened(kind, path), opened("tar", pack(tmp_path / "pets.tar", *TREE))
    assert source.name == "pets"
    assert source.index.keys == TREE
    assert source.digest == tar.digest
    assert labels_of(source) == labels_of(opened("folder", put(tmp_path / "pets", *TREE)))
    assert [*read(source, 1, 4)] == [(at, content(TREE[at])) for at in (1, 2, 3)]
    assert opened(kind, path).digest == source.digest  # from the record


def test_images_of_a_zip_are_decoded(tmp_path, opened):
    path = written(tmp_path / "x.zip", {f"{n}.bmp": saved(picture(seed=n), "BMP") for n in range(6)})
    skipped: list = []
    shown = [*batches(opened("tar", path), 0, 6, skipped=skipped, **SHOWN)]
    assert [batch.count for batch in shown] == [4, 2]
    assert skipped == []


def test_names_that_lead_out_of_an_archive_stay_inside(tmp_path, opened):
    names = ("../../cat/a.png", "/dog/b.png", "./cat/../c/d.png", "owl\\e.png")
    source = opened("tar", written(tmp_path / "in" / "x.zip", dict.fromkeys(names)))
    assert source.index.keys == ("cat/a.png", "dog/b.png", "cat/c/d.png", "owl/e.png")
    assert (
        opened("tar", written(tmp_path / "in" / "x.tar", dict.fromkeys(names[:3]))).index.keys == source.index.keys[:3]
    )
    assert {path.name for path in tmp_path.iterdir()} <= {"in", "cache"}


def test_links_in_a_zip_are_no_images(tmp_path, opened):
    path = written(tmp_path / "x.zip", {"a.png": None})
    with zipfile.ZipFile(path, "a") as packed:
        link = zipfile.ZipInfo("b.png")
        link.external_attr = 0o120777 << 16
        packed.writestr(link, "/etc/passwd")
    assert opened("tar", path).index.keys == ("a.png",)


def test_a_member_that_unpacks_without_end_is_a_bad_image(tmp_path, opened, monkeypatch):
    monkeypatch.setattr(archive, "MOST_BYTES", 10_000)
    path = written(tmp_path / "x.zip", {"a.png": None, "b.png": bytes(20_000)})
    source = opened("tar", path)
    skipped: list = []
    assert sum(batch.count for batch in batches(source, 0, 2, skipped=skipped, **SHOWN)) == 1
    assert "too large" in skipped[0].reason


def test_a_member_larger_than_the_directory_says_is_damage(tmp_path, opened):
    path = written(tmp_path / "x.zip", {"b.png": bytes(3 * member._CHUNK)})
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 1000)
    path.write_bytes(data)
    with pytest.raises(DataError, match="cannot be read"):
        opened("tar", path)


def overlapping(data: bytearray) -> None:
    """Let the second entry of the directory name the place of the first member."""
    first = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", first + 4)
    for at, size in ((10, 2), (16, 4), (20, 4), (24, 4), (42, 4)):  # method, checksum, sizes, place
        data[second + at : second + at + size] = data[first + at : first + at + size]


def encrypted(data: bytearray) -> None:
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1


def flipped(data: bytearray) -> None:
    data[120] ^= 0xFF


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (overlapping, "its members overlap"),
        (encrypted, "encrypted; unpack it with its password"),
        (flipped, "cannot be read"),
        (lambda data: data.__delitem__(slice(len(data) // 2, None)), "cannot be read"),
        (lambda data: data.__delitem__(slice(0, 4)), "no tar file"),
        (lambda data: data.__delitem__(slice(4, None)), "cannot be read"),
    ],
)
def test_a_spoilt_zip_is_named_in_one_line(tmp_path, opened, spoil, said):
    path = written(tmp_path / "x.zip", {"a.png": None, "b.png": None})
    data = bytearray(path.read_bytes())
    spoil(data)
    path.write_bytes(data)
    with pytest.raises(DataError, match=said) as raised:
        opened("tar", path)
    assert "\n" not in str(raised.value) and "; " in str(raised.value)


def test_another_method_of_packing_is_named(tmp_path, opened):
    with pytest.raises(DataError, match="a.png is packed by bzip2"):
        opened("tar", written(tmp_path / "x.zip", {"a.png": None}, zipfile.ZIP_BZIP2))


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("x.tar", b"7z\xbc\xaf\x27\x1c" + bytes(600), "a 7z archive, expected a tar or zip file"),
        ("x.rar", b"Rar!\x1a\x07\x00" + bytes(600), "a rar archive"),
        ("x.tar.zst", b"\x28\xb5\x2f\xfd" + bytes(600), "zstd-compressed; unpack it"),
        ("x.zip", b"PK\x05\x06" + bytes(18), "no images in it"),
        ("x.tar", b"<!DOCTYPE html>" + bytes(600), "a web page"),
        ("x.tar", b"version https://git-lfs.github.com/spec/v1\n" + bytes(600), "a Git LFS pointer"),
        ("x.parquet", b"PAR1" + bytes(600), "a Parquet file"),
    ],
)
def test_what_is_no_archive_is_called_what_it_is(tmp_path, opened, name, data, said):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=said):
        opened("tar", tmp_path / name)


def test_a_folder_of_archives_and_an_archive_for_imagenet_say_how_to_read_them(tmp_path, opened):
    written(tmp_path / "s" / "a.zip", {"cat/1.png": None})
    with pytest.raises(DataError, match=r"read its \.zip files by DATASET=tar"):
        opened("folder", tmp_path / "s")
    with pytest.raises(DataError, match="read a tar or zip file by DATASET=tar"):
        opened("imagenet", tmp_path / "s" / "a.zip")


@pytest.mark.parametrize("name", ["x.tar", "x.zip"])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "cannot be read \\(No such file"),
        (lambda path: os.truncate(path, 200), "ends before byte"),
    ],
)
def test_an_indexed_archive_that_went_or_shrank_is_a_fault_of_the_machine(tmp_path, opened, name, spoil, said):
    path = written(tmp_path / name, dict.fromkeys(TREE))
    source = opened("tar", path)
    spoil(path)
    with pytest.raises(EnvironmentFault, match=rf"/{name}: {said}.*; mount the dataset"):
        [*batches(source, 0, len(TREE), skipped=[], **SHOWN)]


def test_an_indexed_zip_that_changed_inside_is_a_fault_of_the_machine(tmp_path, opened):
    path = written(tmp_path / "x.zip", {"a.bmp": saved(picture(), "BMP")})
    source = opened("tar", path)
    with open(path, "r+b") as file:
        file.seek(60)
        file.write(bytes(40))
    with pytest.raises(EnvironmentFault, match=r"/x\.zip: damaged|a\.bmp has changed"):
        [*batches(source, 0, 1, skipped=[], **SHOWN)]
