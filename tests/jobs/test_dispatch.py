"""What is sent where, and what follows from failures: the policy alone, over machines that are only names."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from jobs.dispatch import Dispatch, Node, Policy, TaskQueue, places
from jobs.outcome import Done, Failed

GONE = Failed("FileNotFoundError: /data", "", environment=True)
OWN = Failed("ValueError: bad", "")


@dataclass(frozen=True)
class Job:
    """A task. bad : whether it fails wherever it runs."""

    number: int
    needs_device: bool = True
    seconds: float = 1.0
    bad: bool = False
    shown_first: bool = False


def node(name: str, device: int = 2, host: int = 2) -> Node:
    return Node(name, name, {True: device, False: host})


class Machines:
    """Runs what a Dispatch sends, on machines that fail as told."""

    def __init__(self, dispatch: Dispatch, nodes, faults=None, seed: int = 0) -> None:
        self.dispatch, self.nodes, self.faults = dispatch, list(nodes), faults or {}
        self.now, self.random, self.ran, self.outcomes, self.told = 0.0, random.Random(seed), [], {}, []

    def run(self, rounds: int = 10_000) -> dict[Job, object]:
        flying = []
        for _ in range(rounds):
            self.dispatch.see(self.nodes, self.now)
            flying += self.dispatch.next(self.now)
            for stranded in self.dispatch.stranded():
                flying.remove(stranded)
                self.dispatch.resend(stranded)
            if self.dispatch.idle or self.dispatch.stopped:
                break
            able = [(one, self._able(one)) for one in flying]
            able = [pair for pair in able if pair[1]]
            if able:
                one, names = self.random.choice(able)
                flying.remove(one)
                self._end(one, self.random.choice(names))
            self.now += 1.0
            self.told += self.dispatch.events()
        self.told += self.dispatch.events()
        return self.outcomes

    def _able(self, one) -> list[str]:
        return [place.id for place in self.nodes if place.places[one.lane] and place.id not in one.avoid]

    def _end(self, one, name: str) -> None:
        self.dispatch.started(one, name, self.now)
        self.ran.append((one.task, name))
        outcome = OWN if one.task.bad else self.faults.get(name, Done(b""))
        settled = self.dispatch.ended(one, outcome, self.now + 0.5)
        if settled is not None:
            assert one.task not in self.outcomes
            self.outcomes[one.task] = settled


JOBS = [Job(number) for number in range(60)]


def machines(nodes, faults=None, tasks=JOBS, seed=0, **policy) -> Machines:
    return Machines(Dispatch(Policy(**policy), TaskQueue(tasks)), nodes, faults, seed)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fault", [GONE, OWN])
def test_a_node_on_which_every_task_fails_is_left_out_and_named_and_no_task_is_lost(fault, seed):
    run = machines([node("a"), node("sick"), node("c")], {"sick": fault}, seed=seed)
    outcomes = run.run()
    assert set(outcomes) == set(JOBS)
    assert all(isinstance(outcome, Done) for outcome in outcomes.values())
    (left_out,) = [event.facts for event in run.told if event.name == "left_out"]
    assert (left_out["node"], left_out["reason"], left_out["tasks"]) == ("sick", fault.reason, 3)
    assert run.dispatch.stopped is None
    assert sum(name == "sick" for _, name in run.ran) < 30  # what was in flight, and no more


def test_a_task_is_not_tried_twice_on_a_node_that_failed_it_while_others_are_there():
    run = machines([node("a"), node("b"), node("c")], {"a": GONE}, in_a_row=1000)
    run.run()
    assert max(run.ran.count((job, "a")) for job in JOBS) == 1


def test_a_task_that_fails_by_its_own_fault_is_settled_after_a_second_node_says_so():
    bad = [Job(number, bad=True) for number in range(100, 110)]
    run = machines([node("a"), node("b")], tasks=[*JOBS, *bad])
    outcomes = run.run()
    assert all(outcomes[job] == Failed(OWN.reason, "", node=outcomes[job].node) for job in bad)
    assert all(sorted(name for task, name in run.ran if task == job) == ["a", "b"] for job in bad)
    assert not [event for event in run.told if event.name == "left_out"]


def test_on_one_machine_a_task_that_fails_by_its_own_fault_is_tried_once():
    bad = [Job(number, bad=True) for number in range(10)]
    run = machines([node("a")], tasks=bad)
    assert set(run.run()) == set(bad)
    assert len(run.ran) == len(bad)
    assert run.dispatch.stopped is None


def test_the_run_stops_with_the_cause_where_every_machine_fails():
    run = machines([node("a"), node("b")], {"a": GONE, "b": GONE})
    run.run()
    assert run.dispatch.stopped == (
        "3 tasks in a row failed on b, and no other machine is left: FileNotFoundError: /data"
        if [event.facts["node"] for event in run.told if event.name == "left_out"] == ["a"]
        else "3 tasks in a row failed on a, and no other machine is left: FileNotFoundError: /data"
    )
    assert len(run.ran) < 20


def test_the_run_stops_where_most_attempts_fail_although_some_succeed():
    dispatch = Dispatch(Policy(retries=1, in_a_row=10**6), TaskQueue(Job(number) for number in range(1000)))
    dispatch.see([node("a"), node("b")], 0.0)
    for now in range(1000):
        for one in list(dispatch.next(now)):
            dispatch.started(one, "a" if now % 2 else "b", now)
            dispatch.ended(one, Done(b"") if one.task.number % 10 == 0 else GONE, now)
        if dispatch.stopped:
            break
    assert dispatch.stopped.startswith("40 of the last 4")
    assert dispatch.stopped.endswith(" attempts failed: FileNotFoundError: /data")


def test_a_lost_worker_costs_attempts_and_then_the_task():
    dispatch = Dispatch(Policy(retries=2, in_a_row=1000), TaskQueue([Job(1)]))
    dispatch.see([node("a")], 0.0)
    killed, now, tries = Failed("its worker was killed", "", environment=True), 0.0, 0
    while not dispatch.idle:
        for one in list(dispatch.next(now)):
            tries += 1
            dispatch.started(one, "a", now)
            outcome = dispatch.ended(one, killed, now)
        now += 1.0
    assert tries == 3 and outcome.reason == "its worker was killed"
    assert now >= 3.0  # on the same machine it waits before it tries again


def test_a_task_that_hangs_is_cancelled_and_tried_elsewhere():
    dispatch = Dispatch(Policy(timeout_seconds=100, timeout_factor=20), TaskQueue([Job(1), Job(2, seconds=30)]))
    dispatch.see([node("a"), node("b")], 0.0)
    short, long = dispatch.next(0.0)
    for one in (short, long):
        dispatch.started(one, "a", 0.0)
    assert dispatch.overdue(99.0) == []
    assert dispatch.overdue(101.0) == [short]
    failed = dispatch.timed_out(short, 101.0)
    assert failed.environment and "longer than its limit of 100 s" in failed.reason
    assert dispatch.ended(short, failed, 101.0) is None
    (again,) = dispatch.next(101.0)
    assert again.task == short.task and again.avoid == {"a"}
    assert dispatch.overdue(601.0) == [long]


def test_an_attempt_that_has_not_started_hangs_never():
    dispatch = Dispatch(Policy(timeout_seconds=1), TaskQueue([Job(1)]))
    dispatch.see([node("a")], 0.0)
    assert len(list(dispatch.next(0.0))) == 1
    assert dispatch.overdue(1e6) == []


def test_tasks_in_flight_follow_the_nodes():
    dispatch = Dispatch(Policy(ahead=2), TaskQueue(Job(number) for number in range(100)))
    dispatch.see([], 0.0)
    assert len(list(dispatch.next(0.0))) == 2  # so that a cluster that scales sees a demand
    dispatch.see([node("a", device=1)], 1.0)
    assert list(dispatch.next(1.0)) == []
    dispatch.see([node("a", device=1), node("b", device=4)], 2.0)
    assert len(list(dispatch.next(2.0))) == 8
    dispatch.see([node("b", device=4)], 3.0)
    assert list(dispatch.next(3.0)) == []
    assert [event.name for event in dispatch.events()] == ["joined", "joined", "left"]


def test_tasks_without_a_device_run_beside_those_that_wait_for_one():
    tasks = [*(Job(number) for number in range(10)), *(Job(number, needs_device=False) for number in range(10, 20))]
    dispatch = Dispatch(Policy(ahead=1), TaskQueue(tasks))
    dispatch.see([node("gpu", device=1, host=1), node("cpu", device=0, host=3)], 0.0)
    sent = list(dispatch.next(0.0))
    assert [one.task.number for one in sent] == [0, 10, 11, 12, 13]


def test_what_the_first_pages_show_starts_first():
    queue = TaskQueue([Job(0), Job(1, shown_first=True)])
    queue.add([Job(2), Job(3, shown_first=True)], order=1)
    assert [queue.take(True).number for _ in range(len(queue))] == [1, 3, 0, 2]


def test_a_limit_holds_over_all_tasks():
    dispatch = Dispatch(Policy(limit=3), TaskQueue(Job(number) for number in range(10)))
    dispatch.see([node("a", device=50)], 0.0)
    assert len(list(dispatch.next(0.0))) == 3


def test_tasks_wait_visibly_for_a_node_that_can_run_them():
    dispatch = Dispatch(Policy(), TaskQueue([Job(1)]))
    dispatch.see([node("cpu", device=0)], 5.0)
    assert dispatch.waiting_since(5.0) == 5.0
    assert dispatch.waiting_since(9.0) == 5.0
    dispatch.see([node("cpu", device=0), node("gpu", device=1)], 10.0)
    assert dispatch.waiting_since(10.0) is None


def test_an_attempt_that_avoids_all_that_are_left_is_sent_again():
    dispatch = Dispatch(Policy(), TaskQueue([Job(1)]))
    dispatch.see([node("a"), node("b")], 0.0)
    (one,) = dispatch.next(0.0)
    dispatch.started(one, "a", 0.0)
    dispatch.ended(one, GONE, 0.0)
    (again,) = dispatch.next(0.0)
    assert again.avoid == {"a"}
    dispatch.see([node("a")], 1.0)
    assert dispatch.stranded() == [again]
    dispatch.resend(again)
    (last,) = dispatch.next(1.0)
    assert last.avoid == frozenset()


def test_tasks_of_a_lower_order_are_taken_first_whenever_they_come():
    queue = TaskQueue()
    queue.add([Job(5), Job(6)], order=2)
    queue.add([Job(1)], order=0)
    queue.add([Job(7)], order=2)
    assert [queue.take(True).number for _ in range(4)] == [1, 5, 6, 7]
    assert queue.take(True) is None and len(queue) == 0


@pytest.mark.parametrize(
    ("resources", "needs", "expected"),
    [
        ({"CPU": 8}, {"CPU": 2}, 4),
        ({"CPU": 8, "GPU": 2}, {"CPU": 1, "GPU": 1}, 2),
        ({"CPU": 8, "GPU": 2}, {"CPU": 1, "GPU": 0.25}, 8),
        ({"CPU": 99, "GPU": 1}, {"CPU": 1, "GPU": 0.1}, 10),
        ({"CPU": 99, "GPU": 2}, {"CPU": 1, "GPU": 0.4}, 4),  # a share does not span GPUs
        ({"CPU": 8}, {"CPU": 1, "GPU": 0.5}, 0),
        ({"CPU": 8, "memory": 3e9}, {"CPU": 1, "GPU": 0, "memory": 2**30}, 2),
        ({"CPU": 3}, {"CPU": 4}, 0),
    ],
)
def test_places_of_a_machine(resources, needs, expected):
    assert places(resources, needs) == expected


def test_many_sick_nodes_among_more_healthy_ones_do_not_stop_the_run():
    sick = {f"sick{number}": GONE for number in range(12)}
    nodes = [*map(node, sick), *(node(f"good{number}") for number in range(16))]
    run = machines(nodes, sick, tasks=[Job(number) for number in range(300)])
    outcomes = run.run()
    assert run.dispatch.stopped is None
    assert sum(isinstance(outcome, Done) for outcome in outcomes.values()) == 300
