"""What README and docs tell a reader to do, done."""

from __future__ import annotations

import importlib
import os
import re
import runpy
import shlex
import subprocess
from pathlib import Path

import pytest

from atlas_viewer import format
from jobs.atlas import atlas
from jobs.console import compose_config
from jobs.request import read_request
from pipeline.data.doodles import CLASSES
from pipeline.methods.registry import numbers_page

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
SMALL = ["units=[fc8:house,conv5:12]", "samples=1", "style.low_frequency.max_iter=3", "cluster=serial"]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def make_lines() -> list[str]:
    """Every make command that a page shows, in blocks and in running text."""
    found = []
    for page in PAGES:
        text = page.read_text().replace("\n", " ")
        for block in blocks(page, "sh"):
            found += [re.split(r"\s[#|&]", line)[0].strip() for line in block.splitlines() if line.startswith("make ")]
        found += [code for code in re.findall(r"`(make [a-z-]+[^`]*)`", text) if "…" not in code]
    return sorted(set(found))


@pytest.mark.parametrize("line", make_lines())
def test_a_make_command_is_one_that_the_makefile_and_the_configuration_know(line):
    words = shlex.split(line)
    kept = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "ARGS")}
    shown = subprocess.run(
        ["make", "-n", *words[1:]], cwd=ROOT, env=kept, capture_output=True, text=True, check=True
    ).stdout
    for command in shown.splitlines():
        job = re.search(r"-m jobs\.(\w+) ?(.*)", command)
        if job is None or job[1] in ("bench", "zoo", "slurm", "ray", "kubernetes"):
            continue
        config = compose_config(job[1], [part for part in shlex.split(job[2]) if part not in ("--cfg", "job")])
        if job[1] == "atlas" and config.model.name != "???":
            read_request(config)


@pytest.fixture(scope="module")
def small_atlas(tmp_path_factory) -> Path:
    """The atlas of the README's first command, of two units."""
    out = tmp_path_factory.mktemp("atlases") / "doodlenet"
    assert atlas(compose_config("atlas", [f'out="{out}"', *SMALL])) == 0
    return out


def test_the_first_command_gives_an_atlas_and_pages(small_atlas):
    assert (small_atlas / "site" / "index.html").is_file()
    assert (small_atlas / "site" / "fc8" / f"{CLASSES.index('house')}.html").is_file()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_python_snippets_run(page, small_atlas, capsys):
    names = {}  # a later snippet of a page may go on with what an earlier one has
    for snippet in blocks(page, "python"):
        exec(snippet.replace("atlases/doodlenet", str(small_atlas)), names)
    assert "96, 96, 3)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("script", "arguments", "printed"),
    [
        ("rank_units.py", [], r"fc8: 1 units, 0 dead\n  fc8:15 house +best [\d.]+, ratio [\d.]+\n"),
        ("class_sheet.py", ["low_frequency", "classes.png"], "1 classes in .*classes.png"),
        ("prefer_alike.py", [], "conv5:12 and fc8:15 share [0-9] of their [0-9]+ best images"),
    ],
)
def test_examples_run(script, arguments, printed, small_atlas, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "docs" / "examples" / script))["main"](str(small_atlas / "atlas.h5"), *arguments)
    assert re.search(printed, capsys.readouterr().out)
    assert all((tmp_path / name).is_file() for name in arguments if name.endswith(".png"))


def test_every_example_is_run_and_named():
    scripts = {path.name for path in (ROOT / "docs" / "examples").glob("*.py")}
    run = {given[0] for mark in test_examples_run.pytestmark for given in mark.args[1]}
    assert scripts == run == set(re.findall(r"`(\w+\.py)`", (ROOT / "docs" / "reading.md").read_text()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_tree_of_the_readme_is_the_tree():
    tree = re.search(r"^```\natlas_viewer/.*?^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)[0]
    folder = ROOT
    for line in tree.splitlines()[1:-1]:
        name = line.split()[0]
        if line.startswith("  "):
            assert (folder / name.rstrip(";")).exists(), name
        elif name.endswith("/"):
            folder = ROOT / name
            assert folder.is_dir(), name


def test_methods_name_functions_that_exist():
    text = "".join((ROOT / "docs" / name).read_text() for name in ("methods.md", "priors.md"))
    named = re.findall(r"`((?:pipeline\.)?(?:nets|methods|climb|training(?=\.\w+\.))\.[\w.]+)`", text)
    assert len(named) >= 10
    for name in named:
        path = name if name.startswith("pipeline.") else f"pipeline.{name}"
        target = path.split(".")
        for cut in range(len(target), 1, -1):
            try:
                found = importlib.import_module(".".join(target[:cut]))
                break
            except ModuleNotFoundError:
                continue
        for part in target[cut:]:
            found = getattr(found, part)


def test_overrides_of_the_table_compose():
    table = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "running.md").read_text(), re.MULTILINE)
    overrides = [code for cell in table for code in re.findall(r"`([\w.@]+=[^`]+)`", cell)]
    assert len(overrides) > 10
    for text in overrides:
        parts = shlex.split(text.replace("PATH", "/tmp/file"))
        if parts[0].startswith("model.build"):
            parts = ["model=torch", "model.size=[32,32]", *parts]
        read_request(compose_config("atlas", parts))


def test_the_page_of_numbers_is_the_metadata():
    assert (ROOT / "docs" / "numbers.md").read_text() == numbers_page()


def test_the_format_page_is_the_schema():
    assert (ROOT / "docs" / "format.md").read_text() == format.describe()


def test_no_page_holds_the_marks_of_an_unfinished_merge():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "pipeline" / "weights").glob("*.md")]
    marked = [page.name for page in pages if re.search(r"^(<{7}|={7}$|>{7})", page.read_text(), re.MULTILINE)]
    assert not marked
