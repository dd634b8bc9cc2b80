"""Processes that run together: their result, and the error when one of them fails or is lost."""

from __future__ import annotations

import pytest

from jobs import processes
from jobs.console import compose_config
from jobs.processes import Member, run_processes
from jobs.request import read_device
from jobs.settings_reader import read_settings
from pipeline.errors import SettingsError, TrainingError
from pipeline.settings import ClusterSettings


def rank_and_size(member: Member, factor: int) -> int:
    return factor * (member.rank + 1) * member.size


def fail_as_second(member: Member, message: str) -> None:
    if member.rank == 1:
        raise SettingsError(message)


def vanish_as_second(member: Member, code: int) -> None:
    if member.rank == 1:
        import os

        os._exit(code)


def settings(*overrides: str):
    config = compose_config("prior", ["device=cpu", *overrides])
    return read_settings(ClusterSettings, config.cluster, "cluster"), read_device(config, "cpu")


@pytest.mark.parametrize(("cluster", "size"), [("serial", 1), ("serial", None), ("local", 3)])
def test_the_result_is_that_of_the_first_process(cluster, size):
    assert run_processes(*settings(f"cluster={cluster}"), size, rank_and_size, 5) == 5 * (size or 1)


def test_an_error_of_one_process_is_raised():
    with pytest.raises(SettingsError, match="seen by the second"):
        run_processes(*settings("cluster=local"), 2, fail_as_second, "seen by the second")


def test_a_lost_process_is_reported():
    with pytest.raises(TrainingError, match=r"process 1 of 2: lost .*continues from the last checkpoint"):
        run_processes(*settings("cluster=local"), 2, vanish_as_second, 3)


def test_one_process_is_not_many():
    with pytest.raises(SettingsError, match=r"processes: got 2, but cluster=serial is one process"):
        run_processes(*settings("cluster=serial"), 2, rank_and_size, 1)
    with pytest.raises(SettingsError, match="processes: got 0, expected 1 or more"):
        run_processes(*settings("cluster=local"), 0, rank_and_size, 1)


@pytest.mark.slow
def test_processes_run_on_a_ray_cluster(monkeypatch):
    """A cluster on this machine stands for one of many."""
    from dataclasses import replace

    cluster, device = settings("cluster=local", "cluster.workers=2", "cluster.memory_bytes=0")
    opened = processes.RayCluster
    monkeypatch.setattr(
        processes, "RayCluster", lambda asked, device, **more: opened(replace(asked, kind="local"), device, **more)
    )
    asked = replace(cluster, kind="ray")
    assert run_processes(asked, device, 2, rank_and_size, 5) == 10
    with pytest.raises(SettingsError, match="seen by the second"):
        run_processes(asked, device, 2, fail_as_second, "seen by the second")
    with pytest.raises(TrainingError, match="process 1 of 2: lost"):
        run_processes(asked, device, 2, vanish_as_second, 3)
