"""The house keeps its shape: who may import whom, how long a module is, what names it has, what lies on top."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = ("pipeline", "jobs", "atlas_viewer")
TOP = {
    "pipeline", "jobs", "atlas_viewer", "conf", "tests", "docs", ".ci", ".gitignore",
    "Makefile", "README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "constraints.txt",
}  # fmt: skip
LINES = 300
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


VALUES = (
    "pipeline.errors pipeline.settings pipeline.dataset_settings pipeline.records pipeline.card pipeline.units "
    "pipeline.plan pipeline.tasks pipeline.cuts pipeline.sweep pipeline.search_settings "
    "pipeline.search_records pipeline.search_tasks pipeline.search_cuts pipeline.combinations"
)
WORK = f"{VALUES} pipeline.nets pipeline.data pipeline.priors pipeline.methods pipeline.store atlas_viewer.format"
VALUE_FLOOR = floor(f"{VALUES} atlas_viewer.errors", "numpy")
SOURCES = floor(VALUES, "torch numpy PIL google safetensors")
# The longest name that fits a module is its place. Folders on one floor do not know each other.
TABLE = {
    "jobs": floor("jobs pipeline atlas_viewer", "hydra omegaconf tqdm", "torch"),
    "jobs.cluster": floor("jobs pipeline atlas_viewer", "", "ray"),
    "jobs.bench": floor("jobs pipeline atlas_viewer", "hydra omegaconf tqdm torch numpy scipy", "matplotlib"),
    "pipeline.compute": floor(WORK, "torch numpy safetensors"),
    "pipeline.score": floor(WORK, "torch numpy safetensors"),
    "pipeline.training": floor(WORK, "torch numpy safetensors"),
    "pipeline.methods": floor(f"{VALUES} pipeline.priors pipeline.nets pipeline.data", "torch numpy"),
    "pipeline.priors": floor(f"{VALUES} pipeline.nets pipeline.data", "torch numpy safetensors"),
    "pipeline.store": floor(f"{VALUES} atlas_viewer.format", "h5py numpy safetensors"),
    "pipeline.nets": SOURCES,
    "pipeline.data": SOURCES,
    "pipeline.errors": VALUE_FLOOR,
    "pipeline.settings": VALUE_FLOOR,
    "pipeline.card": VALUE_FLOOR,
    "pipeline.units": VALUE_FLOOR,
    "pipeline.plan": VALUE_FLOOR,
    "pipeline.dataset_settings": VALUE_FLOOR,
    "pipeline.records": VALUE_FLOOR,
    "pipeline.tasks": VALUE_FLOOR,
    "pipeline.cuts": VALUE_FLOOR,
    "pipeline.search_settings": VALUE_FLOOR,
    "pipeline.search_records": VALUE_FLOOR,
    "pipeline.search_tasks": VALUE_FLOOR,
    "pipeline.search_cuts": VALUE_FLOOR,
    "pipeline.combinations": VALUE_FLOOR,
    "pipeline.sweep": VALUE_FLOOR,
    "atlas_viewer": floor("", "h5py numpy PIL jinja2 markupsafe", "xarray pandas matplotlib"),  # markupsafe: jinja2's
    "atlas_viewer.site": floor("atlas_viewer", "h5py numpy PIL jinja2 markupsafe", "xarray pandas matplotlib"),
}


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


def place(module: str) -> str | None:
    """The row of the table that a module belongs to."""
    rows = [row for row in TABLE if module == row or module.startswith(f"{row}.")]
    return max(rows, key=len, default=None)


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
            good = any(one.name == of or one.name.startswith(f"{of}.") for of in {row, *may.ours})
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
        ("pipeline.nets.network", "from pipeline.methods.ascent import ascend"),
        ("pipeline.nets.network", "from pipeline import store"),
        ("pipeline.nets.network", "from . import store"),
        ("pipeline.compute", "from pipeline.training.classifiers.drawings import train_on_drawings"),
        ("pipeline.plan", "import torch"),
        ("pipeline.store.shard", "from atlas_viewer.atlas import Atlas"),
        ("pipeline.somewhere", "import json"),
        ("jobs.atlas", "def f():\n    import ray"),
        ("jobs.atlas", "import torch"),
        ("jobs.cluster", "import ray"),
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


def test_a_module_is_one_noun_and_no_longer_than_one_can_hold_in_mind():
    long = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    assert {name: lines for name, lines in long.items() if lines > LINES} == {}


def test_no_name_is_vague():
    assert [name for name in MODULES if VAGUE & {part for word in name.split(".") for part in word.split("_")}] == []


def test_the_top_holds_what_is_known_and_nothing_else():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    assert {line.split("/")[0] for line in listed.stdout.splitlines()} - TOP == set()
