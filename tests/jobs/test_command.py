"""The script visualization-atlas: its list of jobs, its errors in its own spelling."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import pytest

from jobs.command import JOBS, VARIABLES, as_script, main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(capsys):
    """The exit code and the output of the script."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        return ended.value.code, *capsys.readouterr()

    return run


def test_help_lists_every_job_with_one_line(run):
    for arguments in ((), ("--help",), ("-h",), ("help",)):
        code, out, err = run(*arguments)
        listed = re.findall(r"^  ([a-z]+) +\S.*\.$", out, flags=re.M)
        assert (code, err) == (0, "")
        assert sorted(listed) == sorted((*JOBS, "plan"))


def test_every_job_of_the_checkout_is_a_subcommand():
    """Those that run_job starts as modules; bench measures the project, and is not installed."""
    jobs = {path.stem for path in (ROOT / "jobs").glob("*.py") if re.search(r"^    run_job\(", path.read_text(), re.M)}
    assert jobs - {"command"} == set(JOBS)


def test_a_job_gets_its_arguments(run):
    code, out, _ = run("layers", "model=doodlenet")
    assert code == 0
    assert out.startswith("doodlenet@") and "\nconv5 " in out


def test_a_job_has_help_that_names_the_script(run):
    code, out, _ = run("atlas", "--help")
    assert code == 0
    assert "usage: visualization-atlas atlas [option=value …]" in out


def test_plan_is_the_atlas_that_only_plans(run, tmp_path):
    code, out, _ = run("plan", f'out="{tmp_path}/out"', "units=[conv1]", "samples=1")
    assert code == 0
    assert "conv1" in out
    assert not (tmp_path / "out").exists()


def test_the_version_is_that_of_the_distribution(run):
    assert run("--version") == (0, f"visualization-atlas {version('visualization-atlas')}\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("layer",), "error: layer: no such job (nearest: layers); visualization-atlas --help lists them"),
        (("model=doodlenet",), "error: model=doodlenet: no such job; visualization-atlas --help lists them"),
        (("layers", "model=doodelnet"), "error: model: no option 'doodelnet'"),
        (("site", "out=nowhere"), "make it with visualization-atlas atlas out=nowhere, or name another with out=…"),
        (
            ("atlas", "units=[conv9]", "dataset=none"),
            "visualization-atlas layers, with the same MODEL and ARGS, lists them",
        ),
    ],
)
def test_a_slip_is_answered_in_one_line_of_the_script_s_own_spelling(run, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("list layers with make layers MODEL=caffenet", "list layers with visualization-atlas layers model=caffenet"),
        ("choose another folder with OUT=…", "choose another folder with out=…"),
        ("make score JUDGE=tinyjudge", "visualization-atlas score model@judge=tinyjudge"),
        ("make sure that MODELS=x make it", "make sure that MODELS=x make it"),
        ("name it by model.name=…", "name it by model.name=…"),
    ],
)
def test_commands_in_messages_are_spelled_for_the_script(text, expected):
    assert as_script(text) == expected


def test_the_variables_are_those_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text()
    given = set(re.findall(r"^([A-Z_]+) \?=$", makefile, flags=re.M))
    assert set(VARIABLES) == given - {"ARGS", "DEVICE", "SBATCH", "SUBMIT"}
    for variable, option in VARIABLES.items():
        assert re.search(rf"\(value {variable}\),\$\(call shell_word,{re.escape(option)}=", makefile), variable
