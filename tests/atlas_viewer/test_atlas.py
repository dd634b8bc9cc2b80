"""Reading an atlas back: by name, by address, by citation, as tables; and the errors on the way."""

from __future__ import annotations

import csv
import pickle
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from atlas_viewer import format
from atlas_viewer.atlas import Atlas
from atlas_viewer.errors import AtlasError, FormatError, MissingError
from atlas_viewer.evidence.numbers import Number


@pytest.fixture
def atlas(sound_atlas):
    with Atlas(sound_atlas) as opened:
        yield opened


def test_what_was_written_is_read(atlas, sound_atlas):
    assert atlas.layers == ("conv1", "mixed/3a", "fc8")
    assert atlas["mixed/3a"].units.tolist() == [2, 3, 5, 7]
    assert atlas["mixed/3a"].info.window_offset == (-4, -4)
    assert atlas["mixed/3a"].pictures("sparse").cut == (1, 0, 0, 0)
    assert atlas["fc8"].info.class_layer and not atlas["conv1"].info.class_layer
    assert atlas.edges == (
        ("data", "conv1"),
        ("conv1", "mixed/3a"),
        ("data", "mixed/3a"),
        ("mixed/3a", "fc8"),
    )
    assert atlas.settings.startswith("seed: 0")
    assert atlas.unit("fc8:3").label == "空 sky"
    style = atlas["conv1"].pictures("low_frequency")
    assert style.numbers == {"blur_width": 1.0, "max_iter": 20, "policy": "constant"}
    with h5py.File(sound_atlas) as file:
        assert (file["layers/mixed.3a/ascent/sparse/pixels"][2] == atlas.unit("mixed/3a:5").pictures("sparse")).all()


def test_the_mean_comes_in_the_order_of_the_pixels(atlas):
    assert atlas.mean.tolist() == [[[123.0, 117.0, 104.0]]]


def test_pictures_by_ascent_are_shown_stretched_around_the_mean_and_those_through_a_prior_as_they_are(generated_atlas):
    with Atlas(generated_atlas) as atlas:
        layer = next(layer for layer in atlas if layer.styles and layer.runs)
        drawn, run = layer.pictures(layer.styles[0]), layer.run(layer.runs[0])
        assert (layer.as_shown(run, run.pixels[0]) == run.pixels[0]).all()
        shown = layer.as_shown(drawn, drawn.pixels[0])
        for picture, stretched in zip(drawn.pixels[0] - atlas.mean, shown, strict=True):
            largest = np.abs(picture).max()
            np.testing.assert_allclose(stretched / 255, picture / (2 * largest) + 0.5, atol=1 / 255)


def test_a_unit_is_found_by_number_label_address_and_citation(atlas):
    assert atlas.unit("fc8:1") == atlas["fc8"][1] == atlas["fc8"]["Schäferhund & Söhne"]
    unit = atlas.unit("mixed/3a:5")
    assert unit.citation == "doodlenet@0123456789ab:mixed/3a:5"
    assert atlas.unit(unit.citation) == unit == atlas.unit("doodlenet@0123:mixed/3a:5")


def test_each_unit_is_at_its_own_address(atlas):
    for layer in atlas:
        for unit in layer:
            assert atlas.unit(unit.address) == unit


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda a: a["conv2"], r"no layer conv2 \(nearest: conv1\); it has conv1, mixed/3a, fc8"),
        (lambda a: a.unit("mixed/3a:4"), "layer mixed/3a: no unit 4.*; it has 4, 2 to 7"),
        (lambda a: a.unit("fc8:tench"), "no unit tench"),
        (lambda a: a.unit("fc8"), "expected layer:unit, for example conv1:0"),
        (
            lambda a: a.unit("doodlenet@ffff:fc8:0"),
            "cites doodlenet@ffff, but .* shows doodlenet@0123456789ab",
        ),
        (lambda a: a.unit("other@0123:fc8:0"), "cites other@0123"),
        (lambda a: a.unit("fc8:0").pictures("sparce"), r"no style sparce \(nearest: sparse\)"),
        (lambda a: a["fc8"].scores("squeez", "sparse"), r"no judge squeez \(nearest: squeeze\)"),
    ],
)
def test_what_is_not_there_is_said_with_the_near_match(atlas, ask, told):
    with pytest.raises(MissingError, match=told) as caught:
        ask(atlas)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_atlas_is_refused(tmp_path):
    with pytest.raises(MissingError, match="no such file; write it with make atlas"):
        Atlas(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(FormatError, match="not an HDF5 file"):
        Atlas(tmp_path / "text.h5")
    with h5py.File(tmp_path / "cut.h5", "w") as file:
        file["values"] = np.zeros(10000)
    with (tmp_path / "cut.h5").open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(FormatError, match=r"cut.h5: damaged \(.*truncated.*the same OUT computes it again"):
        Atlas(tmp_path / "cut.h5")
    h5py.File(tmp_path / "empty.h5", "w").close()
    with pytest.raises(FormatError, match="an HDF5 file, but not an atlas"):
        Atlas(tmp_path / "empty.h5")


@pytest.mark.parametrize(
    ("version", "todo"),
    [(format.VERSION + 1, "update the viewer"), (format.VERSION - 1, "write the atlas again")],
)
def test_another_version_is_refused_with_what_to_do(tmp_path, write_atlas, version, todo):
    write_atlas(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file.attrs["version"] = version
    with pytest.raises(AtlasError, match=f"schema {version}, this viewer reads {format.VERSION}; {todo}"):
        Atlas(tmp_path / "a.h5")


def test_missing_pictures_read_as_zeros_with_a_status(atlas):
    unit = atlas.unit("mixed/3a:3")
    assert unit.status("sparse") == (format.Status.failed,) * 2
    assert not unit.pictures("sparse").any()
    assert np.isnan(unit.activation("sparse")).all()
    assert atlas["mixed/3a"].pictures("sparse").reason[1] == "the <gradient> overflowed"
    assert atlas["mixed/3a"].pictures("sparse").best_sample[1] == -1


def test_the_best_sample_has_the_highest_activation(atlas):
    style = atlas["conv1"].pictures("low_frequency")
    assert style.best_sample.tolist() == np.nanargmax(style.activation, axis=1).tolist()


def test_a_trace_has_its_steps(atlas):
    steps, values = atlas.unit("conv1:0").trace("sparse")
    assert steps.tolist() == [0, 5, 10, 15, 19]
    assert values.shape == (2, 5)


def test_scores_are_read_where_a_judge_saw_the_style(atlas):
    scores = atlas["fc8"].scores("squeeze", "sparse")
    assert scores.name(int(scores.top1[3, 0])) == "空 sky"
    assert scores.rates == {"top1_rate": 0.5, "top5_rate": 1.0}
    assert atlas["fc8"].scores("squeeze", "low_frequency") is None


def test_the_mean_under_a_window_is_cut_from_the_mean_image(atlas):
    mean = np.random.default_rng(0).uniform(90, 130, (24, 24, 3))
    window = atlas["mixed/3a"].window
    assert (atlas["mixed/3a"].pictures("sparse").mean_under(mean, window) == mean[2:14, 3:15]).all()
    assert (atlas["fc8"].pictures("sparse").mean_under(mean, (0, 0, 24, 24)) == mean).all()
    assert atlas["conv1"].pictures("sparse").mean_under(mean, (0, 0, 9, 9)).shape == (1, 1, 3)


def test_a_layer_exports_a_line_a_picture(atlas, tmp_path):
    paths = atlas.to_csv(tmp_path / "tables")
    assert [path.name for path in paths] == ["conv1.csv", "mixed.3a.csv", "fc8.csv"]
    with paths[2].open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 6 * (3 + 2)
    assert lines[3]["label"] == "tench, <i>Tinca</i>"
    assert lines[3]["squeeze:target_probability"] == "0.75"
    assert lines[0]["squeeze:target_probability"] == ""
    assert lines[-1]["status"] == "never_active" and lines[-1]["activation"] == ""


def test_pandas_has_the_columns_of_the_export(atlas, tmp_path):
    pandas = pytest.importorskip("pandas")
    read = pandas.read_csv(atlas["conv1"].to_csv(tmp_path / "conv1.csv"))
    frame = atlas["conv1"].to_pandas()
    assert list(frame.columns) == list(read.columns)
    assert np.allclose(frame.activation, read.activation, equal_nan=True)


def test_xarray_names_every_dimension(atlas):
    pytest.importorskip("xarray")
    data = atlas["mixed/3a"].to_xarray("sparse")
    assert data.pixels.dims == ("unit", "sample", "y", "x", "rgb")
    assert (data.pixels.sel(unit=5).values == atlas.unit("mixed/3a:5").pictures("sparse")).all()
    assert data.attrs["blur_width"] == 0.5


def test_the_file_opens_as_a_tree_of_xarray(atlas):
    pytest.importorskip("xarray")
    tree = atlas.to_xarray("layers/mixed.3a/ascent")
    assert set(tree.children) == {"low_frequency", "sparse"}
    pixels = tree["sparse"].pixels
    assert (pixels.sel(unit=5).values == atlas.unit("mixed/3a:5").ascent["sparse"].images).all()
    tree.close()
    with pytest.raises(MissingError, match="no group layers/mixed/3a; docs/format.md names them"):
        atlas.to_xarray("layers/mixed/3a")


def test_a_units_evidence_is_reached_by_name(generated_atlas):
    with Atlas(generated_atlas) as atlas:
        unit = atlas.unit("fc8:3")
        assert list(unit.ascent) == ["low_frequency", "sparse"] and set(unit.dgn) == set(atlas["fc8"].runs)
        assert "sparse" in unit.ascent and unit.ascent.get("toy") is None
        style, run = unit.ascent["sparse"], unit.dgn["toy"]
        assert (style.images == atlas["fc8"].ascent["sparse"].pixels[3]).all()
        assert style.activation.tolist() == unit.activation("sparse").tolist() and style.best == max(style.activation)
        assert style.status == unit.status("sparse") and unit.status() == format.Status.ok
        assert style.numbers["blur_width"] == 0.5
        assert (run.best_images == atlas["fc8"].dgn["toy"].best_pixels[3]).all()
        assert unit.top.patches.shape == unit.tops("largest").patches.shape
        with pytest.raises(MissingError, match=r"layer fc8: no run toi \(nearest: toy"):
            unit.dgn["toi"]


def test_a_slice_of_pictures_has_these_samples(generated_atlas):
    with Atlas(generated_atlas) as atlas:
        unit = atlas.unit("fc8:3")
        for whole in (unit.ascent["low_frequency"], unit.dgn["toy"]):
            for asked in (slice(1, None), slice(None, 1), slice(0, 3, 2), slice(5, 9)):
                part = whole[asked]
                assert len(part) == len(part.images) == len(whole.activation[asked])
                for name in ("images", "activation") + (("best_images", "code") if whole is unit.dgn["toy"] else ()):
                    np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[asked])
                assert part.status == whole.status[asked]
                np.testing.assert_array_equal(part.trace[1], whole.trace[1][asked])
        np.testing.assert_array_equal(whole[1:][:1].images, whole.images[1:2])
        with pytest.raises(TypeError, match="expected a slice of samples"):
            whole[0]
        with pytest.raises(ValueError, match="in rising order"):
            whole[::-1]


def test_a_slice_of_a_layer_has_the_units_of_these_numbers(atlas):
    assert [unit.number for unit in atlas["mixed/3a"][3:6]] == [3, 5]
    assert [unit.number for unit in atlas["mixed/3a"][::2]] == [2]
    with pytest.raises(MissingError, match="a slice is of units' numbers"):
        atlas["mixed/3a"][-2:]


def test_the_statistics_of_a_unit_are_its_row(mined_atlas):
    with Atlas(mined_atlas) as atlas:
        layer, row = atlas["mixed/3a"], 2
        stats, whole = layer.unit(5).stats, layer.statistics
        assert (stats.mean, stats.most, stats.least) == (whole.mean[row], whole.most[row], whole.least[row])
        assert stats.dead == whole.dead[row] and stats.deviation == whole.deviation[row]
        assert list(stats.quantiles.values()) == whole.quantiles[row].tolist()
        np.testing.assert_array_equal(stats.histogram[0], whole.histogram[row])
        assert stats.selective_classes(2) == whole.selective_classes(row, 2)
        with pytest.raises(KeyError):
            stats["edge"]


def test_what_is_printed_says_what_there_is(generated_atlas):
    with Atlas(generated_atlas) as atlas:
        unit, said = atlas.unit("fc8:3"), repr(atlas).splitlines()
        assert said[0].endswith("of doodlenet@0123456789ab: 19 units of 4 layers")
        assert "  relu1: 4 units, window 5x5; tops largest, quantile, smallest, class" in said or len(said) > 4
        assert any(line.startswith("  fc8: 6 units") and "judged by squeeze" in line for line in said)
        best = unit.ascent["sparse"].best
        assert repr(unit).startswith("doodlenet@0123456789ab:fc8:3 空 sky: ") and f"sparse {best:.4g}" in repr(unit)
        assert "\n" not in repr(unit) and f"largest {unit.stats.most:.4g}" in str(unit)
        assert repr(atlas.unit("mixed/3a:3")).startswith("doodlenet@0123456789ab:mixed/3a:3, failed: ")
        assert repr(unit.ascent) == "layer fc8, by style: low_frequency, sparse"
    assert repr(atlas) == f"atlas {generated_atlas}: closed"


def test_layers_of_a_closed_atlas_hold_no_files_open(generated_atlas):
    with Atlas(generated_atlas) as atlas:
        assert atlas["fc8"] is atlas["fc8"]
    assert atlas._layer.cache_info().currsize == 0


def test_a_missing_array_found_while_reading_is_said_on_one_line(sound_atlas, tmp_path):
    path = Path(shutil.copy(sound_atlas, tmp_path / "atlas.h5"))
    with h5py.File(path, "r+") as file:
        del file["network/layers/channels"]
    with pytest.raises(FormatError, match="unsound .*dataset channels is missing"), Atlas(path) as atlas:
        assert atlas.table


@pytest.fixture
def unreadable(sound_atlas, tmp_path) -> Path:
    """An atlas with a picture that cannot be decompressed."""
    path = Path(shutil.copy(sound_atlas, tmp_path / "atlas.h5"))
    with h5py.File(path) as file:
        pixels = file["layers/conv1/ascent/sparse/pixels"]
        start = pixels.id.get_chunk_info(0).byte_offset
    data = bytearray(path.read_bytes())
    data[start : start + 40] = bytes(40)
    path.write_bytes(data)
    return path


def test_an_error_of_hdf5_is_damage(unreadable):
    with pytest.raises(FormatError, match="damaged .*put a whole copy"), Atlas(unreadable) as atlas:
        assert len(atlas["conv1"].pictures("sparse").pixels[...])


def test_of_two_atlases_that_one_is_named_that_is_damaged(unreadable, sound_atlas):
    beside = shutil.copy(sound_atlas, unreadable.with_name("b.h5"))
    for other in (sound_atlas, beside):
        with pytest.raises(FormatError, match="/atlas.h5: damaged") as caught, Atlas(unreadable) as atlas, Atlas(other):
            assert len(atlas["conv1"].pictures("sparse").pixels[...])
        assert str(other) not in str(caught.value)


@pytest.fixture
def without_labels(sound_atlas, tmp_path) -> Path:
    """An unsound atlas."""
    path = Path(shutil.copy(sound_atlas, tmp_path / "atlas.h5"))
    with h5py.File(path, "r+") as file:
        del file["layers/fc8/units/label"]
    return path


def test_an_error_that_the_file_explains_names_the_fault(without_labels):
    with pytest.raises(FormatError, match="unsound .*dataset label is missing"), Atlas(without_labels):
        raise ValueError("a consequence")


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("dataset", lambda atlas: atlas.dataset),
        ("layers/fc8", lambda atlas: atlas["fc8"]),
        ("layers/fc8/ascent", lambda atlas: atlas["fc8"].styles),
        ("layers/fc8/statistics", lambda atlas: atlas["fc8"].statistics),
        ("layers/fc8/tops/class", lambda atlas: atlas["fc8"].kinds),
        ("numbers/ascent", lambda atlas: Number.of(atlas, "ascent")),
    ],
)
def test_a_part_that_is_missing_is_damage_and_no_lack_of_what_it_holds(mined_atlas, tmp_path, path, read):
    copy = Path(shutil.copy(mined_atlas, tmp_path / "atlas.h5"))
    with h5py.File(copy, "r+") as file:
        del file[path]
        file[path] = h5py.ExternalLink("parts/gone.h5", f"/{path}")
    with pytest.raises(FormatError, match=f"damaged .*/{path}: "), Atlas(copy) as atlas:
        read(atlas)


def test_a_missing_package_is_no_fault_of_the_file(without_labels):
    with pytest.raises(ModuleNotFoundError, match="pandas"), Atlas(without_labels):
        raise ModuleNotFoundError("No module named 'pandas'")


def test_an_error_that_has_nothing_to_do_with_the_file_stays_what_it_is(sound_atlas):
    with pytest.raises(ZeroDivisionError), Atlas(sound_atlas):
        _ = 1 / 0


def test_damaged_bytes_are_said_and_nothing_is_written(sound_atlas, tmp_path):
    whole = sound_atlas.read_bytes()
    path = tmp_path / "atlas.h5"
    for cut in (100, 2000, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(FormatError, match="damaged"):
            Atlas(path)
        assert path.read_bytes() == whole[:cut]


def test_messages_stay_on_one_line_whatever_they_repeat():
    message = str(AtlasError("unit \n\r\0\x1b[31m\u202e\udc80: " + "x" * 10**6))
    assert message.isprintable() and len(message) < 3000
    assert str(AtlasError("空 sky, Schäferhund")) == "空 sky, Schäferhund"
