"""Processes that take each step together: what they give back, what is said when one fails or is lost."""

from __future__ import annotations

import pytest

from jobs import gang
from jobs.console import compose_config
from jobs.gang import Place, run_gang
from jobs.request import read_device
from jobs.settings_reader import read_settings
from pipeline.errors import SettingsError, TrainingError
from pipeline.settings import ClusterSettings


def place_of(place: Place, factor: int) -> int:
    return factor * (place.rank + 1) * place.size


def fail_as_second(place: Place, message: str) -> None:
    if place.rank == 1:
        raise SettingsError(message)


def vanish_as_second(place: Place, code: int) -> None:
    if place.rank == 1:
        import os

        os._exit(code)


def settings(*overrides: str):
    config = compose_config("prior", ["device=cpu", *overrides])
    return read_settings(ClusterSettings, config.cluster, "cluster"), read_device(config, "cpu")


@pytest.mark.parametrize(("cluster", "size"), [("serial", 1), ("serial", None), ("local", 3)])
def test_a_gang_gives_what_its_first_process_returns(cluster, size):
    assert run_gang(*settings(f"cluster={cluster}"), size, place_of, 5) == 5 * (size or 1)


def test_an_error_of_one_process_is_the_error_of_the_gang():
    with pytest.raises(SettingsError, match="seen by the second"):
        run_gang(*settings("cluster=local"), 2, fail_as_second, "seen by the second")


def test_a_lost_process_is_said():
    with pytest.raises(TrainingError, match=r"process 1 of 2: lost .*goes on from the last checkpoint"):
        run_gang(*settings("cluster=local"), 2, vanish_as_second, 3)


def test_one_process_is_not_many():
    with pytest.raises(SettingsError, match=r"processes: got 2, but cluster=serial is one process"):
        run_gang(*settings("cluster=serial"), 2, place_of, 1)
    with pytest.raises(SettingsError, match="processes: got 0, expected 1 or more"):
        run_gang(*settings("cluster=local"), 0, place_of, 1)


@pytest.mark.slow
def test_a_gang_runs_on_a_ray_cluster(monkeypatch):
    """A cluster on this machine stands for one of many."""
    from dataclasses import replace

    cluster, device = settings("cluster=local", "cluster.workers=2", "cluster.memory_bytes=0")
    opened = gang.RayCluster
    monkeypatch.setattr(
        gang, "RayCluster", lambda asked, device, **more: opened(replace(asked, kind="local"), device, **more)
    )
    asked = replace(cluster, kind="ray")
    assert run_gang(asked, device, 2, place_of, 5) == 10
    with pytest.raises(SettingsError, match="seen by the second"):
        run_gang(asked, device, 2, fail_as_second, "seen by the second")
    with pytest.raises(TrainingError, match="process 1 of 2: lost"):
        run_gang(asked, device, 2, vanish_as_second, 3)
