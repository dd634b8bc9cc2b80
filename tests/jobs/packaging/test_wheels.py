"""The two distributions: what their wheels hold, and that they work where nothing of the checkout can be imported."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from jobs.console import compose_config
from jobs.request import read_model
from pipeline.nets.open_network import open_network

pytest.importorskip("hatchling", reason="hatchling, which builds the wheels, is not installed")
ROOT = Path(__file__).parents[3]
FOLDERS = ("pipeline", "jobs", "conf", "atlas_viewer")
LEFT_OUT = {
    "jobs/bench",
    "jobs/zoo",
    "jobs/packaging",
    "jobs/slurm",
    "jobs/ray",
    "jobs/kubernetes/Dockerfile",
    "jobs/kubernetes/Dockerfile.dockerignore",
    "atlas_viewer/pyproject.toml",
    "atlas_viewer/README.md",
}
COLLIDING = ("conf.py", "jobs.py", "pipeline.py")  # files of the user's own, in the folder where a command is started
SMALL = ("model=doodlenet", "units=[conv1:0,fc8:3]", "samples=1", "styles=[low_frequency]", "dataset=none")
SMALL += ("style.low_frequency.max_iter=3", "dgn.iterations=2", "device=cpu")


def hook():
    """The module of the build hook, which hatchling loads from its file."""
    spec = importlib.util.spec_from_file_location("hook", ROOT / "jobs" / "packaging" / "hook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> dict[str, Path]:
    """Name of a distribution → its wheel."""
    folder = tmp_path_factory.mktemp("wheels")
    for project in (ROOT, ROOT / "atlas_viewer"):
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
        subprocess.run(build, cwd=project, check=True, capture_output=True)
    return {path.name.partition("-")[0]: path for path in folder.glob("*.whl")}


@pytest.fixture(scope="module")
def held(wheels) -> dict[str, dict[str, bytes]]:
    """Name of a distribution → file → content."""
    contents = {}
    for name, path in wheels.items():
        with zipfile.ZipFile(path) as archive:
            contents[name] = {entry: archive.read(entry) for entry in archive.namelist()}
    return contents


def metadata(files: dict[str, bytes]):
    (text,) = [content.decode() for name, content in files.items() if name.endswith(".dist-info/METADATA")]
    return Parser().parsestr(text)


# What the wheels hold --------------------------------------------------------------------------------


def test_the_pipeline_installs_one_package_and_the_line_that_finds_the_reader(held):
    top = {name.partition("/")[0] for name in held["visualization_atlas"]}
    assert {name for name in top if not name.endswith(".dist-info")} == {
        "visualization_atlas", "visualization_atlas.pth",
    }  # fmt: skip
    assert held["visualization_atlas"]["visualization_atlas.pth"] == b"visualization_atlas/reader\n"


def test_the_two_distributions_share_no_file_and_hold_the_same_reader(held):
    reader, whole = held["atlas_viewer"], held["visualization_atlas"]
    assert reader.keys() & whole.keys() == set()
    modules = {name: content for name, content in reader.items() if name.startswith("atlas_viewer/")}
    prefix = "visualization_atlas/reader/"
    assert modules == {name[len(prefix) :]: content for name, content in whole.items() if name.startswith(prefix)}


def test_every_file_of_the_packages_is_installed(held):
    listed = subprocess.run(["git", "ls-files", *FOLDERS], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    lost = []
    for name in listed.stdout.splitlines():
        folder = "reader/" if name.startswith("atlas_viewer/") else ""
        if not any(f"{name}/".startswith(f"{part}/") for part in LEFT_OUT):
            lost += [name] if f"visualization_atlas/{folder}{name}" not in held["visualization_atlas"] else []
    assert lost == []


def test_no_installed_module_imports_a_name_of_the_checkout(held):
    """Neither by a statement nor by a name in a text, such as that of import_module."""
    found = []
    for name, content in held["visualization_atlas"].items():
        if not name.endswith(".py"):
            continue
        for node in ast.walk(ast.parse(content)):
            if isinstance(node, ast.Import):
                found += [(name, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.append((name, node.module))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found += [(name, text) for text in re.findall(r"^(?:pipeline|jobs|conf)(?:\.\w+)+$", node.value)]
    moved = [(name, module) for name, module in found if module.partition(".")[0] in ("pipeline", "jobs", "conf")]
    allowed = {"pipeline.nets.open_network"}  # what _installed_name removes from its own name
    assert [(name, module) for name, module in moved if module not in allowed] == []


def test_the_reader_needs_no_torch_and_no_ray_and_has_the_version_of_the_pipeline(held):
    reader, whole = metadata(held["atlas_viewer"]), metadata(held["visualization_atlas"])
    assert reader["Version"] == whole["Version"]
    needs, all_needs = reader.get_all("Requires-Dist"), whole.get_all("Requires-Dist")
    assert set(needs) <= set(all_needs)  # the extra `viewer` too, with the same ranges
    required = {re.match(r"[\w-]+", need)[0] for need in needs if "extra ==" not in need}
    assert required == {"h5py", "numpy", "pillow", "jinja2"}


def test_the_script_is_that_of_the_namespace(held):
    (text,) = [content for name, content in held["visualization_atlas"].items() if name.endswith("entry_points.txt")]
    assert "visualization-atlas = visualization_atlas.jobs.command:main" in text.decode()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from pipeline.a import b\n", "from visualization_atlas.pipeline.a import b\n"),
        ("from  jobs import (\n    a,\n    b,\n)\n", "from  visualization_atlas.jobs import (\n    a,\n    b,\n)\n"),
        ("import jobs.a as a\n", "import visualization_atlas.jobs.a as a\n"),
        (
            "import os, jobs.a as a, pipeline as p\n",
            "import os, visualization_atlas.jobs.a as a, visualization_atlas.pipeline as p\n",
        ),
        (
            "from pipeline.a import b; from jobs.c import d\n",
            "from visualization_atlas.pipeline.a import b; from visualization_atlas.jobs.c import d\n",
        ),
        (
            "def f():\n    é = 'from pipeline import x'; from pipeline import x  # from pipeline\n",
            "def f():\n    é = 'from pipeline import x'; from visualization_atlas.pipeline import x  # from pipeline\n",
        ),
        ("from pipelines import a\nfrom .pipeline import b\n", "from pipelines import a\nfrom .pipeline import b\n"),
        ("from atlas_viewer.a import b\n", "from atlas_viewer.a import b\n"),
        ('"""Text: from pipeline.a import b"""\n', '"""Text: from pipeline.a import b"""\n'),
    ],
)
def test_only_the_names_in_import_statements_move(source, expected):
    assert hook().moved_imports(source, "a.py") == expected


def test_an_import_that_would_use_the_name_itself_is_refused_with_its_place():
    with pytest.raises(ValueError, match=r"a.py:2: import pipeline.nets: write from … import …"):
        hook().moved_imports("import os\nimport pipeline.nets\n", "a.py")


# What is installed works -----------------------------------------------------------------------------


@pytest.fixture
def start(tmp_path) -> Path:
    """A folder with files of the user's own that are called as the folders of the checkout."""
    for name in COLLIDING:
        (tmp_path / name).write_text("raise SystemExit('imported a file of the user')\n")
    return tmp_path


def test_every_installed_module_can_be_imported_and_none_is_of_the_checkout(wheels, tmp_path, start):
    """Unpacked as by `pip install --target`; the reader is found without the line of the .pth file."""
    with zipfile.ZipFile(wheels["visualization_atlas"]) as archive:
        archive.extractall(tmp_path / "target")
    code = (
        "import sys\n"
        "sys.path = [path for path in sys.path if path != sys.argv[1] and not path.startswith('__editable__')]\n"
        "sys.meta_path = [finder for finder in sys.meta_path if not hasattr(finder, '__module__') "
        "or not finder.__module__.startswith('__editable__')]\n"
        "import pkgutil, importlib, visualization_atlas\n"
        "names = [info.name for info in pkgutil.walk_packages(visualization_atlas.__path__, 'visualization_atlas.')]\n"
        "names = [name for name in names if '.reader' not in name]\n"
        "for name in names: importlib.import_module(name)\n"
        "import atlas_viewer.site.build\n"
        "assert len(names) > 100 and visualization_atlas.visualize and visualization_atlas.Atlas\n"
        "print(sorted({'pipeline', 'jobs', 'conf'} & set(sys.modules)), atlas_viewer.__file__)\n"
    )
    here = {**os.environ, "PYTHONPATH": str(tmp_path / "target")}
    done = subprocess.run([sys.executable, "-c", code, str(ROOT)], cwd=start, env=here, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    reader = tmp_path / "target" / "visualization_atlas" / "reader" / "atlas_viewer" / "__init__.py"
    assert done.stdout.split() == ["[]", str(reader)]


@pytest.mark.slow
def test_both_distributions_install_into_a_new_environment_and_leave_it_apart(wheels, tmp_path, start):
    """The reader alone, then both, then the pipeline alone; its atlas has the bytes of the checkout's."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    python, site = environment / "bin" / "python", next(environment.glob("lib/python*/site-packages"))
    site.joinpath("dependencies.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))

    def run(*command: object, cwd: Path = start) -> str:
        done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def pip(*arguments: object) -> None:
        run(python, "-m", "pip", "--disable-pip-version-check", *arguments)

    expected, out = tmp_path / "expected", start / "out"
    run(sys.executable, "-m", "jobs.atlas", *SMALL, f'out="{expected}"', "cluster=serial", cwd=ROOT)
    blocked = "import sys; sys.modules.update(torch=None, ray=None, hydra=None, pipeline=None, jobs=None); "
    reading = (
        f"from atlas_viewer import Atlas; atlas = Atlas({str(expected / 'atlas.h5')!r}); "
        "print(atlas.unit('fc8:3').pictures('low_frequency').shape)"
    )
    pip("install", "--no-index", "--no-deps", wheels["atlas_viewer"])
    assert run(python, "-c", blocked + reading) == "(1, 96, 96, 3)\n"
    pip("install", "--no-index", "--no-deps", wheels["visualization_atlas"])
    pip("uninstall", "--yes", "atlas-viewer")
    assert run(python, "-c", reading) == "(1, 96, 96, 3)\n"

    script = environment / "bin" / "visualization-atlas"
    digest = open_network(read_model(compose_config("layers", ["model=doodlenet"]).model)).digest
    assert run(script, "layers", "model=doodlenet").startswith(f"doodlenet@{digest[:12]}")
    run(script, "atlas", *SMALL, f'out="{out}"', "cluster=local", "cluster.workers=1")
    assert (out / "atlas.h5").read_bytes() == (expected / "atlas.h5").read_bytes()
    assert (out / "site" / "index.html").is_file()
    shown = "from visualization_atlas import visualize; print(visualize('doodlenet', 'conv1:0', samples=1, max_iter=2))"
    assert "conv1:0, low_frequency" in run(python, "-c", shown)
    pip("install", "--no-index", "--no-deps", wheels["atlas_viewer"])
    pip("uninstall", "--yes", "visualization-atlas")
    assert run(python, "-c", reading) == "(1, 96, 96, 3)\n"
    assert not (site / "visualization_atlas").exists()


def test_a_reader_of_another_version_beside_it_is_refused(wheels, tmp_path):
    target = tmp_path / "target"
    for wheel in wheels.values():
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target)
    (described,) = target.glob("atlas_viewer-*.dist-info/METADATA")
    described.write_text(re.sub(r"^Version: .*$", "Version: 0.0.1", described.read_text(), flags=re.M))
    here = {**os.environ, "PYTHONPATH": str(target)}
    code = "import visualization_atlas"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=here, capture_output=True, text=True)
    assert "ImportError: atlas-viewer 0.0.1 is installed beside visualization-atlas" in done.stderr


def test_a_development_install_has_every_module_once_under_both_names(tmp_path):
    """What `pip install -e .` writes: the alias, and the checkout on the path."""
    hook().write_alias(ROOT, tmp_path)
    code = (
        "import sys, importlib, visualization_atlas\n"
        "import pipeline.nets.network as ours, visualization_atlas.pipeline.nets.network as alias\n"
        "from visualization_atlas.jobs.command import main\n"
        "import jobs.command\n"
        "assert ours is alias and main is jobs.command.main and ours.__spec__.name == 'pipeline.nets.network'\n"
        "assert visualization_atlas.visualize is importlib.import_module('jobs.notebook').visualize\n"
        "assert importlib.reload(alias) is ours\n"
        "import visualization_atlas.pipeline.nothing\n"
    )
    here = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=here, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'pipeline.nothing'"
