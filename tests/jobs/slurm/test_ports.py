"""Ports of a Ray node: its own, and nobody else's."""

from __future__ import annotations

import socket

import pytest

from jobs.slurm import ports
from jobs.slurm.ports import FIRST, GRAIN, LAST, NAMES, taken_ports
from pipeline.errors import SettingsError


def all_of(taken: ports.Ports) -> set[int]:
    return {*taken.named.values(), *taken.workers}


def test_every_process_has_a_port_and_every_cpu_two():
    with taken_ports(11, 128) as taken:
        assert tuple(taken.named) == NAMES
        assert len(all_of(taken)) == len(NAMES) + len(taken.workers)
        assert len(taken.workers) >= 2 * 128
        assert all(FIRST <= port < LAST for port in all_of(taken))


def test_nodes_of_the_same_job_and_of_others_share_no_port():
    with taken_ports(5, 4) as one, taken_ports(5, 4) as two, taken_ports(6, 200) as three, taken_ports(5, 1) as four:
        sets = [all_of(taken) for taken in (one, two, three, four)]
        assert len(set.union(*sets)) == sum(map(len, sets))


def test_ports_come_back_when_the_node_ends():
    with taken_ports(7, 4) as one:
        pass
    with taken_ports(7, 4) as two:
        assert one == two


def test_a_port_that_somebody_else_listens_on_is_left_out():
    with taken_ports(8, 4) as free:
        wanted = free.named["port"]
    with socket.socket() as other:
        other.bind(("", wanted))
        other.listen()
        with taken_ports(8, 4) as taken:
            assert wanted not in all_of(taken)


def test_when_all_are_taken_it_is_said(monkeypatch):
    monkeypatch.setattr(ports, "_listening", lambda numbers: [])
    with pytest.raises(SettingsError, match="in a row are free"), taken_ports(1, 4):
        pass


def test_jobs_in_a_row_begin_at_different_grains():
    number = (LAST - FIRST) // GRAIN
    assert len({job * ports.STRIDE % number for job in range(1000, 1000 + number)}) == number
