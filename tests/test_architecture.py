"""The structure of the tree: who may import whom, which names modules have, and what lies on top."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = ("pipeline", "jobs", "atlas_viewer")
TOP = {
    "pipeline", "jobs", "atlas_viewer", "conf", "tests", "docs", ".ci", ".gitignore",
    "Makefile", "README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "constraints.txt",
}  # fmt: skip
VAGUE = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}


@dataclass(frozen=True)
class Floor:
    """What a module may import: of ours (a package stands for all in it, itself always), of others, and of
    others only inside functions, where they are needed."""

    ours: frozenset[str]
    others: frozenset[str]
    inside: frozenset[str] = frozenset()


def floor(ours: str = "", others: str = "", inside: str = "") -> Floor:
    return Floor(frozenset(ours.split()), frozenset(others.split()), frozenset(inside.split()))


# The floors of docs/architecture.md, from the values upwards. A `*` stands for any name of one folder.
VALUES = (
    "pipeline.errors pipeline.settings pipeline.dataset_settings pipeline.records pipeline.card pipeline.units "
    "pipeline.plan pipeline.task pipeline.costs pipeline.processor pipeline.sweep pipeline.request "
    "pipeline.class_names pipeline.file_kinds pipeline.text_files pipeline.label_files"
)
SCHEMA = (
    "atlas_viewer.errors atlas_viewer.field atlas_viewer.format atlas_viewer.evidence atlas_viewer.seal "
    "atlas_viewer.chunks atlas_viewer.written_file atlas_viewer.validator"
)
WORK = f"{VALUES} pipeline.work pipeline.store.shard"
METHOD_VALUES = "pipeline.methods.method pipeline.methods.*.settings pipeline.methods.*.task pipeline.methods.*.request"
ARITHMETIC = f"{WORK} {METHOD_VALUES} pipeline.climb pipeline.priors pipeline.nets pipeline.data"
READING = "pipeline.resources pipeline.planned_images"  # what tasks share in a process, and the images that they read
VALUE_FLOOR = floor(f"{VALUES} atlas_viewer.errors", "numpy")
SOURCES = floor(VALUES, "torch numpy PIL google safetensors")
TASKS = floor(f"{WORK} {METHOD_VALUES} pipeline.methods.*.combinations", "numpy")
STORED = floor(f"{WORK} {METHOD_VALUES} {SCHEMA} pipeline.store pipeline.methods.registry pipeline.methods.*.store "
               "pipeline.methods.*.pictures pipeline.methods.*.result pipeline.methods.*.held",
               "h5py numpy safetensors")  # fmt: skip
# The longest name that fits a module is its place. Folders on one floor do not know each other.
TABLE = {
    "jobs": floor("jobs pipeline atlas_viewer", "hydra omegaconf tqdm", "torch"),
    "jobs.ray_cluster": floor("jobs pipeline atlas_viewer", "", "ray"),
    "jobs.slurm": floor("jobs pipeline atlas_viewer"),
    "jobs.ray": floor("jobs pipeline atlas_viewer"),  # Ray's own commands are started as programs
    "jobs.kubernetes": floor("jobs pipeline atlas_viewer"),
    "jobs.packaging": floor("jobs atlas_viewer visualization_atlas", "hatchling"),
    "jobs.bench": floor(
        "jobs pipeline atlas_viewer",
        "hydra omegaconf tqdm torch numpy scipy",
        "matplotlib h5py PIL yaml lucent torch_dreams",
    ),
    "jobs.zoo": floor("jobs pipeline atlas_viewer", "torch numpy"),
    "jobs.zoo.packages": floor("jobs.zoo.vision", "timm transformers pytorchcv"),
    "jobs.zoo.vision": floor("", "torch torchvision"),
    "pipeline.compute": floor(f"{WORK} pipeline.methods {READING}"),
    "pipeline.resources": floor(f"{VALUES} pipeline.priors pipeline.nets pipeline.data", "torch numpy"),
    "pipeline.planned_images": floor(f"{VALUES} pipeline.resources pipeline.nets pipeline.data", "numpy"),
    "pipeline.recomputation": floor(
        f"{VALUES} {SCHEMA} atlas_viewer.atlas atlas_viewer.layer pipeline.methods.tops.backproject pipeline.nets "
        "pipeline.data",
        "torch numpy",
    ),
    "pipeline.training": floor(f"{VALUES} pipeline.priors pipeline.nets pipeline.data", "torch numpy safetensors"),
    "pipeline.methods": floor(ARITHMETIC, "torch numpy"),  # a method's own arithmetic
    "pipeline.methods.registry": floor(f"{WORK} {METHOD_VALUES} pipeline.methods.plan_version_1 pipeline.store.held"),
    "pipeline.methods.method": TASKS,
    "pipeline.methods.plan_version_1": VALUE_FLOOR,
    "pipeline.methods.*.settings": VALUE_FLOOR,
    "pipeline.methods.*.request": floor(f"{VALUES} pipeline.methods.*.settings", "numpy"),
    "pipeline.methods.*.combinations": floor(f"{VALUES} pipeline.methods.*.settings", "numpy"),
    "pipeline.methods.*.task": TASKS,
    "pipeline.methods.*.compute": floor(f"{ARITHMETIC} {READING} {SCHEMA}", "torch numpy"),
    "pipeline.methods.*.reduction": floor(f"{ARITHMETIC} {READING}", "numpy"),
    "pipeline.methods.*.store": STORED,
    "pipeline.methods.*.result": STORED,
    "pipeline.methods.*.held": STORED,
    "pipeline.methods.*.pictures": replace(STORED, ours=STORED.ours | {"atlas_viewer.atlas"}),
    "pipeline.climb": floor(f"{VALUES} pipeline.nets", "torch numpy"),
    "pipeline.priors": floor(f"{VALUES} pipeline.nets pipeline.data", "torch numpy safetensors"),
    "pipeline.store": STORED,
    "pipeline.work": floor(f"{VALUES} pipeline.store.shard pipeline.resources"),
    "pipeline.nets": SOURCES,  # the packages of publishers are imported by their names when a network asks for one
    "pipeline.nets.caffe.hdf5": floor(VALUES, "numpy", "h5py"),  # Caffe's own weights in HDF5
    "pipeline.data": SOURCES,
    **{value: VALUE_FLOOR for value in VALUES.split()},
    "atlas_viewer": floor(
        "", "h5py numpy PIL jinja2 markupsafe", "xarray pandas matplotlib pyarrow"
    ),  # markupsafe: jinja2's
    "atlas_viewer.evidence": floor("atlas_viewer", "h5py numpy", "pandas xarray"),
    "atlas_viewer.export": floor("atlas_viewer", "numpy PIL", "pyarrow"),
    "atlas_viewer.site": floor("atlas_viewer", "h5py numpy PIL jinja2 markupsafe", "xarray pandas matplotlib"),
}


COMPUTING = {"pipeline.methods", "pipeline.methods.*.compute", "pipeline.methods.*.reduction"}


def modules() -> dict[str, Path]:
    """Dotted name → file of every module of ours; a package is named by its folder."""
    found = {}
    for folder in CODE:
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


@dataclass(frozen=True)
class Import:
    """One imported module; nested : inside a function."""

    name: str
    line: int
    nested: bool


def imports(source: str) -> list[Import]:
    """Every import of a source text, those in functions included; `from a import b` names a.b where that is ours."""
    found: list[Import] = []

    def walk(node: ast.AST, nested: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.extend(Import(alias.name, child.lineno, nested) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                module = "." * child.level + (child.module or "")
                full = [f"{module}.{alias.name}" for alias in child.names]
                names = {name if name in MODULES else module for name in full}
                found.extend(Import(name, child.lineno, nested) for name in sorted(names))
            else:
                inner = nested or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                walk(child, inner)

    walk(ast.parse(source), False)
    return found


def within(module: str, row: str) -> bool:
    """Whether a module is, or lies in, what a row names; a method's folder is named by `*`."""
    parts, named = module.split("."), row.split(".")
    return len(parts) >= len(named) and all(name in ("*", part) for part, name in zip(parts, named, strict=False))


def place(module: str) -> str | None:
    """The row of the table that a module belongs to."""
    return max((row for row in TABLE if within(module, row)), key=lambda row: (row.count("."), row), default=None)


def method_of(module: str) -> str | None:
    """The method in whose folder a module lies."""
    parts = module.split(".")
    return parts[2] if parts[:2] == ["pipeline", "methods"] and len(parts) > 3 else None


def breaches(module: str, source: str) -> list[str]:
    """Each import of a module that the table does not allow."""
    row = place(module)
    if row is None:
        return [f"{module}: has no place in the table"]
    may, found = TABLE[row], []
    for one in imports(source):
        first = one.name.split(".")[0]
        if first in sys.stdlib_module_names:
            continue
        if first in CODE:
            good = within(one.name, row) or any(within(one.name, of) for of in may.ours)
            own, other = method_of(module), method_of(one.name)
            if own is not None:  # methods do not import each other; what computes may use all of its own folder
                good = other in (None, own) and (good or (own == other and row in COMPUTING))
        else:
            good = first in may.others or (one.nested and first in may.inside)
        if not good:
            found.append(f"{module}:{one.line} imports {one.name}")
    return found


@pytest.mark.parametrize("module", [name for name, path in MODULES.items() if path.read_text()])
def test_imports_point_down_the_table(module):
    assert breaches(module, MODULES[module].read_text()) == []


def test_every_folder_has_a_place_in_the_table():
    """A folder asks for a row of its own; only those inside a row's folder live on its floor."""
    folders = {name for name, path in MODULES.items() if path.name == "__init__.py" and name.count(".") <= 1}
    assert folders - set(TABLE) == {"pipeline"}
    assert [name for name in MODULES if place(name) is None] == ["pipeline"]
    loose = {str(path) for path in MODULES.values() if not (path.parent / "__init__.py").is_file()}
    assert loose == set()


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("pipeline.nets.network", "import ray"),
        ("pipeline.nets.network", "def f():\n    from omegaconf import OmegaConf"),
        ("pipeline.nets.network", "from pipeline.climb.loop import climb"),
        ("pipeline.climb.loop", "from pipeline.methods.ascent.settings import StyleSettings"),
        ("pipeline.methods.ascent.task", "from pipeline.methods.ascent.compute import compute_ascent"),
        ("pipeline.methods.ascent.store", "from pipeline.methods.ascent.compute import compute_ascent"),
        ("pipeline.methods.ascent.store", "from pipeline.methods.dgn.store import RunsWriter"),
        ("pipeline.methods.memorisation.compute", "from pipeline.methods.tops.mine import mine_block"),
        ("pipeline.methods.ascent.compute", "import h5py"),
        ("pipeline.plan", "from pipeline.methods.registry import METHODS"),
        ("pipeline.nets.network", "from pipeline import store"),
        ("pipeline.nets.network", "def f():\n    import h5py"),
        ("pipeline.nets.caffe.hdf5", "import h5py"),
        ("pipeline.nets.network", "from . import store"),
        ("pipeline.compute", "from pipeline.training.classifiers.drawings import train_on_drawings"),
        ("pipeline.plan", "import torch"),
        ("pipeline.store.shard", "from atlas_viewer.atlas import Atlas"),
        ("pipeline.somewhere", "import json"),
        ("jobs.atlas", "def f():\n    import ray"),
        ("jobs.atlas", "import torch"),
        ("jobs.ray_cluster", "import ray"),
        ("atlas_viewer.atlas", "import pandas"),
        ("atlas_viewer.atlas", "if True:\n    import pipeline"),
    ],
)
def test_the_table_sees_what_it_forbids(module, source):
    assert len(breaches(module, source)) == 1


def test_the_viewer_opens_without_torch_ray_or_pipeline():
    code = (
        "import sys, atlas_viewer, atlas_viewer.atlas, atlas_viewer.montage, atlas_viewer.site.build; "
        "print(sorted({'torch', 'ray', 'pipeline', 'jobs', 'hydra', 'pandas', 'xarray', 'matplotlib'} "
        "& set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_job_starts_without_torch_or_ray():
    code = "import sys, jobs.atlas, jobs.score; print(sorted({'torch', 'ray', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_name_is_vague():
    assert [name for name in MODULES if VAGUE & {part for word in name.split(".") for part in word.split("_")}] == []


def test_the_top_holds_what_is_known_and_nothing_else():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    assert {line.split("/")[0] for line in listed.stdout.splitlines()} - TOP == set()
