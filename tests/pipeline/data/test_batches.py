"""Batches have one shape and the order of the dataset for any number of threads; bad images are listed."""

from __future__ import annotations

import errno
import io
import os
import pickle
import tarfile
import threading
from dataclasses import dataclass, replace

import numpy as np
import pytest
from image_forms import BROKEN, FORMS, picture, saved
from PIL import Image

from pipeline.data import image_files
from pipeline.data.batches import Skipped, batches, check_bad
from pipeline.data.doodles import Doodles
from pipeline.data.open_source import open_source
from pipeline.data.source import DoodleSource, doodle_source
from pipeline.dataset_settings import DatasetSettings
from pipeline.errors import DataError, EnvironmentFault

GREY = (120, 130, 140)
FOLDER = DatasetSettings(
    kind="folder", name=None, root="nowhere", labels=None, classes=None, limit=None, preprocess="squash",
    reduced_decoding=False, bad_share=0.01, block=64, seed=0, count=30, size=32,
)  # fmt: skip


def read(source, start=0, stop=None, *, side=32, batch=4, threads=2):
    skipped: list[Skipped] = []
    stop = len(source) if stop is None else stop
    found = [*batches(source, start, stop, height=side, width=side, preprocess="squash", fill=GREY, reduced=False,
                      batch=batch, threads=threads, skipped=skipped)]  # fmt: skip
    return found, skipped


@pytest.fixture
def mixed(tmp_path):
    """Twelve pictures; the third, fourth and last are damaged."""
    for number in range(12):
        broken = number in (2, 3, 11)
        name = tmp_path / "mixed" / f"{number:02d}.png"
        name.parent.mkdir(exist_ok=True)
        name.write_bytes(b"no image" if broken else saved(picture(20, 30, seed=number), "PNG"))
    return open_source(replace(FOLDER, root=str(tmp_path / "mixed")), cache=tmp_path / "cache")


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_batches_have_one_shape_and_the_order_of_the_dataset(mixed, threads):
    found, skipped = read(mixed, threads=threads)
    assert [batch.images for batch in found] == [(0, 1, 4, 5), (6, 7, 8, 9), (10,)]
    assert [batch.count for batch in found] == [4, 4, 1]
    assert {batch.pixels.shape for batch in found} == {(4, 32, 32, 3)}
    assert (found[-1].pixels == found[-1].pixels[0]).all()  # the last picture, repeated
    assert [(bad.image, bad.key) for bad in skipped] == [(2, "02.png"), (3, "03.png"), (11, "11.png")]
    alone, _ = read(mixed, 5, 6, threads=0)
    assert np.array_equal(alone[0].pixels[0], found[0].pixels[3])
    assert alone[0].placements[0] == found[0].placements[3]


@dataclass(frozen=True, eq=False)
class Counted(DoodleSource):
    """Drawings that record which of them were requested."""

    asked: list[int]

    def loads(self, start, stop):
        for image, load in super().loads(start, stop):
            self.asked.append(image)
            yield image, load


def test_no_more_than_two_batches_are_decoded_ahead_and_none_after_the_end():
    drawings = doodle_source("doodles", Doodles(0, 200, 16))
    source = Counted(drawings.name, drawings.index, drawings.doodles, [])
    stream = batches(source, 0, 200, height=16, width=16, preprocess="resize", fill=GREY, reduced=False, batch=16,
                     threads=2, skipped=[])  # fmt: skip
    for _ in range(3):
        next(stream)
    assert 3 * 16 + 16 <= len(source.asked) <= (3 + 2) * 16 + 8
    stream.close()
    assert len(source.asked) <= (3 + 2) * 16 + 8
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_a_picture_that_changed_after_it_was_hashed_ends_the_run(mixed):
    (mixed.root / "05.png").write_bytes(saved(picture(20, 30, seed=77), "PNG"))
    with pytest.raises(EnvironmentFault, match=r"mixed: 05\.png has changed"):
        read(mixed)


@pytest.mark.parametrize("threads", [0, 2])
def test_a_file_that_went_is_a_fault_of_the_machine(mixed, threads):
    (mixed.root / "05.png").unlink()
    with pytest.raises(
        EnvironmentFault, match=r"/mixed/05\.png: cannot be read \(No such file or directory\)"
    ) as raised:
        read(mixed, threads=threads)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.EACCES])
def test_a_mount_that_fails_is_a_fault_of_the_machine(mixed, number, monkeypatch):
    def fails(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(image_files, "open", fails, raising=False)
    with pytest.raises(EnvironmentFault, match=os.strerror(number)):
        read(mixed)


def test_an_image_that_the_index_lacks_is_bad_wherever_it_is_read(mixed, tmp_path):
    (mixed.root / "05.png").unlink()
    os.symlink(tmp_path / "gone.png", mixed.root / "05.png")
    source = open_source(replace(FOLDER, root=str(mixed.root)), cache=tmp_path / "again")
    _, skipped = read(source)
    (tmp_path / "gone.png").write_bytes(saved(picture(20, 30, seed=5), "PNG"))
    _, there = read(source)
    assert skipped == there
    assert skipped[2] == Skipped(5, "05.png", "could not be read when the dataset was indexed")


def test_sources_travel(mixed):
    found, skipped = read(pickle.loads(pickle.dumps(mixed)))
    assert [batch.count for batch in found] == [4, 4, 1]
    assert len(skipped) == 3


def test_a_few_bad_images_pass_and_more_than_the_share_do_not():
    bad = [Skipped(number, f"{number}.jpg", "empty file") for number in range(30)]
    check_bad([], 10, 0.01, "photos")
    check_bad(bad[:5], 20, 0.01, "photos")  # a handful
    check_bad(bad[:10], 1000, 0.01, "photos")
    with pytest.raises(
        DataError, match=r"dataset photos: 11 of 1000 .* allowed are 10 \(0\.jpg: empty file; .*…\); mend"
    ):
        check_bad(bad[:11], 1000, 0.01, "photos")
    with pytest.raises(DataError, match="6 of 20"):
        check_bad(bad[:6], 20, 0.01, "photos")
    with pytest.raises(DataError, match="3 of 3"):
        check_bad(bad[:3], 3, 0.01, "photos")  # no image is left
    with pytest.raises(DataError, match="1 of 1000"):
        check_bad(bad[:1], 1000, 0.0, "photos")


def test_a_thousand_photos_of_which_37_are_broken(test_data, tmp_path):
    """Photos as published and in every format, 36 files damaged in twelve ways, and a dangling link."""
    root = tmp_path / "photos"
    root.mkdir()
    forms, ways = [*FORMS.items()], [*BROKEN.items()]
    shown, why = {}, {}
    with tarfile.open(test_data / "photos-1000.tar") as archive:
        for number, member in enumerate(archive):
            data, key = archive.extractfile(member).read(), f"{number:03d}.jpg"
            if number % 27 == 1 and len(why) < 36:
                encode, why[key] = ways[len(why) % len(ways)][1]
                data = encode(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
            elif number % 10 == 0:
                form = forms[number // 10 % len(forms)][1]
                upright = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
                data, shown[key] = form.encode(upright), (form.shows(upright).clip(0, 255).astype(np.uint8), form.error)
            elif number == 999:
                why[key] = "could not be read"
                os.symlink(tmp_path / "gone", root / key)
                continue
            (root / key).write_bytes(data)
    source = open_source(replace(FOLDER, root=str(root)), cache=tmp_path / "cache")
    found, skipped = read(source, side=64, batch=64)
    assert len(why) == 37
    assert len({word for _, word in BROKEN.values()}) > 3
    assert sum(batch.count for batch in found) == 963
    assert [bad.key for bad in skipped] == sorted(why)
    assert [bad for bad in skipped if why[bad.key] not in bad.reason] == []
    compared = 0
    for batch in found:
        for image, pixels in zip(batch.images, batch.pixels, strict=False):
            if source.index.keys[image] in shown:
                upright, error = shown[source.index.keys[image]]
                wanted = Image.fromarray(upright).resize((64, 64), Image.Resampling.BILINEAR)
                assert np.abs(pixels - np.asarray(wanted).astype(float)).mean() <= error + 1
                compared += 1
    assert compared == len(shown) >= len(FORMS)
    check_bad(skipped, len(source), 0.04, source.name)
    with pytest.raises(DataError, match="37 of 1000"):
        check_bad(skipped, len(source), 0.01, source.name)
