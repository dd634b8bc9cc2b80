"""The schema as a value: paths, chunks, encoding, names, and its page in the docs."""

from __future__ import annotations

import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray

from atlas_viewer import format
from atlas_viewer.evidence.ascent import STYLE
from atlas_viewer.field import DTYPES


def test_the_page_in_the_docs_is_the_one_that_the_schema_writes():
    page = Path(__file__).parents[2] / "docs" / "format.md"
    assert page.read_text(encoding="utf-8") == format.describe()


def test_every_part_of_the_schema_stands_in_the_docs():
    text = format.describe()
    for kind in format.SCHEMA:
        assert f"## `{kind.path}`" in text
        for part in (*kind.attributes, *kind.fields):
            assert f"| `{part.name}` |" in text


def test_a_layer_with_slashes_gets_dots_and_colliding_layers_stay_distinct():
    names = format.group_names(["a/b", "a.b", "A.B", "a", ".", ""])
    assert names == {"a/b": "a.b", "a.b": "a.b~2", "A.B": "A.B~3", "a": "a", ".": "_.", "": "_"}


def test_a_picture_is_one_chunk_and_small_arrays_have_none():
    sizes = {"unit": 1000, "sample": 9, "y": 227, "x": 227, "point": 100}
    assert STYLE["pixels"].chunks(sizes) == (1, 1, 227, 227, 3)
    assert STYLE["pixels"].filters == (("deflate", 4),)
    assert STYLE["trace"].filters == (("shuffle", 4), ("deflate", 4))
    assert STYLE["trace"].chunks(sizes) == (72, 9, 100)
    assert STYLE["attempt"].chunks({"unit": 4, "sample": 2}) is None
    assert STYLE["pixels"].chunks(sizes | {"unit": 0}) is None


@pytest.mark.parametrize("dtype", ["u1", "i4", "u8", "f4", "status"])
def test_a_chunk_encoded_by_hand_reads_back_and_decodes(tmp_path, dtype):
    field = format.Field("numbers", dtype, ("unit", "sample"), "numbers")
    values = np.random.default_rng(0).integers(0, 6, (3000, 3)).astype(DTYPES[dtype])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = field.create(file, {"unit": 3000, "sample": 3})
        chunk = np.zeros(dataset.chunks, values.dtype)
        chunk[: len(values)] = values[: len(chunk)]
        dataset.id.write_direct_chunk((0, 0), field.encode(chunk))
        assert (dataset[: len(chunk)] == values[: len(chunk)]).all()
    assert (field.decode(field.encode(chunk), chunk.shape) == chunk).all()


def test_what_was_never_written_reads_as_missing(tmp_path):
    sizes = {"unit": 2, "sample": 2, "y": 3, "x": 3}
    with h5py.File(tmp_path / "a.h5", "w") as file:
        read = {name: STYLE[name].create(file, sizes)[...] for name in ("activation", "best_step", "status")}
    assert np.isnan(read["activation"]).all()
    assert (read["best_step"] == -1).all()
    assert (read["status"] == format.Status.missing).all()


def test_a_group_refuses_attributes_that_do_not_fit(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        with pytest.raises(ValueError, match="attribute layer is missing; attribute size is not in the schema"):
            format.LAYER.create(file, {"size": 3}, layer="conv1")
        with pytest.raises(ValueError, match="attribute layer is 3, expected text"):
            format.LAYER.create(file, {"layer": 3}, layer="conv1")


def test_a_dataset_refuses_values_of_another_shape(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        with pytest.raises(ValueError, match=r"got shape \(3,\), expected \(4,\)"):
            format.UNITS["window"].write(file, (1, 2, 3))
        with pytest.raises(ValueError, match="got 1 axes"):
            STYLE["attempt"].write(file, (1, 2, 3))


def test_xarray_reads_a_group_with_its_own_axes_and_coordinates(generated_atlas):
    read = {}
    for path in ("layers/conv1/ascent/sparse", "layers/mixed.3a/statistics", "dataset/images", "dataset"):
        with xarray.open_dataset(generated_atlas, group=path, engine="h5netcdf") as group:
            read[path] = group.load()
    style, statistics = read["layers/conv1/ascent/sparse"], read["layers/mixed.3a/statistics"]
    assert style["pixels"].dims == ("unit", "sample", "y", "x", "rgb") and set(style.coords) == {"unit", "sample"}
    assert statistics["unit"].values.tolist() == [2, 3, 5, 7] and {"quantile", "edge"} < set(statistics.coords)
    assert statistics["dead"].values.tolist() == [False, False, False, True]
    assert style["status"].attrs["flag_meanings"].split()[1] == "ok"
    assert read["dataset"].sizes == {"class": 4, "skipped": 2} and "phony" not in str(read)


def test_no_group_has_an_axis_of_a_group_that_it_lies_in():
    for kind in format.SCHEMA:  # netCDF inherits axes, and a tree of xarray wants them to agree
        inherited = {axis for other in format.SCHEMA if kind.path.startswith(f"{other.path}/") for axis in other.axes}
        assert not kind.axes & inherited, kind.path


def test_a_scale_may_come_before_or_after_what_it_measures(tmp_path):
    kind = format.Group("/a", "a", (), (format.Field("b", "f4", ("unit", "point"), "b"),))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, order in {"first": ("unit", "b"), "last": ("b", "unit")}.items():
            for field in order:
                kind[field].write(file.require_group(name), {"unit": [3, 5], "b": np.zeros((2, 4))}[field])
            assert [each[0].name for each in file[f"{name}/b"].dims] == [f"/{name}/unit", f"/{name}/point"]
            assert file[f"{name}/unit"][...].tolist() == [3, 5]
        with pytest.raises(ValueError, match="/last: axis unit has length 2, got 3"):
            kind["unit"].write(file["last"], [1, 2, 3])


def test_a_schema_refuses_a_dataset_with_the_name_of_anothers_axis():
    with pytest.raises(ValueError, match="/a: code is the name of an axis and of a dataset with other axes"):
        format.Group("/a", "a", (), (format.Field("code", "f4", ("unit", "code"), "a"),))


def test_equal_content_gives_equal_bytes_at_another_time(tmp_path, write_atlas):
    write_atlas(tmp_path / "a.h5")
    time.sleep(1.1)  # the time stamps of HDF5 have a grain of one second
    write_atlas(tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_names_that_no_folder_can_have_are_changed_and_stay_distinct():
    layers = ["x" * 300, "x" * 299, "ä" * 300, "a\0b", "a\nb", "../up", "..", "Conv", "conv"]
    names = format.group_names(layers)
    assert len({name.casefold() for name in names.values()}) == len(layers)
    for name in names.values():
        assert len(name.encode()) < 255 and name.isprintable() and "/" not in name and name.strip(".")
