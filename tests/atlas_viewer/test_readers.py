"""Programs that read an atlas without this package: each reader does each operation, or is skipped by name.

netCDF4 is a package of PyPI; h5wasm one of npm, found by node in the working folder or above; h5dump comes with HDF5.
The extra `test` has the first; .ci/run installs the others where apt-get and npm are at hand.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np
import pytest
from atlas_in_parts import write_in_parts

from atlas_viewer import extras
from atlas_viewer.atlas import Atlas
from atlas_viewer.errors import MissingError
from atlas_viewer.seal import groups

STYLE, LABELS, STATISTICS = "/layers/fc8/ascent/sparse", "/layers/fc8/units", "/layers/mixed.3a/statistics"


class Reader(ABC):
    """One program, with an atlas open in it. Groups are named by absolute paths."""

    def __init__(self, path: Path, aside: Path) -> None:
        self.path, self.aside = path, aside

    @classmethod
    @abstractmethod
    def lacks(cls) -> str:
        """What is not installed, or empty."""

    @abstractmethod
    def groups(self) -> set[str]:
        """The paths of all groups."""

    @abstractmethod
    def axes(self, group: str, name: str) -> list[str]:
        """The names of a dataset's axes."""

    @abstractmethod
    def array(self, group: str, name: str) -> np.ndarray:
        """A dataset of numbers."""

    @abstractmethod
    def texts(self, group: str, name: str) -> list[str]:
        """A dataset of texts."""

    @abstractmethod
    def attribute(self, group: str, name: str, attribute: str) -> str:
        """A text that a dataset has as an attribute, or a group if the name is empty."""


class H5py(Reader):
    @classmethod
    def lacks(cls) -> str:
        return ""

    @cached_property
    def file(self) -> h5py.File:
        return h5py.File(self.path)

    def groups(self) -> set[str]:
        def below(path: str) -> Iterator[str]:
            yield path or "/"
            for name, thing in self.file[path or "/"].items():
                if isinstance(thing, h5py.Group):
                    yield from below(f"{path}/{name}")

        return set(below(""))

    def axes(self, group: str, name: str) -> list[str]:
        return [dimension[0].name.rpartition("/")[2] for dimension in self.file[group][name].dims]

    def array(self, group: str, name: str) -> np.ndarray:
        return self.file[group][name][...]

    def texts(self, group: str, name: str) -> list[str]:
        return self.file[group][name].asstr()[...].tolist()

    def attribute(self, group: str, name: str, attribute: str) -> str:
        return str(self.file[f"{group}/{name}"].attrs[attribute])


class Xarray(Reader):
    engine, package = "h5netcdf", "h5netcdf"

    @classmethod
    def lacks(cls) -> str:
        return next((name for name in ("xarray", cls.package) if importlib.util.find_spec(name) is None), "")

    @cached_property
    def tree(self):
        import xarray

        return xarray.open_datatree(self.path, engine=self.engine)

    def groups(self) -> set[str]:
        return set(self.tree.groups)

    def axes(self, group: str, name: str) -> list[str]:
        return list(self.tree[group][name].dims)

    def array(self, group: str, name: str) -> np.ndarray:
        return self.tree[group][name].values

    def texts(self, group: str, name: str) -> list[str]:
        return self.array(group, name).tolist()

    def attribute(self, group: str, name: str, attribute: str) -> str:
        return self.tree[group][name].attrs[attribute] if name else self.tree[group].attrs[attribute]


class XarrayByNetcdf4(Xarray):
    engine, package = "netcdf4", "netCDF4"


class Netcdf4(Reader):
    @classmethod
    def lacks(cls) -> str:
        return "netCDF4" if importlib.util.find_spec("netCDF4") is None else ""

    @cached_property
    def file(self):
        import netCDF4

        file = netCDF4.Dataset(self.path)
        file.set_auto_mask(False)
        return file

    def groups(self) -> set[str]:
        def below(group) -> Iterator[str]:
            yield group.path
            for inner in group.groups.values():
                yield from below(inner)

        return set(below(self.file))

    def axes(self, group: str, name: str) -> list[str]:
        return list(self.file[group][name].dimensions)

    def array(self, group: str, name: str) -> np.ndarray:
        return np.asarray(self.file[group][name][...])

    def texts(self, group: str, name: str) -> list[str]:
        return self.array(group, name).tolist()

    def attribute(self, group: str, name: str, attribute: str) -> str:
        return (self.file[group][name] if name else self.file[group]).getncattr(attribute)


class H5dump(Reader):
    @classmethod
    def lacks(cls) -> str:
        return "" if shutil.which("h5dump") else "h5dump"

    def told(self, *arguments: str) -> str:
        command = ["h5dump", *arguments, str(self.path)]
        return subprocess.run(command, check=True, capture_output=True, timeout=60, text=True).stdout

    def groups(self) -> set[str]:
        return set(re.findall(r"^ group +(\S.*)$", self.told("-n"), re.M))

    def axes(self, group: str, name: str) -> list[str]:
        return re.findall(r'DATASET \d+ ".*?([^/"]+)"', self.told("-a", f"{group}/{name}/DIMENSION_LIST"))

    def array(self, group: str, name: str) -> np.ndarray:
        head = self.told("-H", "-d", f"{group}/{name}")
        kind, bits = re.search(r"DATATYPE +H5T_(?:STD|IEEE)_([UIF])(\d+)[LB]E", head).groups()
        shape = re.search(r"DATASPACE +SIMPLE \{ \( (.*?) \)", head)[1]
        self.told("-d", f"{group}/{name}", "-b", "LE", "-o", str(self.aside / "values"))
        values = np.fromfile(self.aside / "values", f"<{kind.lower()}{int(bits) // 8}")
        return values.reshape([int(length) for length in shape.split(",")])

    def texts(self, group: str, name: str) -> list[str]:
        told = self.told("-y", "-w", "0", "-d", f"{group}/{name}")
        data = re.search(r'DATA \{\n *"(.*?)"\n *\}', told, re.S)[1]
        octal = rb"\\(?:37777777)?([0-7]{3})"  # a byte above 127; some versions take it for a negative number
        plain = re.sub(octal, lambda found: bytes([int(found[1], 8) & 255]), data.encode())
        return plain.decode().split('", "')

    def attribute(self, group: str, name: str, attribute: str) -> str:
        told = self.told("-a", "/".join(filter(None, (group, name, attribute))))
        return re.search(r'DATA \{\n *\(0\): "(.*)"', told)[1]


class H5wasm(Reader):
    SCRIPT = """
import h5wasm from "h5wasm/node";
await h5wasm.ready;
const [path, what, group, name, attribute] = process.argv.slice(2);
const file = new h5wasm.File(path, "r"), thing = name ? file.get(`${group}/${name}`) : file.get(group || "/");
const inner = (at) => at.keys().map((key) => at.get(key)).filter((each) => each instanceof h5wasm.Group);
const below = (at) => inner(at).flatMap((each) => [each.path, ...below(each)]);
const told = {
  groups: () => ["/", ...below(file)],
  axes: () => thing.shape.map((_, at) => thing.get_attached_scales(at)[0]),
  array: () => ({ shape: thing.shape, dtype: thing.dtype, values: Array.from(thing.value, String) }),
  texts: () => thing.value,
  attribute: () => thing.attrs[attribute].value,
}[what]();
console.log(JSON.stringify(told));
"""

    @classmethod
    def lacks(cls) -> str:
        if not shutil.which("node"):
            return "node"
        here = Path.cwd()
        return "" if any((each / "node_modules/h5wasm").is_dir() for each in (here, *here.parents)) else "h5wasm"

    def told(self, *arguments: str) -> object:
        command = ["node", "--input-type=module", "-", str(self.path), *arguments]
        ran = subprocess.run(command, check=True, capture_output=True, timeout=60, text=True, input=self.SCRIPT)
        return json.loads(ran.stdout)

    def groups(self) -> set[str]:
        return set(self.told("groups"))

    def axes(self, group: str, name: str) -> list[str]:
        return [scale.rpartition("/")[2] for scale in self.told("axes", group, name)]

    def array(self, group: str, name: str) -> np.ndarray:
        told = self.told("array", group, name)
        return np.array([float(value) for value in told["values"]]).astype(told["dtype"]).reshape(told["shape"])

    def texts(self, group: str, name: str) -> list[str]:
        return self.told("texts", group, name)

    def attribute(self, group: str, name: str, attribute: str) -> str:
        return self.told("attribute", group, name, attribute)


def lists_groups(reader: Reader, atlas: Atlas) -> None:
    assert {place for place, _, _ in groups(atlas.file)} <= reader.groups()


def names_axes(reader: Reader, atlas: Atlas) -> None:
    assert reader.axes(STYLE, "pixels") == ["unit", "sample", "y", "x", "rgb"]
    assert reader.axes(STATISTICS, "class_mean") == ["unit", "class"]


def has_coordinates(reader: Reader, atlas: Atlas) -> None:
    assert reader.array(STATISTICS, "unit").tolist() == atlas["mixed/3a"].units.tolist() == [2, 3, 5, 7]


def reads_numbers(reader: Reader, atlas: Atlas) -> None:
    stored = atlas["fc8"].pictures("sparse").activation
    assert np.isnan(stored).any()
    np.testing.assert_array_equal(reader.array(STYLE, "activation"), stored)


def reads_labels(reader: Reader, atlas: Atlas) -> None:
    assert tuple(reader.texts(LABELS, "label")) == atlas["fc8"].labels


def reads_pictures(reader: Reader, atlas: Atlas) -> None:
    stored = atlas["fc8"].pictures("sparse").pixels[...]
    assert (stored[3, 1] > 0).all()
    np.testing.assert_array_equal(reader.array(STYLE, "pixels"), stored)


def reads_attributes(reader: Reader, atlas: Atlas) -> None:
    assert reader.attribute("/layers/fc8/dgn/toy <conv>", "", "prior") == "toy <conv>"
    assert reader.attribute(STYLE, "status", "flag_meanings").split()[:2] == ["missing", "ok"]


OPERATIONS: dict[str, Callable[[Reader, Atlas], None]] = {
    "groups": lists_groups,
    "names of axes": names_axes,
    "numbers of units as coordinates": has_coordinates,
    "activations, NaN where missing": reads_numbers,
    "labels": reads_labels,
    "pixels": reads_pictures,
    "attributes": reads_attributes,
}
READERS = {
    "h5py": H5py,
    "xarray, h5netcdf": Xarray,
    "xarray, netcdf4": XarrayByNetcdf4,
    "netCDF4": Netcdf4,
    "h5dump": H5dump,
    "h5wasm": H5wasm,
}
WHOLE_ALONE = {  # what readers do not find behind the links of an atlas in parts
    "xarray, h5netcdf": set(OPERATIONS),
    "h5dump": {"groups", "names of axes"},
    "h5wasm": {"attributes"},  # texts come empty
}


@pytest.fixture(scope="module", params=READERS)
def reader(request, generated_atlas, tmp_path_factory) -> tuple[str, Reader, Reader]:
    """The name of a reader, and the reader with the whole atlas, and with the same in parts."""
    kind, folder = READERS[request.param], tmp_path_factory.mktemp("reader")
    if kind.lacks():
        pytest.skip(f"{kind.lacks()} is not installed")
    parts = write_in_parts(generated_atlas, folder / "parts")
    return request.param, kind(generated_atlas, folder), kind(parts, folder)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_reader_finds_what_the_atlas_has(reader, generated_atlas, operation):
    _, whole, _ = reader
    with Atlas(generated_atlas) as atlas:
        OPERATIONS[operation](whole, atlas)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_reader_finds_the_same_in_an_atlas_of_parts(request, reader, generated_atlas, operation):
    name, _, parts = reader
    if operation in WHOLE_ALONE.get(name, ()):  # strict: a reader that has learnt it belongs in the table
        reason = f"{name} does not find them behind links to other files"
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    with Atlas(generated_atlas) as atlas:
        OPERATIONS[operation](parts, atlas)


def test_an_atlas_in_parts_opens_as_a_tree_where_netcdf4_is_installed(generated_atlas, tmp_path, monkeypatch):
    with Atlas(write_in_parts(generated_atlas, tmp_path)) as atlas:
        with monkeypatch.context() as patch:
            patch.setattr(extras, "find_spec", lambda name: None if name == "netCDF4" else object())
            with pytest.raises(MissingError, match="an atlas in parts needs netCDF4; install it with pip install"):
                atlas.to_xarray()
        if Netcdf4.lacks():
            pytest.skip("netCDF4 is not installed")
        tree = atlas.to_xarray("layers/fc8/ascent")
        assert (tree["sparse"].pixels.values == atlas["fc8"].pictures("sparse").pixels[...]).all()
        tree.close()


def test_the_table_of_readers_is_the_one_that_is_tested():
    rows = [["", *READERS], ["---"] * (1 + len(READERS))]
    for operation in OPERATIONS:
        rows.append([operation, *("whole" if operation in WHOLE_ALONE.get(name, ()) else "yes" for name in READERS)])
    table = "\n".join(f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows)
    assert table in (Path(__file__).parents[2] / "docs" / "reading.md").read_text(encoding="utf-8")
