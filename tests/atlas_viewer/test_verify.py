"""Every kind of damage to a sealed atlas is found and named by its place; a sound one has none."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pytest

from atlas_viewer.errors import FormatError
from atlas_viewer.evidence.ascent import STYLE
from atlas_viewer.field import Field, Group
from atlas_viewer.seal import group_digest, groups, seal, seal_file
from atlas_viewer.verify import faults

STYLE_PATH = "/layers/fc8/ascent/sparse"


def test_a_sound_atlas_is_as_it_was_written(generated_atlas):
    assert list(faults(generated_atlas)) == []


def flip(path, dataset: str, at: tuple[int, ...], byte: int) -> None:
    """Flip one bit of a stored chunk where it lies in the file."""
    with h5py.File(path) as file:
        stored = file[dataset].id.get_chunk_info_by_coord((*at, *(0,) * (file[dataset].ndim - len(at))))
    with path.open("r+b") as file:
        file.seek(stored.byte_offset + byte)
        value = file.read(1)[0]
        file.seek(stored.byte_offset + byte)
        file.write(bytes([value ^ 1]))


@pytest.fixture
def copy(sound_atlas, tmp_path):
    return shutil.copyfile(sound_atlas, tmp_path / "atlas.h5")


@pytest.mark.parametrize("byte", [0, 100, -1])
def test_one_flipped_bit_of_a_picture_is_found(copy, byte):
    with h5py.File(copy) as file:
        size = file[f"{STYLE_PATH}/pixels"].id.get_chunk_info_by_coord((3, 1, 0, 0, 0)).size
    flip(copy, f"{STYLE_PATH}/pixels", (3, 1), byte % size)
    (fault,) = faults(copy)
    assert fault.startswith(f"{STYLE_PATH}/pixels[3, 1]: the picture is not the one that was written; put a whole copy")


def test_codes_back_projections_and_pictures_of_the_dataset_are_covered(generated_atlas, tmp_path):
    copy = shutil.copyfile(generated_atlas, tmp_path / "atlas.h5")
    flip(copy, "/layers/fc8/dgn/toy/best_code", (0, 1), 9)
    flip(copy, "/dataset/images/pixels", (5,), 9)
    flip(copy, "/layers/fc8/tops/largest/gradient", (1, 2), 9)
    assert [fault.split(":")[0] for fault in faults(copy)] == [
        "/dataset/images/pixels[5]",
        "/layers/fc8/dgn/toy/best_code[0, 1]",
        "/layers/fc8/tops/largest/gradient[1, 2]",
    ]


def assign(path: str, where: object, value: object):
    return lambda file: file[path].__setitem__(where, value)


CHANGES = {
    "a number": assign(f"{STYLE_PATH}/activation", (0, 0), 41.5),
    "a text": assign("/network/labels", 5, "c"),
    "a yes/no": assign("/network/layers/class_layer", 0, True),
    "a digest": assign(f"{STYLE_PATH}/pixels_digest", (0, 0), 7),
    "a setting": lambda file: file[STYLE_PATH].attrs.__setitem__("blur_width", 0.75),
    "an optional array": lambda file: file.__delitem__(f"{STYLE_PATH}/reason"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_value_is_found_in_its_group(copy, name):
    with h5py.File(copy, "r+") as file:
        CHANGES[name](file)
    where = "/network/layers" if name == "a yes/no" else "/network" if name == "a text" else STYLE_PATH
    assert f"{where}: its numbers, texts or attributes are not" in "\n".join(faults(copy))


def test_a_group_that_was_sealed_anew_no_longer_fits_the_atlas(copy):
    with h5py.File(copy, "r+") as file:
        file[STYLE_PATH].attrs["blur_width"] = 0.75
        seal(file[STYLE_PATH], STYLE)
    assert [fault.split(";")[0] for fault in faults(copy)] == [
        "/: the seals of its groups are not those that it was completed with"
    ]


def test_a_group_that_was_removed_is_missed(copy):
    with h5py.File(copy, "r+") as file:
        del file["/layers/fc8/ascent/low_frequency"]
    assert any(fault.startswith("/: the seals") for fault in faults(copy))


@pytest.mark.parametrize("eighth", range(1, 8, 2))
def test_zeros_anywhere_in_the_file_are_a_fault_and_no_traceback(copy, eighth):
    whole = copy.read_bytes()
    place = len(whole) * eighth // 8
    copy.write_bytes(whole[:place] + bytes(4096) + whole[place + 4096 :])
    try:
        found = list(faults(copy))
    except FormatError as error:
        found = [str(error)]
    assert found and all("put a whole copy" in fault for fault in found)


def test_texts_of_another_division_and_values_of_another_shape_have_other_digests(tmp_path):
    kind = Group("/a", "a", (), (Field("text", "text", ("n",), "a"), Field("value", "i4", ("y", "x"), "a")))
    digests = set()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for text in (["ab", "c"], ["a", "bc"], ["abc", ""]):
            for shape in ((2, 3), (3, 2)):
                group = file.create_group(f"{len(file)}")
                kind["text"].write(group, text)
                kind["value"].write(group, np.arange(6).reshape(shape))
                digests.add(group_digest(group, kind))
    assert len(digests) == 6


def test_an_atlas_in_parts_is_verified_where_they_are(copy, tmp_path):
    (tmp_path / "parts").mkdir()
    shutil.copyfile(copy, tmp_path / "parts" / "style.h5")
    with h5py.File(copy, "r+") as file:
        del file[STYLE_PATH]
        file[STYLE_PATH] = h5py.ExternalLink("parts/style.h5", STYLE_PATH)
    seal_file(copy)
    assert list(faults(copy)) == []
    flip(tmp_path / "parts" / "style.h5", f"{STYLE_PATH}/pixels", (2, 0), 50)
    assert [fault.split(":")[0] for fault in faults(copy)] == [f"{STYLE_PATH}/pixels[2, 0]"]


def test_pictures_of_a_virtual_dataset_are_verified_in_their_sources(copy, tmp_path):
    shutil.copyfile(copy, tmp_path / "source.h5")
    with h5py.File(copy, "r+") as file:
        style = file[STYLE_PATH]
        layout = h5py.VirtualLayout(style["pixels"].shape, "u1")
        for rows in (slice(0, 5), (5, 0)):  # all but the picture that is missing
            layout[rows] = h5py.VirtualSource("source.h5", f"{STYLE_PATH}/pixels", style["pixels"].shape)[rows]
        del style["pixels"]
        STYLE["pixels"].create_virtual(style, layout)
    found = [fault for fault in faults(copy) if "pixels[" in fault]
    assert found == []
    flip(tmp_path / "source.h5", f"{STYLE_PATH}/pixels", (4, 1), 3)
    assert [fault.split(":")[0] for fault in faults(copy) if "pixels[" in fault] == [f"{STYLE_PATH}/pixels[4, 1]"]


def test_an_atlas_without_seals_is_one_line_that_says_how_to_seal_it(copy):
    with h5py.File(copy, "r+") as file:
        for _, group, _ in groups(file):
            del group.attrs["seal"]
        del file.attrs["content"]
    (fault,) = faults(copy)
    assert fault.startswith("/: has no seals") and "make pack with the same OUT writes it with seals" in fault
    flip(copy, f"{STYLE_PATH}/pixels", (3, 1), 50)
    assert [fault.split(":")[0] for fault in faults(copy)] == ["/", f"{STYLE_PATH}/pixels[3, 1]"]


def test_viewers_are_led_to_the_first_style_of_the_class_layer(generated_atlas):
    with h5py.File(generated_atlas) as file:
        group, way = file["/"], []
        while "default" in group.attrs:
            way.append(str(group.attrs["NX_class"]))
            group = group[group.attrs["default"]]
        assert (group.name, group.attrs["NX_class"]) == ("/layers/fc8/ascent/low_frequency", "NXdata")
        assert way == ["NXroot", "NXentry", "NXsubentry", "NXcollection"]
        assert group.attrs["axes"].tolist() == ["unit", "sample", ".", ".", "."]
        assert group[group.attrs["signal"]].attrs["interpretation"] == b"rgb-image"
        assert all("seal" in each.attrs for _, each, _ in groups(file))


def corrupt(file: h5py.File, path: str, field: Field) -> None:
    """Change one value of a dataset as it is, or one byte of a stored chunk of pictures; digests stay as they are."""
    dataset = file[path]
    if field.by_picture:
        where = next(at for at in np.ndindex(*dataset.shape[: -field.picture_axes]) if file[f"{path}_digest"][at])
        coordinates = (*where, *(0,) * (dataset.ndim - len(where)))
        mask, chunk = dataset.id.read_direct_chunk(coordinates)
        dataset.id.write_direct_chunk(coordinates, chunk[:-1] + bytes([chunk[-1] ^ 4]), filter_mask=mask)
        return
    last = (-1,) * dataset.ndim
    value = dataset[last] if dataset.ndim else dataset[()]
    if isinstance(value, bytes):
        changed = value.decode() + "x"
    else:
        changed = (
            1.5
            if value.dtype.kind == "f" and not np.isfinite(value)
            else value ^ 1
            if value.dtype.kind in "iu"
            else -value - 1
        )
    dataset[last if dataset.ndim else ()] = changed


def stored_fields(path) -> list[tuple[str, str, Field]]:
    """Group, kind and field of one dataset of every kind in a file."""
    with h5py.File(path) as file:
        found = {(kind.path, field.name): (place, field) for place, group, kind in groups(file) for field in kind.fields
                 if field.name in group and group[field.name].size}  # fmt: skip
    return [(place, kind, field) for (kind, _), (place, field) in found.items()]


def test_corruptions_of_every_group_are_found_each_at_its_place(generated_atlas, tmp_path):
    """A picture of every kind, and a number or text of every group: at least 50, at once."""
    copy = shutil.copyfile(generated_atlas, tmp_path / "atlas.h5")
    pictures = [f"{place}/{field.name}" for place, _, field in stored_fields(copy) if field.by_picture]
    numbers = {}
    with h5py.File(copy, "r+") as file:
        for place, _, field in stored_fields(copy):
            if field.by_picture:
                corrupt(file, f"{place}/{field.name}", field)
        for turn, (place, group, kind) in enumerate(groups(file)):
            own = [one for one in kind.fields if one.name in group and not one.by_picture and group[one.name].size]
            safe = [one for one in own if one.dtype in ("f4", "f8", "text") and not one.is_coordinate]
            if safe:
                numbers[place] = safe[turn % len(safe)]
                corrupt(file, f"{place.rstrip('/')}/{numbers[place].name}", numbers[place])
    found = [fault.split(":")[0] for fault in faults(copy)]
    assert len(pictures) + len(numbers) >= 50
    assert [name for name in pictures if not any(place.startswith(f"{name}[") for place in found)] == []
    assert [place for place in numbers if place not in found] == []


@pytest.mark.slow
def test_each_of_fifty_corruptions_is_found_alone(generated_atlas, tmp_path):
    every, missed = stored_fields(generated_atlas), []
    chosen = np.random.default_rng(0).choice(len(every), 50, replace=False)
    for place, kind, field in (every[at] for at in chosen):
        copy = shutil.copyfile(generated_atlas, tmp_path / "atlas.h5")
        with h5py.File(copy, "r+") as file:
            corrupt(file, f"{place.rstrip('/')}/{field.name}", field)
        if not any(fault.startswith(place) for fault in faults(copy)):
            missed.append(f"{kind}/{field.name}")
    assert missed == []


def test_a_seal_that_is_no_text_is_a_fault_and_no_traceback(copy):
    with h5py.File(copy, "r+") as file:
        file[STYLE_PATH].attrs.create("seal", b"\xff" * 64, dtype=h5py.string_dtype())
    assert [fault.split(":")[0] for fault in faults(copy)] == [STYLE_PATH, "/"]


def test_arrays_that_state_an_absurd_size_are_not_read_and_all_else_is_verified(copy):
    flip(copy, "/layers/conv1/ascent/sparse/pixels", (3, 1), 9)
    with h5py.File(copy, "r+") as file:
        for name in ("activation", "pixels_digest"):
            del file[f"{STYLE_PATH}/{name}"]
            file.create_dataset(f"{STYLE_PATH}/{name}", (1 << 40, 2), "u8", chunks=(1 << 10, 2))
    found = list(faults(copy))
    assert any(fault.startswith(f"{STYLE_PATH}: dataset pixels_digest: axis unit has length 1099") for fault in found)
    assert any(fault.startswith("/layers/conv1/ascent/sparse/pixels[3, 1]: the picture is not") for fault in found)
