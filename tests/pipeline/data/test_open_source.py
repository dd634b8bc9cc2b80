"""Every kind of dataset gives its images in order, with keys, labels and hashes; faults are reported in one line."""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import shutil
import tarfile

import numpy as np
import pytest
from given_files import LONG_AGO, content, labels_of, pack, put, read, settings

from pipeline.data import hashes
from pipeline.data.doodles import CLASSES, draw
from pipeline.data.open_source import open_source, visible
from pipeline.data.source import NO_LABEL, Index
from pipeline.errors import DataError, EnvironmentFault, SettingsError

TREE = ("dog/b.png", "cat/a.png", "cat/B.PNG", "cat/deep/c.png", "dog/a.png")
SORTED = ("cat/B.PNG", "cat/a.png", "cat/deep/c.png", "dog/a.png", "dog/b.png")

# Folders ---------------------------------------------------------------------------------------------


def test_a_tree_is_read_in_the_order_of_its_keys_with_folders_as_classes(tmp_path, opened):
    root = put(tmp_path / "pets", *TREE)
    (root / "notes.txt").write_text("no image")
    (root / ".hidden.png").write_bytes(b"")
    source = opened("folder", root)
    assert source.name == "pets"
    assert source.index.keys == SORTED
    assert source.index.labels.tolist() == [0, 0, 0, 1, 1]
    assert source.index.class_names == ("cat", "dog")
    assert [*read(source, 1, 4)] == [(at, content(SORTED[at])) for at in (1, 2, 3)]
    assert source.index.hashes[4].tobytes() == hashlib.sha256(content("dog/b.png")).digest()


def test_a_flat_folder_has_no_labels_or_those_of_its_labels_csv(tmp_path, opened):
    root = put(tmp_path / "flat", "b.png", "a.png")
    source = opened("folder", root)
    assert source.index.keys == ("a.png", "b.png")
    assert source.index.labels[0] == NO_LABEL
    assert source.index.class_names == ()
    (root / "labels.csv").write_text("key,label\nb.png,zebra\na.png,ant eater\n")
    assert labels_of(opened("folder", root)) == {"a.png": "ant eater", "b.png": "zebra"}


def test_links_to_folders_are_followed_once(tmp_path, opened):
    root = put(tmp_path / "pets", "cat/a.png")
    os.symlink(put(tmp_path / "elsewhere", "x.png"), root / "dog")
    os.symlink(root, root / "cat" / "again")
    assert opened("folder", root).index.keys == ("cat/a.png", "dog/x.png")


def test_names_that_are_no_utf_8_are_spelled_out(tmp_path, opened):
    root = put(tmp_path / "flat", "a.png")
    os.rename(root / "a.png", os.fsencode(root) + b"/\xff.png")
    source = opened("folder", root)
    assert source.index.keys == ("\\xff.png",)
    assert [*read(source, 0, 1)] == [(0, content("a.png"))]
    assert len(source.digest) == 64


def test_a_limit_takes_classes_evenly_and_keeps_their_numbers(tmp_path, opened):
    root = put(tmp_path / "pets", *TREE, "owl/a.png")
    source = opened("folder", root, limit=4)
    assert source.index.keys == ("cat/B.PNG", "cat/a.png", "dog/a.png", "owl/a.png")
    assert source.index.labels.tolist() == [0, 0, 1, 2]
    assert opened("folder", root, limit=100).index.keys == (*SORTED, "owl/a.png")


# Hashes and digests ----------------------------------------------------------------------------------


def test_the_digest_is_that_of_the_images_wherever_they_lie(tmp_path, opened):
    one, other = opened("folder", put(tmp_path / "one", *TREE)), opened("folder", put(tmp_path / "two", *TREE[::-1]))
    assert one.digest == other.digest
    assert str(tmp_path) not in "".join(one.index.keys)


@pytest.mark.parametrize("change", ["content", "name", "label", "less"])
def test_a_change_changes_the_digest(tmp_path, opened, change):
    root = put(tmp_path / "pets", *TREE, old=True)
    before = opened("folder", root).digest
    if change == "content":
        (root / "cat/a.png").write_bytes(content("other"))
    if change == "name":
        (root / "cat/a.png").rename(root / "cat/b.png")
    if change == "label":
        (root / "labels.csv").write_text(
            "".join(f"{key},{key[0]}\n" for key in TREE).replace("dog/b.png,d", "dog/b.png,c")
        )
    if change == "less":
        (root / "cat/a.png").unlink()
    assert opened("folder", root).digest != before


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_hashes_are_remembered_until_a_file_changes(tmp_path, opened, monkeypatch, kind):
    root = put(tmp_path / "pets", *TREE, old=True) if kind == "folder" else pack(tmp_path / "pets.tar", *TREE)
    before = opened(kind, root)

    def fail(*arguments):
        raise AssertionError("was read again")

    with monkeypatch.context() as patch:
        patch.setattr(hashes, "_hash", fail)
        patch.setattr("pipeline.data.archive._hash", fail)
        again = opened(kind, root)
        assert again.digest == before.digest
        assert [data for _, data in read(again, 0, 5)] == [data for _, data in read(before, 0, 5)]
    changed = root / "cat/a.png" if kind == "folder" else root
    os.utime(changed, (LONG_AGO + 1, LONG_AGO + 1))
    with monkeypatch.context() as patch, pytest.raises(AssertionError, match="read again"):
        patch.setattr(hashes, "_hash", fail)
        patch.setattr("pipeline.data.archive._hash", fail)
        opened(kind, root)
    assert opened(kind, root).digest == before.digest


def test_a_file_changed_a_moment_ago_is_hashed_again(tmp_path, opened):
    """Its modification time may not reveal the next change."""
    root = put(tmp_path / "flat", "a.png")
    before, at = opened("folder", root).digest, os.stat(root / "a.png").st_mtime_ns
    (root / "a.png").write_bytes(content("b.png"))
    os.utime(root / "a.png", ns=(at, at))
    assert opened("folder", root).digest != before


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(b"no archive"), lambda path: path.write_bytes(b"")])
def test_a_spoilt_memory_is_made_anew(tmp_path, opened, spoil):
    root = put(tmp_path / "pets", *TREE, old=True)
    before = opened("folder", root).digest
    for path in (tmp_path / "cache" / "datasets").iterdir():
        spoil(path)
    assert opened("folder", root).digest == before


def test_a_file_that_cannot_be_read_has_no_hash_and_is_read_as_a_bad_image(tmp_path, opened):
    root = put(tmp_path / "flat", "a.png")
    os.symlink(root / "gone.png", root / "b.png")
    source = opened("folder", root)
    assert source.index.keys == ("a.png", "b.png")
    assert not source.index.hashes[1].any()
    with pytest.raises(EnvironmentFault, match=r"b\.png: cannot be read \(No such file"):
        [*read(source, 1, 2)]


def test_progress_counts_the_bytes(tmp_path):
    root, told = put(tmp_path / "pets", *TREE), []
    open_source(settings("folder", root), cache=tmp_path / "cache", progress=lambda *report: told.append(report))
    assert told[-1] == (sum(len(content(name)) for name in TREE),) * 2
    assert told == sorted(told)


def test_a_sample_is_chosen_by_content_and_not_by_place():
    rng = np.random.default_rng(0)
    contents = rng.integers(0, 256, (50, 32), dtype=np.uint8)
    order = rng.permutation(50)

    def index(rows):
        return Index(tuple(map(str, range(50))), np.zeros(50, np.int32), contents[rows])

    chosen, moved = index(np.arange(50)).sample(12), index(order).sample(12)
    assert chosen.tolist() == sorted(chosen.tolist()) == sorted(order[moved].tolist())
    assert len(index(order).sample(80)) == 50
    contents[30:] = contents[0]  # many of equal contents: the earlier ones come first
    every, repeated = [(hashlib.sha256(row).digest(), at) for at, row in enumerate(contents)], index(np.arange(50))
    for count in (1, 5, 12, 33, 49, 50):
        assert repeated.sample(count).tolist() == sorted(at for _, at in sorted(every)[:count])
    assert pickle.loads(pickle.dumps(repeated))._samples.keys() == {1, 5, 12, 33, 49, 50}  # not drawn again


def test_a_sample_of_some_images_is_a_part_of_that_of_all():
    contents = np.random.default_rng(0).integers(0, 256, (50, 32), dtype=np.uint8)
    index = Index(tuple(map(str, range(50))), np.zeros(50, np.int32), contents)
    chosen, few = index.sample(12), np.arange(0, 50, 3)
    assert index.sample(50, few).tolist() == few.tolist()
    assert set(chosen) & set(few) == set(index.sample(len(set(chosen) & set(few)), few))


# Lists -----------------------------------------------------------------------------------------------


def test_a_list_is_read_in_its_own_order_with_its_numbers(tmp_path, opened):
    root = put(tmp_path / "photos", "x/b.png", "a.png", "not listed.png")
    (root / "list.txt").write_text("# the ones I like\nx/b.png 2\n./a.png 0\n")
    source = opened("list", root / "list.txt", limit=None)
    assert source.name == "list"
    assert source.index.keys == ("x/b.png", "a.png")
    assert source.index.labels.tolist() == [2, 0]
    assert source.index.class_names == ("0", "1", "2")
    assert opened("list", root, labels="list.txt").digest == source.digest
    assert opened("list", root / "list.txt", limit=1).index.keys == ("x/b.png",)


@pytest.mark.parametrize(
    ("name", "text", "labels"),
    [
        ("list.txt", "my cat.png\nx/b.png\n", {}),
        ("list.txt", "my cat.png\tcat\nx/b.png\tbig bird\n", {"my cat.png": "cat", "x/b.png": "big bird"}),
        ("list.csv", "file,size,class\nmy cat.png,3,cat\nx/b.png,4,bird\n", {"my cat.png": "cat", "x/b.png": "bird"}),
        ("list.csv", "my cat.png,cat\nx/b.png,bird\n", {"my cat.png": "cat", "x/b.png": "bird"}),
        ("list.txt", "my cat.png cat\nx/b.png bird\n", {"my cat.png": "cat", "x/b.png": "bird"}),
    ],
)
def test_lists_come_in_several_forms(tmp_path, opened, name, text, labels):
    root = put(tmp_path / "photos", "x/b.png", "my cat.png")
    (root / name).write_text(text)
    source = opened("list", root / name)
    assert source.index.keys == ("my cat.png", "x/b.png")
    assert (labels_of(source) if source.index.class_names else {}) == labels


def test_a_listed_file_that_is_not_there_is_a_bad_image_of_the_run(tmp_path, opened):
    root = put(tmp_path / "photos", "a.png")
    (root / "list.txt").write_text("a.png\ngone.png\n")
    assert opened("list", root / "list.txt").index.keys == ("a.png", "gone.png")


# Tars ------------------------------------------------------------------------------------------------


def test_a_tar_is_read_in_its_own_order_as_the_folder_would_be(tmp_path, opened):
    path = pack(tmp_path / "pets.tar", *TREE, "README.md", "cat/._a.png")
    source = opened("tar", path)
    assert source.name == "pets"
    assert source.index.keys == TREE
    assert labels_of(source) == labels_of(opened("folder", put(tmp_path / "pets", *TREE)))
    assert [*read(source, 0, 5)] == [(at, content(name)) for at, name in enumerate(TREE)]
    assert [*read(source, 3, 4)] == [(3, content(TREE[3]))]


def test_shards_follow_one_another_and_shared_folders_are_no_classes(tmp_path, opened):
    pack(tmp_path / "shards" / "b.tar", "train/dog/1.png")
    pack(tmp_path / "shards" / "a.tar", "./train/dog/9.png", "train/cat/1.png")
    source = opened("tar", tmp_path / "shards" / "*.tar")
    assert source.name == "shards"
    assert source.index.keys == ("train/dog/9.png", "train/cat/1.png", "train/dog/1.png")
    assert source.index.class_names == ("cat", "dog")
    assert [data for _, data in read(source, 1, 3)] == [content(key) for key in source.index.keys[1:]]
    assert opened("tar", tmp_path / "shards" / "*.tar", limit=2).index.keys == source.index.keys[:2]
    assert opened("tar", tmp_path / "shards" / "*.tar").digest == source.digest


def test_a_linked_member_is_the_file_that_it_links_to(tmp_path, opened):
    path = pack(tmp_path / "pets.tar", "cat/a.png")
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("dog/a.png")
        member.type, member.linkname = tarfile.LNKTYPE, "cat/a.png"
        archive.addfile(member)
    source = opened("tar", path)
    assert [*read(source, 0, 2)] == [(0, content("cat/a.png")), (1, content("cat/a.png"))]


def test_nothing_of_a_tar_is_unpacked(tmp_path, opened):
    path = pack(tmp_path / "only" / "pets.tar", *TREE)
    [*read(opened("tar", path), 0, 5)]
    assert [entry.name for entry in path.parent.iterdir()] == ["pets.tar"]


def test_the_photos_are_a_thousand_in_class_order(test_data, opened):
    source = opened("tar", test_data / "photos-1000.tar", labels=str(test_data / "imagenet-labels.txt"))
    assert len(source) == 1000
    assert source.index.keys[0] == "n01440764/n01440764_tench.jpg"
    assert source.index.labels.tolist() == [*range(1000)]
    assert source.index.class_ids[1] == "n01443537"
    assert source.index.class_names[1] == "goldfish"
    assert source.digest.startswith("e5983ef9")
    with tarfile.open(test_data / "photos-1000.tar") as archive:
        members = archive.getmembers()
        for (_, data), member in zip(read(source, 497, 500), members[497:500], strict=True):
            assert data == archive.extractfile(member).read()


def test_the_small_photos_are_five_thousand_over_all_classes(test_data, opened):
    labels = str(test_data / "tiny-labels.txt")
    source = opened("tar", test_data / "tiny-val.tar", labels=labels)
    assert len(source) == 5000
    assert source.index.keys[0] == "n01443537/n01443537_325.webp"
    assert np.bincount(source.index.labels, minlength=200).min() > 0
    assert source.index.class_names[0] == "goldfish, Carassius auratus"
    assert opened("tar", test_data / "tiny-val.tar", labels=labels, limit=10).index.keys == source.index.keys[:10]


# ImageNet --------------------------------------------------------------------------------------------

CLASSES_FILE = "n01440764 tench, Tinca tinca\nn01443537 goldfish\nn01484850 great white shark\n"
VAL = [f"ILSVRC2012_val_0000000{number}.JPEG" for number in (1, 2, 3)]


@pytest.fixture
def flat(tmp_path):
    root = put(tmp_path / "val", *VAL)
    (tmp_path / "classes.txt").write_text(CLASSES_FILE)
    return root


@pytest.mark.parametrize("below", ["", "images/"])
def test_training_folders_are_numbered_by_the_file_of_classes(tmp_path, opened, below):
    root = put(tmp_path / "train", f"n01484850/{below}b.JPEG", f"n01443537/{below}a.JPEG")
    (tmp_path / "classes.txt").write_text(CLASSES_FILE)
    source = opened("imagenet", root, labels=str(tmp_path / "classes.txt"))
    assert source.index.labels.tolist() == [1, 2]
    assert source.index.class_ids == ("n01440764", "n01443537", "n01484850")
    assert source.index.class_names[0] == "tench, Tinca tinca"
    assert opened("imagenet", root).index.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("val.txt", "".join(f"{name} {number}\n" for name, number in zip(VAL, (2, 0, 1), strict=True))),
        ("wnids.txt", f"{VAL[1]} n01440764\n{VAL[0]} n01484850\n{VAL[2]} n01443537\n"),
        ("ILSVRC2012_validation_ground_truth.txt", "3\n1\n2\n"),
        ("val_annotations.txt", "".join(f"{name}\t{wnid}\t0\t0\t9\t9\n" for name, wnid in
                                        zip(VAL, ("n01484850", "n01440764", "n01443537"), strict=True))),
        ("LOC_val_solution.csv", "ImageId,PredictionString\n" + "".join(
            f"{name[:-5]},{wnid} 1 2 3 4 {wnid} 5 6 7 8 \n" for name, wnid in
            zip(VAL, ("n01484850", "n01440764", "n01443537"), strict=True))),
    ],
)  # fmt: skip
def test_flat_validation_images_have_the_labels_of_a_file(flat, tmp_path, opened, name, text):
    (tmp_path / name).write_text(text)
    source = opened("imagenet", flat, labels=(str(tmp_path / name), str(tmp_path / "classes.txt")))
    assert source.index.labels.tolist() == [2, 0, 1]
    assert source.index.class_names[1] == "goldfish"
    alone = opened("imagenet", flat, labels=str(tmp_path / name))
    assert alone.index.labels.tolist() == [2, 0, 1]


# Doodles ---------------------------------------------------------------------------------------------


def test_doodles_are_pixels_with_labels(opened):
    source = opened("doodles", None, limit=5)
    assert len(source) == 5
    assert source.index.class_names == CLASSES
    for image, pixels in read(source, 2, 5):
        drawn, label = draw(3, image, 32)
        assert np.array_equal(pixels, drawn)
        assert source.index.labels[image] == label
    assert source.digest == opened("doodles", None, count=5).digest
    assert (
        len({source.digest, *(opened("doodles", None, **{key: 64}).digest for key in ("seed", "count", "size"))}) == 4
    )


# What is wrong ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "root", "files", "labels", "said"),
    [
        ("folder", "gone", {}, None, "no such folder"),
        ("folder", "empty", {"empty/notes.txt": ""}, None, r"no images in it, but other files \(1 \.txt\)"),
        ("folder", "p/a.png", {"p/a.png": None}, None, "a file, expected a folder"),
        ("folder", "p", {"p/a.png": None, "p/cat/b.png": None}, None, r"1 images lie beside .* \(first a\.png\)"),
        ("folder", "p", {"p/a.png": None}, "gone.csv", r"dataset\.labels gone\.csv: no such file"),
        ("folder", "p", {"p/a.png": None, "p/b.png": None, "p/l.csv": "a.png,cat\n"}, "l.csv", "no label for 1 of 2"),
        ("folder", "p", {"p/a.png": None, "p/l.csv": "x.png,cat\n"}, "l.csv", "names no image .* has no class folders"),
        ("folder", "p", {"p/a.png": None, "p/l.csv": "\n"}, "l.csv", "empty"),
        ("folder", "p", {"p/a.png": None, "p/l.csv": "key,label\n"}, "l.csv", "empty"),
        ("folder", "p", {"p/a.png": None, "p/l.txt": "a.png 9999999999\n"}, "l.txt", "class number 9999999999"),
        ("folder", "p", {"p/cart/a.png": None, "p/l.txt": "cat\ndog\n"}, "l.txt", r"first 'cart' \(nearest: cat\)"),
        ("list", "p", {"p/a.png": None}, None, "a folder, expected a list"),
        ("list", "p/l.txt", {"p/l.txt": "a.png\n./a.png\n"}, None, r"names a\.png twice"),
        ("list", "p/l.txt", {"p/l.txt": "../a.png\n"}, None, "lies outside"),
        ("list", "p/l.txt", {}, None, r"l\.txt: cannot be read \(No such file"),
        ("list", "p/a.png", {"p/a.png": None}, None, "not UTF-8"),
        ("tar", "gone.tar", {}, None, "no such file"),
        ("tar", "p", {"p/a.png": None}, None, r"a folder, expected a tar file; name its shards by .*p/\*\.tar"),
        ("tar", "x.tar", {"x.tar": "no tar at all" * 100}, None, "no tar file, or a damaged one"),
        ("tar", "x.tar", {"x.tar": ""}, None, "no tar file, or a damaged one"),
        ("imagenet", "p", {"p/train/n01440764/a.png": None, "p/val/n01440764/b.png": None}, None, "it has train, val"),
        ("imagenet", "p", {"p/cat/a.png": None}, None, "no layout of ImageNet's"),
        ("imagenet", "p", {"p/a.JPEG": None}, None, "a flat folder of images"),
        ("imagenet", "p", {"p/a.JPEG": None, "p/l.txt": "1\n2\n"}, "l.txt", "2 numbers for 1 images"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(tmp_path, opened, kind, root, files, labels, said):
    for name, text in files.items():
        if text is None:
            put(tmp_path, name)
        else:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=said) as raised:
        opened(kind, tmp_path / root, labels=labels)
    assert "\n" not in str(raised.value)
    assert "; " in str(raised.value)  # and what to do


@pytest.mark.parametrize("mode", ["w:gz", "w:xz"])
def test_a_compressed_tar_is_named_as_such(tmp_path, opened, mode):
    with pytest.raises(DataError, match="compressed; unpack it"):
        opened("tar", pack(tmp_path / "x.tar", *TREE, mode=mode))


@pytest.mark.parametrize("damage", ["cut in a member", "cut in a head", "scribbled head"])
def test_a_damaged_tar_is_not_taken_for_a_shorter_one(tmp_path, opened, damage):
    path = pack(tmp_path / "x.tar", *TREE)
    with tarfile.open(path) as archive:
        third = archive.getmembers()[2]
    data = bytearray(path.read_bytes())
    if damage == "cut in a member":
        data = data[: third.offset_data + 20]
    if damage == "cut in a head":
        data = data[: third.offset + 100]
    if damage == "scribbled head":
        data[third.offset + 148 : third.offset + 156] = b"\xff" * 8
    path.write_bytes(data)
    with pytest.raises(DataError, match="damaged"):
        opened("tar", path)


def test_a_member_that_is_there_twice_is_an_error(tmp_path, opened):
    pack(tmp_path / "a.tar", "cat/1.png")
    pack(tmp_path / "b.tar", "cat/1.png")
    with pytest.raises(DataError, match=r"cat/1\.png is there twice, in a\.tar and b\.tar"):
        opened("tar", tmp_path / "*.tar")


def test_two_files_that_say_the_same_are_refused(tmp_path, opened):
    root = put(tmp_path / "p", "a.png")
    for name in ("l.csv", "m.csv"):
        (root / name).write_text("a.png,cat\n")
    with pytest.raises(DataError, match=r"l\.csv and .*m\.csv both give which class"):
        opened("folder", root, labels=("l.csv", "m.csv"))


def test_the_development_kits_numbers_do_not_go_with_the_order_of_wnids(tmp_path, opened):
    numbers = ["490", "361", "171", "822", "297", "482", "13", "704", "599", "164"]
    root = put(tmp_path / "val", *(f"{number:02d}.JPEG" for number in range(10)))
    (tmp_path / "truth.txt").write_text("\n".join(numbers))
    (tmp_path / "classes.txt").write_text(CLASSES_FILE)
    both = (str(tmp_path / "truth.txt"), str(tmp_path / "classes.txt"))
    with pytest.raises(DataError, match="development kit's own order"):
        opened("imagenet", root, labels=both)


@pytest.mark.parametrize(
    ("kind", "root", "changes", "said"),
    [
        ("foldr", "x", {}, "nearest: folder"),
        ("folder", None, {}, r"dataset\.root: missing"),
        ("doodles", "x", {}, r"dataset\.root: doodles are drawn"),
        ("doodles", None, {"labels": "x"}, r"dataset\.labels: doodles are drawn"),
        ("folder", "x", {"preprocess": "sqash"}, "nearest: squash"),
        ("folder", "x", {"limit": 0}, r"dataset\.limit: got 0"),
        ("folder", "x", {"bad_share": 1.5}, r"dataset\.bad_share: got 1\.5"),
        ("folder", "x", {"block": 0}, r"dataset\.block: got 0"),
        ("folder", "x", {"name": "a/b"}, r"dataset\.name: got 'a/b'"),
    ],
)
def test_settings_out_of_range_are_named(kind, root, changes, said):
    with pytest.raises(SettingsError, match=said):
        settings(kind, root, **changes)


@pytest.mark.parametrize(
    ("kind", "root", "title"),
    [
        ("folder", "/data/my photos/", "my photos"), ("tar", "photos-1000.tar", "photos-1000"),
        ("list", "a/b.txt", "b"), ("tar", "/data/shards/*.tar", "shards"), ("folder", ".", "folder"),
        ("doodles", None, "doodles"), ("imagenet", "~/val", "val"),
    ],
)  # fmt: skip
def test_a_dataset_is_called_by_the_last_part_of_its_root(kind, root, title):
    assert settings(kind, root).title == title


def test_a_moved_dataset_is_the_same_dataset(tmp_path, opened):
    before = opened("folder", put(tmp_path / "a", *TREE))
    shutil.move(tmp_path / "a", tmp_path / "b")
    assert opened("folder", tmp_path / "b").digest == before.digest


# Faults of the machine -------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_disk_that_fails_while_a_folder_is_indexed_changes_no_digest_but_ends_the_run(
    tmp_path, opened, number, monkeypatch
):
    root = put(tmp_path / "pets", *TREE, old=True)

    def fails(path, *_, **__):
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as failing:
        failing.setattr(hashes, "open", fails, raising=False)
        with pytest.raises(EnvironmentFault, match=rf"{os.strerror(number)}\) while the dataset was indexed"):
            opened("folder", root)
    with monkeypatch.context() as failing:
        failing.setattr(os, "scandir", fails)
        with pytest.raises(EnvironmentFault, match=rf"/pets: cannot be read \({os.strerror(number)}"):
            opened("folder", root)
    assert opened("folder", root).index.hashes.any(axis=1).all()


def test_a_dataset_is_visible_where_its_root_can_be_read(tmp_path, monkeypatch):
    root = put(tmp_path / "pets", *TREE)
    tar = pack(tmp_path / "pets.tar", *TREE)
    (tmp_path / "list.txt").write_text("pets/cat/a.png\n")
    (tmp_path / "empty").mkdir()
    listed = tmp_path / "list.txt"
    for kind, path in (("folder", root), ("imagenet", root), ("tar", tar), ("folder", tar), ("list", listed)):
        assert visible(settings(kind, path)) is None
    assert visible(settings("doodles", None)) is None
    gone = tmp_path / "gone"
    for kind, path, why in (
        ("folder", gone, "no such folder"),
        ("folder", tmp_path / "empty", "an empty folder"),
        ("tar", gone / "*.tar", "no such file"),
        ("list", gone / "list.txt", "No such file"),
    ):
        line = visible(settings(kind, path))
        assert line.startswith(f"dataset.root {path}: cannot be read here ({why}") and "\n" not in line
    monkeypatch.chdir(tmp_path)
    relative = settings("folder", "pets").anywhere()
    assert (relative.root, relative.title) == (str(root), "pets")
