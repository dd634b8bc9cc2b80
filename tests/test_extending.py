"""The worked examples of docs/extending.md, applied to a scratch copy of the project and run there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "extending.md"
TINY = (
    "model=torch", "model.name=tiny", "model.build=tiny_network:tiny", "model.labels=tiny_network:LABELS",
    "model.size=[16,16]", "experiment=null", "styles=[low_frequency]", "style.low_frequency.max_iter=5",
    "ascent.trace_points=3", "samples=1", "device=cpu", "cluster=serial", "units=[fc,conv1]", "dataset=doodles",
    "dataset.count=12", "dataset.size=16", "tops.k=3", "tops.batch=4",
)  # fmt: skip


def blocks(title: str) -> list[tuple[str, str, str]]:
    """(language, path, text) of each code block of a chapter."""
    chapter = re.split(r"^## ", PAGE.read_text(), flags=re.M)
    (text,) = [part for part in chapter if part.startswith(f"{title}\n")]
    return re.findall(r"^```(\w+) (\S+)\n(.*?)^```", text, flags=re.M | re.S)


def apply(copy: Path, title: str) -> list[str]:
    """Apply a chapter to a copy of the project; the paths of what existed and was edited are returned."""
    edited = []
    for language, path, text in blocks(title):
        file = copy / path
        if language != "diff":
            assert not file.exists(), path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            continue
        lines = [line or " " for line in text.splitlines()]
        before, after = (
            "".join(f"{line[1:]}\n" for line in lines if line[0] in signs) for signs in (" -", " +")
        )  # fmt: skip
        content = file.read_text()
        assert content.count(before) == 1, f"{path}: {before!r} stands there {content.count(before)} times"
        file.write_text(content.replace(before, after))
        edited.append(path)
    return edited


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """An atlas of the tiny network, made before anything was added."""
    out = tmp_path_factory.mktemp("original") / "out"
    run(ROOT, "jobs.atlas", *TINY, f'out="{out}"')
    return out


@pytest.fixture
def copy(tmp_path) -> Path:
    """The project's code without its weights."""
    for folder in ("pipeline", "jobs", "atlas_viewer", "conf"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "weights"))
    return tmp_path


def run(where: Path, module: str, *arguments: str) -> str:
    """What a job prints, run with the code of a folder."""
    paths = os.pathsep.join((str(where), str(ROOT / "tests" / "jobs")))
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=where, env={**os.environ, "PYTHONPATH": paths},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def shards(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (out / "shards").rglob("*.shard")}


def test_a_new_number_of_a_style_touches_three_files_and_leaves_what_was_made_valid(copy, original, tmp_path):
    assert set(apply(copy, "A parameter of a method")) == {
        "pipeline/methods/ascent/settings.py",
        "pipeline/methods/ascent/regularizers.py",
        "conf/style/_fields.yaml",
    }
    out = tmp_path / "out"
    shutil.copytree(original, out)
    before = shards(out)
    run(copy, "jobs.atlas", *TINY, f'out="{out}"')  # the same request: nothing is computed again
    assert shards(out) == before
    assert (out / "plan.json").read_bytes() == (original / "plan.json").read_bytes()
    more = ("styles=[sparse]", "style.sparse.max_iter=4", "style.sparse.variation=0.25", "units=[fc]")
    run(copy, "jobs.atlas", *TINY, *more, f'out="{out}"')
    with h5py.File(out / "atlas.h5") as file:
        styles = file["layers/fc/ascent"]
        assert styles["sparse"].attrs["variation"] == 0.25
        assert "variation" not in styles["low_frequency"].attrs
        assert "variation" in file["numbers/ascent/name"].asstr()[...].tolist()
    assert json.loads((out / "plan.json").read_text())["settings"]["ascent"]["sparse"]["style"]["variation"] == 0.25
    assert "Total variation" in (out / "site" / "fc" / "0.html").read_text()
    older = subprocess.run(  # the program without the number says so in one line
        [sys.executable, "-m", "jobs.site", f'out="{out}"'], cwd=ROOT, capture_output=True, text=True
    )
    assert older.returncode == 0  # pages need no plan
    refused = subprocess.run(
        [sys.executable, "-m", "jobs.atlas", *TINY, f'out="{out}"'], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests" / "jobs")},
    )  # fmt: skip
    assert refused.returncode == 2
    assert re.fullmatch(r"error: .*ascent sparse\.style\.variation: not known to this version.*\n", refused.stderr)


def test_a_new_number_is_swept(copy, tmp_path):
    apply(copy, "A parameter of a method")
    out = tmp_path / "swept"
    few = ("sweep.iterations=3", "+sweep.rows.variation=[0.1,0.3]", "sweep.draws.count=2", "units=[fc:0]")
    judge = ("model@judge=torch", "judge.name=judge", "judge.build=tiny_network:judge",
             "judge.labels=tiny_network:LABELS", "judge.size=[16,16]", "judge.class_layer=mean")  # fmt: skip
    run(copy, "jobs.sweep", *TINY[:5], *judge, *few, "device=cpu", "cluster=serial", f'out="{out}"')
    with h5py.File(out / "atlas.h5") as file:
        styles = file["layers/fc/ascent"]
        assert styles["variation_2"].attrs["variation"] == 0.3
        assert "variation" not in styles["none"].attrs  # off, and so left out
    page = (out / "site" / "fc" / "sweep.html").read_text()
    assert "Total variation" in page
    assert "style.low_frequency.variation=0.3" in page  # the words that users paste


def test_a_method_touches_the_two_registries_alone(copy, original, tmp_path):
    edited = set(apply(copy, "A method")) | set(apply(copy, "A panel and a page"))
    assert edited == {"pipeline/methods/registry.py", "atlas_viewer/evidence/registry.py"}
    out = tmp_path / "out"
    shutil.copytree(original, out)
    before = shards(out)
    run(copy, "jobs.atlas", *TINY, f'out="{out}"')
    assert {name: shards(out)[name] for name in before} == before
    assert len(shards(out)) == len(before) + 2  # a task for each layer
    with h5py.File(out / "atlas.h5") as file:
        assert file["layers/conv1/mean_image/pixels"].shape == (4, 3, 3, 3)
        assert file["layers/fc/mean_image/pixels"][:].std() > 0
    check = "import h5py, sys; from atlas_viewer.validator import check; print(check(h5py.File(sys.argv[1])))"
    said = subprocess.run(
        [sys.executable, "-c", check, str(out / "atlas.h5")], cwd=copy, capture_output=True, text=True
    )
    assert said.stdout == "[]\n", said.stderr
    page = (out / "site" / "fc" / "0.html").read_text()
    assert "Mean of the best images" in page
    assert (out / "site" / "fc" / "0.png").is_file()
    assert 'href="conv1/3.html"' in (out / "site" / "units.html").read_text()
    assert "units.html" in (out / "site" / "index.html").read_text()
