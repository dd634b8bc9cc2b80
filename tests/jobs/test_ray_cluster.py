"""Faults made on purpose on simulated nodes: one Ray cluster on this machine, whose nodes come and go."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from jobs_of_ray import Job, compute

from jobs import ray_cluster
from jobs.console import compose_config
from jobs.dispatch import TaskQueue
from jobs.outcome import Done, Failed
from jobs.ray_cluster import RayCluster, _cause
from jobs.request import read_device
from jobs.settings_reader import read_settings
from pipeline.errors import AtlasError, EnvironmentFault, SettingsError
from pipeline.settings import ClusterSettings

ROOT = Path(__file__).parents[2]
STORE = 80_000_000  # bytes of a node's object store


def settings(**changes) -> ClusterSettings:
    config = compose_config("atlas", ["cluster=ray"])
    return replace(read_settings(ClusterSettings, config.cluster, "cluster"), memory_bytes=0, **changes)


def device(kind: str = "cpu"):
    return read_device(compose_config("atlas", []), kind)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("WorkerCrashedError", "its worker was killed"),
        ("NodeDiedError", "its node died"),
        ("TaskUnschedulableError", "its node has left the cluster"),
        ("OutOfMemoryError", "its worker was ended because the machine ran out of memory"),
    ],
)
def test_a_lost_task_says_what_was_lost(name, words):
    from types import SimpleNamespace

    errors = SimpleNamespace(**{name: type(name, (Exception,), {})})
    assert _cause(getattr(errors, name)("\x1b[31mlong\x1b[0m words"), errors) == words
    assert _cause(RuntimeError("\x1b[31mred\x1b[0m"), errors) == "RuntimeError: red"


def test_a_machine_on_which_ray_does_not_start_is_named_in_a_line(monkeypatch):
    import ray

    def too_busy(**_):
        raise Exception("The current node timed out during startup. The GCS may be overloaded.")

    monkeypatch.setattr(ray, "init", too_busy)
    with pytest.raises(EnvironmentFault, match=r"^cluster=local: Ray does not start .*timed out.*cluster=serial"):
        RayCluster(settings(kind="local"), device())


@pytest.fixture(scope="module")
def simulated():
    """A cluster whose head runs nothing. Its workers find the jobs of these tests."""
    from ray.cluster_utils import Cluster

    before = dict(os.environ)
    os.environ["PYTHONPATH"] = os.pathsep.join((str(ROOT), str(Path(__file__).parent)))
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield cluster
    finally:
        cluster.shutdown()
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def nodes(simulated):
    """A function that adds a node; what a test added is removed."""
    added = []

    def add(cpus: float = 2, **more):
        node = simulated.add_node(num_cpus=cpus, object_store_memory=STORE, **more)
        added.append(node)
        return node

    def remove(node):
        added.remove(node)
        simulated.remove_node(node, allow_graceful=False)

    add.remove = remove
    add.address = simulated.address
    yield add
    for node in list(added):
        simulated.remove_node(node, allow_graceful=True)  # so that the next test does not see it


def run(address, tasks, shared, *, kind="cpu", notify=None, during=None, **changes):
    """The outcomes of tasks on the cluster, with what it told. during : called with each outcome."""
    told, outcomes = [], {}
    cluster = RayCluster(settings(address=address, **changes), device(kind))

    def note(event):
        told.append((time.monotonic(), event))
        if notify is not None:
            notify(event)

    try:
        for task, outcome in cluster.run(compute, shared, "key", TaskQueue(tasks), note):
            outcomes[task] = outcome
            if during is not None:
                during(outcomes)
    finally:
        cluster.close()
    return outcomes, told


def named(told, name):
    return [event.facts for _, event in told if event.name == name]


@pytest.mark.slow
def test_a_node_on_which_every_task_fails_at_once_is_left_out_and_the_run_finishes(nodes, tmp_path):
    good, sick = nodes(1), nodes(1)
    (tmp_path / sick.node_id).touch()
    jobs = [Job(number, "sleep", "0.05") for number in range(60)]
    outcomes, told = run(nodes.address, jobs, tmp_path)
    assert {outcome.data.decode() for outcome in outcomes.values()} == {good.node_id}
    assert len(outcomes) == len(jobs)
    (left_out,) = named(told, "left_out")
    assert "No such file or directory: '/data/images'" in left_out["reason"]
    assert sick.node_id[:6] in left_out["node"]
    assert len(named(told, "again")) < 10


@pytest.mark.slow
def test_a_node_that_joins_is_used_fully_within_ten_seconds_while_no_task_ends(nodes, tmp_path):
    nodes(1)
    joined = []

    def note(event):
        if event.name == "started" and not joined:
            joined.append((time.monotonic(), nodes(4)))

    jobs = [Job(number, "sleep", "25") for number in range(5)]
    _, told = run(nodes.address, jobs, tmp_path, notify=note)
    started = [at for at, event in told if event.name == "started"]
    assert len(started) == 5
    added, _ = joined[0]
    seen = next(at for at, event in told if event.name == "joined" and event.facts["places"] == 4)
    assert max(started) - added < 25  # that is before any task had ended
    assert max(started) - seen < 10


@pytest.mark.slow
def test_shares_of_gpus_fill_and_tasks_without_a_device_run_elsewhere(nodes, tmp_path):
    gpu, cpu = nodes(2, num_gpus=2), nodes(2)
    running, most = Counter(), Counter()

    def note(event):
        if event.name == "started":
            lane = event.facts["task"].needs_device
            running[lane] += 1
            most[lane] = max(most[lane], running[lane])

    def ended(outcomes):
        running[next(reversed(outcomes)).needs_device] -= 1

    tasks = [Job(number, "sleep", "8") for number in range(4)]
    tasks += [Job(number, "sleep", "1", needs_device=False) for number in range(4, 8)]
    small = replace(device("cuda"), threads=1)
    cluster = RayCluster(settings(address=nodes.address, gpus_per_task=0.5), replace(small, kind="cuda"))
    try:
        assert cluster.workers == 2  # two CPUs limit it: half a GPU and a CPU for each task
        seen = {}
        for task, outcome in cluster.run(compute, tmp_path, "key", TaskQueue(tasks), note):
            seen[task] = outcome.data.decode()
            ended(seen)
    finally:
        cluster.close()
    assert {seen[task] for task in tasks if task.needs_device} == {gpu.node_id}
    assert most[True] == 2
    assert cpu.node_id in {seen[task] for task in tasks if not task.needs_device}


@pytest.mark.slow
def test_a_cluster_grows_from_nothing(nodes, tmp_path, capsys):
    def note(event):
        if event.name == "tick" and not added:
            added.append(nodes(2))

    added = []
    outcomes, _ = run(nodes.address, [Job(number) for number in range(8)], tmp_path, notify=note)
    assert all(isinstance(outcome, Done) for outcome in outcomes.values()) and len(outcomes) == 8
    assert "waiting for a node with 1 CPUs for a task" in capsys.readouterr().err


@pytest.mark.slow
def test_what_no_node_can_run_is_said_at_once_and_ends_the_run(nodes, tmp_path, capsys):
    nodes(2)
    with pytest.raises(SettingsError, match=r"cluster: no node has 1 CPUs, 1 GPUs for a task, and .* has 2 CPUs"):
        run(nodes.address, [Job(1)], tmp_path, kind="cuda", wait_for_nodes=3)
    assert "waiting for a node with 1 CPUs, 1 GPUs for a task" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_worker_and_a_hanging_task_are_tried_again(nodes, tmp_path):
    nodes(1), nodes(1)
    jobs = [Job(1, "die once", str(tmp_path / "died")), Job(2, "hang once", str(tmp_path / "hung")), Job(3)]
    outcomes, told = run(nodes.address, jobs, tmp_path, timeout_seconds=4.0)
    assert all(isinstance(outcome, Done) for outcome in outcomes.values()) and len(outcomes) == 3
    reasons = sorted(facts["reason"] for facts in named(told, "again"))
    assert reasons[0].startswith("it ran for ") and reasons[1] == "its worker was killed"
    assert all(facts["node"] for facts in named(told, "again"))  # each says where


@pytest.mark.slow
def test_a_node_that_dies_costs_no_task(nodes, tmp_path):
    nodes(1)
    dying = nodes(1)

    def note(event):
        if event.name == "started" and not dead and dying.node_id[:6] in event.facts["node"]:
            dead.append(dying)
            nodes.remove(dying)

    dead = []
    outcomes, told = run(nodes.address, [Job(number, "sleep", "3") for number in range(8)], tmp_path, notify=note)
    assert all(isinstance(outcome, Done) for outcome in outcomes.values()) and len(outcomes) == 8
    assert dead
    assert {facts["reason"] for facts in named(told, "again")} <= {"its node died", "its worker was killed"}
    assert named(told, "left")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["disabled", "token"])
def test_a_cluster_is_joined_with_a_token_only_if_it_asks_for_one(mode, tmp_path):
    """A file ~/.ray/auth_token is there both times; without tokens it belongs to another cluster."""
    home = tmp_path / "home"
    (home / ".ray").mkdir(parents=True)
    (home / ".ray" / "auth_token").write_text("0123456789abcdef" * 4)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    path = os.pathsep.join((str(ROOT), str(Path(__file__).parent)))
    clean |= {"HOME": str(home), "PYTHONPATH": path, "RAY_USAGE_STATS_ENABLED": "0"}
    cluster = subprocess.Popen(
        [sys.executable, "-c", CLUSTER_OF_ITS_OWN], env={**clean, "RAY_AUTH_MODE": mode},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        address = next(line.split()[1] for line in cluster.stdout if line.startswith("address "))
        cluster.stdin.write("grow\n")
        cluster.stdin.flush()
        done = subprocess.run(
            [sys.executable, __file__, address], env=clean, capture_output=True, text=True, timeout=200
        )
        assert "done 6, nodes 2" in done.stdout, done.stderr
    finally:
        cluster.communicate("", timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "said"),
    [
        ("joins", "cluster.address: no Ray cluster answers at .* \\(its head does not answer any more\\)"),
        ("runs", "the head of the Ray cluster does not answer any more; finished work is kept"),
    ],
)
def test_a_run_whose_head_is_lost_ends_with_one_line(moment, said):
    """Ray itself would wait for many minutes when it joins, and later end the process without a word."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(Path(__file__).parent)))}
    environment |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    cluster = subprocess.Popen(
        [sys.executable, "-c", CLUSTER_OF_ITS_OWN],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        address, head = next(line.split()[1:] for line in cluster.stdout if line.startswith("address "))
        command = [sys.executable, __file__, address, head, moment]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert re.search(f"(SettingsError|EnvironmentFault) {said}", done.stdout), done.stdout + done.stderr
        assert done.returncode == 0 and "Traceback" not in done.stderr
    finally:
        cluster.communicate("", timeout=60)


CLUSTER_OF_ITS_OWN = f"""
import time
from ray.cluster_utils import Cluster
head = dict(num_cpus=1, object_store_memory={STORE}, include_dashboard=False)
made = Cluster(initialize_head=True, head_node_args=head)
print("address", made.address, made.head_node.all_processes["gcs_server"][0].process.pid, flush=True)
if input() == "grow":
    time.sleep(15)
    made.add_node(num_cpus=1, object_store_memory={STORE})  # whose results once were lost
    input()
"""


def _drive_beside_a_token(address: str) -> None:
    """Runs in a process of its own: tasks long enough for the node that joins."""
    outcomes, _ = run(address, [Job(number, "sleep", "8") for number in range(6)], "/nowhere")
    failed = [outcome for outcome in outcomes.values() if isinstance(outcome, Failed)]
    nodes = {outcome.node for outcome in outcomes.values()}
    print(f"done {len(outcomes) - len(failed)}, nodes {len(nodes)}", failed)


def _drive_and_lose_the_head(address: str, head: int, moment: str) -> None:
    """Runs in a process of its own: the head is killed when Ray begins to join it, or when a task has ended."""
    import ray

    ray_cluster._SILENCE, join = 3.0, ray.init

    def lose(*_) -> None:
        with suppress(ProcessLookupError):
            os.kill(head, signal.SIGKILL)

    def join_late(*arguments, **options):
        lose()
        return join(*arguments, **options)

    if moment == "joins":
        ray.init = join_late
    try:
        run(address, [Job(number, "sleep", "1") for number in range(60)], "/nowhere", during=lose)
    except AtlasError as error:
        print(type(error).__name__, error)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        _drive_and_lose_the_head(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    else:
        _drive_beside_a_token(sys.argv[1])
