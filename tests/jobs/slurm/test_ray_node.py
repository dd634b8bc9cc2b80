"""Ray on one node: what Slurm gives, a private folder, a token that only its owner can read."""

from __future__ import annotations

import os
import stat

import pytest

from jobs.console import DONE, REFUSED, run_program
from jobs.slurm import ray_node
from jobs.slurm.ports import Ports
from jobs.slurm.ray_node import (
    LONGEST_FOLDER,
    Share,
    new_token,
    private_folder,
    ray_folder,
    share,
    start_command,
    with_token,
    write_token,
)  # fmt: skip
from pipeline.errors import SettingsError

PORTS = Ports({"port": 1, "node-manager-port": 2, "dashboard-port": 3}, (7, 8, 9))


def mode(path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SLURMD_NODENAME": "n", "SLURM_CPUS_ON_NODE": "6"}, Share("n", 6, 0, None)),
        ({"SLURM_CPUS_ON_NODE": "6", "SLURM_GPUS_ON_NODE": "4"}, Share(os.uname().nodename, 6, 4, None)),
        (
            {
                "SLURMD_NODENAME": "n",
                "SLURM_CPUS_ON_NODE": "6",
                "SLURM_GPUS_ON_NODE": "4",
                "CUDA_VISIBLE_DEVICES": "2,3",
            },
            Share("n", 6, 2, None),
        ),
        ({"SLURMD_NODENAME": "n", "SLURM_CPUS_ON_NODE": "6", "CUDA_VISIBLE_DEVICES": ""}, Share("n", 6, 0, None)),
        ({"SLURMD_NODENAME": "n", "SLURM_CPUS_ON_NODE": "6", "SLURM_MEM_PER_NODE": "100"}, Share("n", 6, 0, 100 << 20)),
        ({"SLURMD_NODENAME": "n", "SLURM_CPUS_ON_NODE": "6", "SLURM_MEM_PER_CPU": "100"}, Share("n", 6, 0, 600 << 20)),
    ],
)
def test_a_node_offers_what_slurm_gives_and_no_more(environment, expected):
    assert share(environment) == expected


def test_the_folder_is_private_and_goes_with_the_node(tmp_path):
    with private_folder({"TMPDIR": str(tmp_path)} if len(str(tmp_path)) < 20 else {}) as folder:
        assert mode(folder) == 0o700
        assert ray_folder(folder).parent == folder
    assert not folder.exists()


def test_a_temporary_folder_with_a_long_path_is_not_used(tmp_path):
    long = tmp_path / ("x" * 80)
    long.mkdir()
    session = "session_2026-01-31_12-59-59_999999_4194304/sockets/plasma_store.1"
    for asked in (str(long), "relative", str(tmp_path / "none"), ""):
        with private_folder({"TMPDIR": asked}) as folder:
            assert folder.parent == type(folder)("/tmp")
            assert len(os.fsencode(folder)) <= LONGEST_FOLDER
            assert len(os.fsencode(ray_folder(folder) / session)) <= 107  # the longest path of a socket


def test_a_token_is_new_and_readable_by_its_owner_alone(tmp_path):
    token = new_token()
    before = os.umask(0)
    try:
        path = write_token(tmp_path, token)
    finally:
        os.umask(before)
    assert mode(path) == 0o600
    assert path.read_text() == token != new_token()
    with pytest.raises(FileExistsError):
        write_token(tmp_path, token)


def test_ray_sees_the_token_of_the_job_and_no_other(tmp_path):
    given = {"RAY_AUTH_TOKEN": "other", "RAY_ADDRESS": "other:1", "RAY_AUTH_MODE": "disabled", "HOME": "/home/me"}
    seen = with_token(given, tmp_path / "token")
    assert seen == {
        "HOME": "/home/me",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token"),
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def test_the_head_begins_a_cluster_and_the_others_join_it(tmp_path):
    given = Share("n1", 4, 2, 10 << 30)
    head = start_command(given, PORTS, tmp_path, "10.0.0.1", None)
    assert {"--head", "--node-ip-address=10.0.0.1", "--port=1", "--dashboard-host=127.0.0.1"} <= set(head)
    assert {"--num-cpus=4", "--num-gpus=2", "--worker-port-list=7,8,9", "--node-name=n1"} <= set(head)
    assert f"--temp-dir={tmp_path}/r" in head
    assert {f"--object-store-memory={2 << 30}", f"--memory={8 << 30}"} <= set(head)
    worker = start_command(given, PORTS, tmp_path, None, "10.0.0.1:1")
    assert "--address=10.0.0.1:1" in worker
    assert not [word for word in worker if word.startswith(("--port=", "--dashboard-port", "--head"))]


def test_a_node_without_ports_ends_in_one_line(monkeypatch, capsys):
    """As every other program ends on an error that a user can fix."""

    def none_free(job, cpus):
        raise SettingsError("ports: none are free")

    reading, writing = os.pipe()
    os.write(writing, b'{"job": 1}\n')
    with os.fdopen(reading) as given:
        monkeypatch.setattr("sys.stdin", given)
        monkeypatch.setattr(ray_node, "taken_ports", none_free)
        with pytest.raises(SystemExit) as ended:
            run_program(ray_node.main)
    os.close(writing)
    assert ended.value.code == REFUSED
    assert capsys.readouterr().err == "error: ports: none are free\n"


def test_a_node_of_a_job_that_is_over_does_nothing(monkeypatch):
    reading, writing = os.pipe()
    os.close(writing)
    with os.fdopen(reading) as given:
        monkeypatch.setattr("sys.stdin", given)
        assert ray_node.main() == DONE
