"""The validator names each kind of damage, and finds none in a sound atlas."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from atlas_viewer.atlas import Atlas
from atlas_viewer.errors import FormatError
from atlas_viewer.evidence.ascent import STYLE
from atlas_viewer.evidence.priors import PRIOR
from atlas_viewer.evidence.scores import SCORES
from atlas_viewer.evidence.statistics import STATISTICS
from atlas_viewer.field import Group
from atlas_viewer.site.keys import _walk
from atlas_viewer.validator import check
from atlas_viewer.verify import faults
from pipeline.store.publishing import linked_files


def test_a_sound_atlas_has_no_faults(sound_atlas):
    with h5py.File(sound_atlas) as file:
        assert check(file) == []


def test_a_sound_atlas_with_a_dataset_has_no_faults(mined_atlas):
    with h5py.File(mined_atlas) as file:
        assert check(file) == []


def test_a_sound_atlas_with_runs_has_no_faults(generated_atlas):
    with h5py.File(generated_atlas) as file:
        assert check(file) == []


def replace(path: str, values: object, **options: object):
    def how(file: h5py.File) -> None:
        del file[path]
        file.create_dataset(path, data=values, **options)

    return how


def of_another_axis(file: h5py.File) -> None:
    style = file["layers/fc8/ascent/sparse"]
    style["activation"].dims[1].detach_scale(style["sample"])
    style["activation"].dims[1].attach_scale(style["unit"])


def assign(path: str, where: object, value: object):
    def how(file: h5py.File) -> None:
        file[path][where] = value

    return how


def drop(path: str):
    def how(file: h5py.File) -> None:
        del file[path]

    return how


def attribute(path: str, name: str, value: object):
    def how(file: h5py.File) -> None:
        file[path].attrs[name] = value

    return how


def judged_with_other_samples(file: h5py.File) -> None:
    del file["layers/fc8/scores/squeeze/sparse/sample"]
    for name in ("top1", "target_probability", "target_rank"):
        values = file[f"layers/fc8/scores/squeeze/sparse/{name}"][:, :1]
        del file[f"layers/fc8/scores/squeeze/sparse/{name}"]
        SCORES[name].write(file["layers/fc8/scores/squeeze/sparse"], values)


def marked_many_times(file: h5py.File) -> None:
    scale = file["layers/fc8/units/unit"]
    mark = h5py.h5a.open(scale.id, b"CLASS").get_type()
    del scale.attrs["CLASS"]
    marks = h5py.h5a.create(scale.id, b"CLASS", mark, h5py.h5s.create_simple((3000,)))
    marks.write(np.full(3000, b"DIMENSION_SCALE", "S16"))


DAMAGES = {
    "another version": (attribute("/", "version", 99), "version 2, got"),
    "no format": (lambda file: file.attrs.__delitem__("format"), "attribute format is missing"),
    "no labels": (drop("network/labels"), "dataset labels is missing"),
    "no layer table": (drop("network/layers"), "/network/layers: the group is missing"),
    "no units": (drop("layers/fc8/units"), "/layers/fc8/units: the group is missing"),
    "an extra dataset": (
        lambda file: file.create_dataset("layers/fc8/units/age", data=3),
        "age: a dataset that is",
    ),
    "an extra group": (
        lambda file: file.create_group("layers/fc8/tips/a"),
        "/layers/fc8/tips: a group that is not",
    ),
    "another type": (replace("layers/fc8/units/unit", np.arange(6.0)), "type is float64, expected i4"),
    "too few axes": (replace("layers/fc8/units/unit", np.zeros((6, 1), "i4")), "has 2 axes, expected 1"),
    "axes that disagree": (replace("network/layers/channels", np.zeros(2, "i4")), "axis layer has length 2"),
    "another axis": (
        of_another_axis,
        "dataset activation: the scales of its axes are not unit, sample of its own group",
    ),
    "a list of scales that HDF5's own functions crash on": (
        attribute("layers/fc8/ascent/sparse/activation", "DIMENSION_LIST", np.arange(2)),
        "dataset activation: the scales of its axes are not unit, sample of its own group",
    ),
    "an axis without a scale": (
        drop("layers/fc8/ascent/sparse/point"),
        "dataset trace: the scales of its axes are not unit, sample, point",
    ),
    "coordinates that are no scale": (
        replace("layers/fc8/units/unit", np.arange(6, dtype="i4")),
        "is not the scale of its",
    ),
    "another chunk": (
        replace("layers/fc8/ascent/sparse/pixels", np.zeros((6, 2, 24, 24, 3), "u1"), chunks=(6, 2, 24, 24, 3)),
        "chunks are (6, 2, 24, 24, 3), expected (1, 1, 24, 24, 3)",
    ),
    "no filter": (
        replace("layers/fc8/ascent/sparse/pixels", np.zeros((6, 2, 24, 24, 3), "u1"), chunks=(1, 1, 24, 24, 3)),
        "filters are ()",
    ),
    "an attribute of another type": (
        attribute("layers/fc8/ascent/sparse", "row", "three"),
        "attribute row is 'three', expected int",
    ),
    "a list among the style's numbers": (
        attribute("layers/fc8/ascent/sparse", "widths", [1.0, 2.0]),
        "attribute widths is",
    ),
    "an edge to nowhere": (assign("network/graph/edges", (0, 1), 77), "/network/graph/edges: a node outside"),
    "another layer's name": (attribute("layers/fc8", "layer", "fc7"), "'fc7' is not in the layer table"),
    "units out of order": (assign("layers/fc8/units/unit", 0, 5), "not rising within 0 to 5"),
    "a unit past the layer": (assign("layers/fc8/units/unit", 5, 6), "not rising within 0 to 5"),
    "a status that is none": (
        assign("layers/fc8/ascent/sparse/status", (0, 0), 9),
        "a value that is not a status",
    ),
    "a unit's status that is none": (
        assign("layers/fc8/units/status", 0, 9),
        "/layers/fc8/units: dataset status: a value that is not a status",
    ),
    "ok without an activation": (
        assign("layers/fc8/ascent/sparse/activation", (0, 0), np.nan),
        "not finite where",
    ),
    "an input without pixels": (attribute("preprocessing", "height", 0), "/preprocessing: an input of 0x24 pixels"),
    "bytes for a setting": (
        attribute("layers/fc8/ascent/sparse", "more", np.bytes_(b"\xff")),
        "attribute more is np.bytes_(b'\\xff'), expected a number, a text or a yes/no",
    ),
    "a mark of a scale that HDF5's own function crashes on": (
        marked_many_times,
        "dataset unit: is not the scale of its axis",
    ),
    "scores of nothing": (drop("layers/fc8/ascent/sparse"), "names 'ascent/sparse', which is missing"),
    "scores of other samples": (
        judged_with_other_samples,
        "units and samples are not those of ascent/sparse",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named(damaged, name):
    how, expected = DAMAGES[name]
    found = check(damaged(how))
    assert any(expected in fault for fault in found), found


def cut_to_two_units(group: h5py.Group, kind: Group) -> None:
    """Replace every array of a group by its first two units."""
    values = {field: group[field.name][:2] for field in kind.fields if field.axes[0] == "unit" and field.name in group}
    for field in values:
        del group[field.name]
    for field, kept in values.items():
        if not field.digest_of:
            field.write(group, kept)


def test_a_style_with_other_units_than_the_layer_is_named(damaged):
    def how(file: h5py.File) -> None:
        style = file["layers/conv1/ascent/sparse"]
        cut_to_two_units(style, STYLE)

    assert "/layers/conv1/ascent/sparse: 2 units, expected 5 as in units/unit" in check(damaged(how))


def without_scale(file: h5py.File) -> None:
    del file["layers/fc8/tops/largest/gradient_scale"]


def of_other_units(file: h5py.File) -> None:
    cut_to_two_units(file["layers/conv1/statistics"], STATISTICS)


MINED_DAMAGES = {
    "fewer skipped": (attribute("dataset", "skipped", 7), "attribute skipped is 7, but 2 are listed"),
    "unknown pixels": (attribute("dataset", "pixels", "some"), "pixels is 'some', expected 'stored' or 'pointers'"),
    "pixels that are not there": (drop("dataset/images/pixels"), "pixels are not there, but /dataset states otherwise"),
    "images out of order": (assign("dataset/images/number", 0, 99), "/dataset/images/number: not rising"),
    "a label past the classes": (assign("dataset/images/label", 0, 4), "/dataset/images/label: not within -1 to 3"),
    "no images": (drop("dataset/images"), "/layers/fc8/tops/largest: hits, but no /dataset/images"),
    "a row past the images": (assign("layers/fc8/tops/class/image", (0, 0), 16), "tops/class/image: a row outside"),
    "a hit without a value": (
        assign("layers/fc8/tops/largest/activation", (0, 0), np.nan),
        "tops/largest/activation: not finite",
    ),
    "a window past the input": (
        assign("layers/conv1/tops/largest/window", (0, 0), (0, 0, 25, 5)),
        "window: outside the network's input",
    ),
    "a window past the frame": (assign("layers/conv1/tops/largest/frame", (0, 1), (5, 6)), "window: outside the frame"),
    "another kind": (attribute("layers/fc8/tops/class", "kind", "best"), "kind 'best', expected the group's name"),
    "no scale": (without_scale, "only one of gradient and gradient_scale is present"),
    "a frame past the input": (
        attribute("layers/fc8/tops/largest", "height", 10**12),
        "tops/largest: a frame of 1000000000000x24 pixels, in an input of 24x24",
    ),
    "another frame": (attribute("layers/fc8/tops/largest", "height", 23), "expected the frame's (23, 24)"),
    "lost counts": (assign("layers/fc8/statistics/position_histogram", (0, 0), 5), "sum is not position_count"),
    "edges that fall": (assign("layers/fc8/statistics/edge", 3, -9), "expected 10 rising edges"),
    "statistics of other units": (of_other_units, "/layers/conv1/statistics: 2 units, expected 5"),
}


@pytest.mark.parametrize("name", MINED_DAMAGES)
def test_damage_to_the_dataset_side_is_named(damaged, name):
    how, expected = MINED_DAMAGES[name]
    found = check(damaged(how, mined=True))
    assert any(expected in fault for fault in found), found


def of_a_longer_code(file: h5py.File) -> None:
    del file["priors/toy/entry"]
    for name in ("mean", "deviation"):
        del file[f"priors/toy/{name}"]
        PRIOR[name].write(file["priors/toy"], np.ones(8))
    file["priors/toy"].attrs["code_shape"] = [2, 2, 2]


def test_a_prior_that_is_not_there_yet_is_no_fault(damaged):
    assert check(damaged(drop("priors/toy"), mined=True, generated=True)) == []


PAIRED = "combinations/pairs"
GENERATED_DAMAGES = {
    "another prior of that name": (attribute("priors/toy", "digest", "c" * 64), "is not the digest of /priors/toy"),
    "another code": (attribute("priors/toy", "code_shape", [2, 2, 2]), "/priors/toy/mean: 7 entries, expected 8"),
    "codes of another length": (of_a_longer_code, "/layers/fc8/dgn/toy/code: 7 entries, expected 8 as in /priors/toy"),
    "no best iterate": (
        assign("layers/fc8/dgn/toy/best_activation", (0, 0), np.nan),
        "dgn/toy/best_activation: not finite where there is a last iterate",
    ),
    "ok without an activation": (
        assign("layers/fc8/dgn/toy/activation", (0, 0), np.nan),
        "/layers/fc8/dgn/toy/activation: not finite where status is ok",
    ),
    "memorisation of no run": (drop("layers/fc8/dgn/toy"), "run 'toy' of layer 'fc8' is missing"),
    "pairs of no layer": (attribute(PAIRED, "layer", "fc9"), "pairs: layer 'fc9' is not in the layer table"),
    "a member past the layer": (assign(f"{PAIRED}/member_unit", (0, 1), 6), "pairs/member_unit: not within -1 to 5"),
    "no first member": (assign(f"{PAIRED}/member_unit", (0, 0), -1), "expected units first, then -1"),
    "a pair without values": (
        assign(f"{PAIRED}/member_activation", (0, 0, 1), np.nan),
        "pairs/member_activation: not finite where status is ok",
    ),
    "a pair's status that is none": (
        assign(f"{PAIRED}/status", (0, 0), 9),
        "/combinations/pairs: dataset status: a value that is not a status",
    ),
    "nearest past the images": (assign("memorisation/toy/nearest", (0, 0, 0), 16), "/nearest: a row outside 0 to 15"),
    "no distance": (assign("memorisation/toy/distance", (0, 0, 0), np.nan), "/distance: not finite where"),
    "units that were not shown": (assign("memorisation/toy/unit", 2, 9), "memorisation/toy/unit: not rising, or not"),
}


@pytest.mark.parametrize("name", GENERATED_DAMAGES)
def test_damage_to_what_priors_found_is_named(damaged, name):
    how, expected = GENERATED_DAMAGES[name]
    found = check(damaged(how, mined=True, generated=True))
    assert any(expected in fault for fault in found), found


def test_values_that_lie_in_any_file_of_the_machine_are_named(damaged, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(24))

    def how(file: h5py.File) -> None:
        del file["layers/fc8/units/unit"]
        outside = [(str(tmp_path / "secret"), 0, 24)]
        file.create_dataset("layers/fc8/units/unit", (6,), "i4", external=outside)

    assert any("unit: its values lie in another file" in fault for fault in check(damaged(how)))


@pytest.mark.parametrize("name", ["pixels", "activation"])
def test_values_that_lie_in_themselves_are_named_and_not_read(damaged, name):
    """HDF5 would read them until the process ends."""
    path = f"layers/fc8/ascent/sparse/{name}"

    def how(file: h5py.File) -> None:
        layout = h5py.VirtualLayout(file[path].shape, file[path].dtype)
        layout[...] = h5py.VirtualSource(".", path, file[path].shape)
        del file[path]
        file.create_virtual_dataset(path, layout)

    file = damaged(how)
    file.flush()
    for found in (check(file), faults(file.filename)):
        assert any(f"{name}: its values lie in another file" in fault for fault in found)


def test_an_atlas_with_groups_that_contain_themselves_is_walked_over_to_an_end(damaged):
    """Of two in one, each way through them is another path."""

    def how(file: h5py.File) -> None:
        file["layers/again"] = h5py.SoftLink("/layers")
        file["layers/fc8/ascent/whole"] = h5py.SoftLink("/")
        file["layers/fc8/ascent/layers"] = file["layers"]

    file = damaged(how)
    found = check(file)
    assert "/layers/again: attribute layer is missing" in found
    assert "/layers/fc8/ascent/whole/layers: a group that is not in the schema" in found
    assert linked_files(file) == frozenset()
    assert len([*_walk(file["layers/fc8"])]) < 200


@pytest.mark.parametrize("path", ["dataset", "layers/fc8/ascent", "layers/fc8/statistics"])
def test_a_dataset_in_the_place_of_a_group_has_nothing_in_it(damaged, path):
    """h5py would read its rows as names, all 2**40 of them."""

    def how(file: h5py.File) -> None:
        del file[path]
        file.create_dataset(path, (1 << 40,), "u1", chunks=(1 << 10,))

    file, fault = damaged(how, mined=True), f"/{path}: a dataset that is not in the schema"
    file.flush()
    assert fault in check(file)
    assert any(line.startswith(fault) for line in faults(file.filename))
    with pytest.raises(FormatError, match="unsound"), Atlas(file.filename) as atlas:
        str(atlas.unit("fc8:0"))


def test_names_and_texts_that_are_not_utf8_are_named(damaged, tmp_path):
    """h5py gives such a name as bytes, which cannot be sorted with texts, and such a text with surrogates."""

    def how(file: h5py.File) -> None:
        file["layers/fc8/ascent/sparse"].attrs["nnnn"] = "tttt"

    file = damaged(how)
    path = file.filename
    file.close()
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole.replace(b"nnnn", b"n\xffnn"))
    assert any(
        fault.startswith("/layers/fc8/ascent/sparse: the name of attribute b'n\\xffnn' is not text")
        for fault in faults(path)
    )
    with pytest.raises(FormatError, match="unsound .*is not text"), Atlas(path) as atlas:
        _ = atlas["fc8"].pictures("sparse").numbers
    Path(path).write_bytes(whole.replace(b"tttt", b"t\xfftt"))
    assert any(
        fault.startswith("/layers/fc8/ascent/sparse: attribute nnnn is 't\\udcfftt'") and fault.isprintable()
        for fault in faults(path)
    )
    Path(path).write_bytes(whole.replace(b"mixed.3a", b"mixed\xff3a"))
    assert any("the name b'mixed\\\\xff3a' is not text" in fault for fault in faults(path)), [*faults(path)]


def test_pictures_that_their_parts_do_not_make_up_are_named(damaged):
    """As many pixels as there must be, but of 3 * 12 * 24 pictures of one row and column; HDF5 lets it be written."""
    path = "layers/fc8/ascent/sparse/pixels"

    def how(file: h5py.File) -> None:
        shape = file[path].shape
        layout = h5py.VirtualLayout(shape, "u1")
        layout[:, :, :, :, :] = h5py.VirtualSource("parts.h5", "/pixels", (np.prod(shape[:4]), 1, 1, 3))[:, :, :, :]
        del file[path]
        file.create_virtual_dataset(path, layout)

    found = check(damaged(how))
    assert any(
        "dataset pixels: it is not made up of its parts (6912 pictures of /pixels for 12)" in f for f in found
    ), found
