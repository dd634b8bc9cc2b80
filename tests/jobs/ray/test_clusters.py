"""Ray clusters by `ray up`: the files against Ray's own schema, and the command that sends a job."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

import jobs.ray.__main__ as sending
from jobs.submission import Submission

FOLDER = Path(sending.__file__).parent
FILES = sorted(FOLDER.glob("*.yaml"))
SCHEMA = Path(find_spec("ray").submodule_search_locations[0]) / "autoscaler" / "ray-schema.json"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_cluster_fits_ray_s_schema(path):
    cluster = yaml.safe_load(path.read_text())
    problems = [error.message for error in Draft202012Validator(json.loads(SCHEMA.read_text())).iter_errors(cluster)]
    assert problems == []


def test_the_schema_sees_a_misspelt_key():
    cluster = {**yaml.safe_load(FILES[0].read_text()), "max_wrokers": 3}
    assert list(Draft202012Validator(json.loads(SCHEMA.read_text())).iter_errors(cluster))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_cluster_is_closed_to_others(path):
    """Every Ray wants the token, every machine has it, and the dashboard listens on the first machine alone."""
    cluster = yaml.safe_load(path.read_text())
    starts = cluster["head_start_ray_commands"][-1:] + cluster["worker_start_ray_commands"][-1:]
    assert all("ray start" in command and "RAY_AUTH_MODE=token" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "chmod 600 ~/.ray/auth_token" in cluster["setup_commands"]
    for command in [*cluster["setup_commands"], *starts]:
        assert subprocess.run(["bash", "-n", "-c", command]).returncode == 0


def sent(option: str, *overrides: str) -> Submission:
    """What read_submission gives."""
    return Submission("atlas", (option,), ("cluster=ray", *overrides, 'out="/data/a"'), Path("/data/a"))


def test_a_job_is_sent_with_every_word_intact(tmp_path):
    """The words pass through ray's quoting, the shell that runs the job, and the one that changes the folder."""
    hostile = 'model.labels="/a b/$HOME `id` $(id) it\'s.txt"'
    command = sending.ray_job(sent("--no-wait", hostile))
    assert command[1:6] == ["-m", "ray.scripts.scripts", "job", "submit", "--address=http://127.0.0.1:8265"]
    words = command[command.index("--") + 1 :]
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    python = tmp_path / ".venv" / "bin" / "python"
    listed = "import json, sys; print(json.dumps(sys.argv[1:]))"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c \'{listed}\' "$@"\n')
    python.chmod(0o755)
    entry = shlex.join(words)  # as ray.dashboard.modules.job.cli joins them
    ran = subprocess.run(
        entry, shell=True, env={"ATLAS_FOLDER": str(tmp_path), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert json.loads(ran.stdout) == ["-m", "jobs.atlas", "cluster=ray", hostile, 'out="/data/a"']


def test_another_address_replaces_the_usual_one():
    command = sending.ray_job(sent("--address=http://head:1"))
    assert [word for word in command if word.startswith("--address")] == ["--address=http://head:1"]


def test_the_token_is_used_where_there_is_one_and_is_no_argument(tmp_path):
    token = tmp_path / "token"
    token.write_text("secret")
    assert sending.authenticated({"RAY_AUTH_TOKEN_PATH": str(token)})["RAY_AUTH_MODE"] == "token"
    assert sending.authenticated({"RAY_AUTH_TOKEN": "secret"})["RAY_AUTH_MODE"] == "token"
    assert "RAY_AUTH_MODE" not in sending.authenticated({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "none")})
    chosen = {"RAY_AUTH_TOKEN": "secret", "RAY_AUTH_MODE": "disabled"}
    assert sending.authenticated(chosen)["RAY_AUTH_MODE"] == "disabled"
