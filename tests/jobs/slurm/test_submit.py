"""Submission to Slurm: every word reaches the job as it was written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.slurm.__main__ import SCRIPT, sbatch, submit
from jobs.submission import Submission
from pipeline.errors import SettingsError

LISTED = f'#!/bin/sh\nexec "{sys.executable}" -c \'import json, sys; print(json.dumps(sys.argv[1:]))\' "$@"\n'
HOSTILE = ["'model.labels=\"/a b/$HOME `id` $(id).txt\"'", 'style.sparse.name="two\nlines"', "units=[conv*:*]"]


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_the_script_is_one_for_bash_and_gives_every_word_to_the_job(tmp_path):
    assert subprocess.run(["bash", "-n", str(SCRIPT)]).returncode == 0
    python = program(tmp_path / "python", LISTED)
    words = ["atlas", *HOSTILE, "", 'out="a\'b\\c"']
    environment = {**os.environ, "ATLAS_PYTHON": str(python), "SLURM_SUBMIT_DIR": str(tmp_path)}
    ran = subprocess.run(["bash", str(SCRIPT), *words], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) == ["-u", "-m", "jobs.slurm.allocation", *words]


def test_a_script_without_its_folder_is_refused(tmp_path):
    environment = {**os.environ, "SLURM_SUBMIT_DIR": str(tmp_path / "none")}
    assert subprocess.run(["bash", str(SCRIPT)], env=environment, capture_output=True).returncode == 2


def test_the_options_of_the_script_are_those_that_resuming_needs():
    options = re.findall(r"^#SBATCH (--[a-z-]+)", SCRIPT.read_text(), re.MULTILINE)
    assert {"--requeue", "--no-kill", "--signal", "--open-mode"} <= set(options)


def test_a_submission_gives_slurm_every_word(tmp_path, capfd, monkeypatch):
    program(tmp_path / "sbatch", LISTED)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    out = tmp_path / "it's 100% $HOME"
    hostile = 'model.labels="/a b/$HOME `id` $(id).txt"'
    assert submit(["--nodes=4", "--comment=a b", hostile, f'out="{out}"'], os.environ) == 0
    words = json.loads(capfd.readouterr().out)
    assert words == [
        f"--output={tmp_path}/it's 100%% $HOME/log/slurm-%j.log",
        "--nodes=4",
        "--comment=a b",
        str(SCRIPT),
        "atlas",
        "cluster=ray",
        hostile,
        f'out="{out}"',
    ]
    assert (out / "log").is_dir()  # Slurm creates no folder for its log


def test_a_refused_submission_is_one_line(tmp_path, monkeypatch):
    def asked(*_, elsewhere):
        return Submission("atlas", (), ("cluster=ray",), tmp_path / "a")

    monkeypatch.setattr("jobs.slurm.__main__.read_submission", asked)
    monkeypatch.setenv("PATH", str(program(tmp_path / "sbatch", "#!/bin/sh\nexit 1\n").parent))
    assert submit([], os.environ) == 2
    (tmp_path / "sbatch").unlink()
    with pytest.raises(SettingsError, match="sbatch: not found"):
        submit([], os.environ)
    program(tmp_path / "sbatch", "#!/bin/sh\n")
    (tmp_path / "a" / "log").rmdir()
    (tmp_path / "a" / "log").write_text("")
    with pytest.raises(SettingsError, match="cannot be written"):
        submit([], os.environ)


def test_marks_of_slurm_in_the_folder_s_name_are_none():
    asked = Submission("atlas", (), (), Path("/a\\b%j"))
    assert sbatch(asked)[1] == "--output=/a\\\\b%%j/log/slurm-%j.log"


def test_the_real_check_is_one_for_bash():
    assert subprocess.run(["bash", "-n", str(SCRIPT.with_name("check.sh"))]).returncode == 0
