"""Run tasks through Ray, on this machine's cores or on the machines of a cluster. No other module imports ray."""

from __future__ import annotations

import _thread
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from jobs.cluster import Notify, announce, ignore, policy, stop
from jobs.dispatch import Attempt, Dispatch, Event, Node, TaskQueue, places
from jobs.outcome import Compute, Failed, Outcome, attempt, one_line, spoils_process
from pipeline.errors import AtlasError, EnvironmentFault, SettingsError
from pipeline.settings import ClusterSettings, DeviceSettings

_ROOM = 60.0  # seconds to wait for a cluster's resources for processes that run at once
_POLL = 2.0  # seconds between two looks at the nodes
_TICK = 1.0  # longest time to wait for an outcome
_REPEAT = 60.0  # seconds between two lines that say that tasks wait for a node
_ANSWER = 5.0  # seconds that a cluster gets to answer
_SILENCE = 40.0  # seconds without an answer of the head after which the run ends; after 60 Ray ends the process
_NODE_ID = "ray.io/node-id"  # the label of every node
_SOCKET_PATH, _BELOW_TMP = 107, 72  # longest path of a socket, and what Ray adds to the temporary folder


class RayCluster:
    """Runs tasks as Ray tasks, on this machine ("local") or on the machines of a running cluster ("ray").

    With tasks instead of actors, Ray uses nodes that join, and no pool of actors has to be managed. A worker process
    runs many tasks and keeps what they share. A task is a generator: its first value, which arrives when it starts,
    names its node; its second one is its outcome.
    """

    def __init__(self, settings: ClusterSettings, device: DeviceSettings, *, print_output: bool = False) -> None:
        """
        print_output : whether to print what the tasks print.
        Raises SettingsError if Ray is not installed, no cluster answers at the address, or this machine has not the
        resources of a single task.
        """
        self._settings, self._environment = settings, dict(os.environ)
        self._folder: str | None = None
        self._silent_since: float | None = None
        self._needs = {
            True: {
                "CPU": device.threads,
                "GPU": settings.gpus_per_task if device.kind == "cuda" else 0,
                "memory": settings.memory_bytes,
            },
            False: {"CPU": device.threads, "memory": settings.memory_bytes},
        }
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        if settings.kind == "local" and not _token_is_named():  # a token of this run, and no file in the home folder
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        try:
            import ray
        except ImportError:
            self._restore()
            raise SettingsError(
                f"cluster={settings.kind}: Ray is not installed; install ray, or use cluster=serial"
            ) from None
        self._ray = ray
        quiet = {"log_to_driver": print_output, "logging_level": "ERROR", "configure_logging": True}
        on_stop = signal.getsignal(signal.SIGTERM)
        try:
            if settings.kind == "local":
                self._start(device, quiet)
            else:
                self._join(quiet)
        except BaseException:
            self._restore()
            raise
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_stop)  # Ray's own handler prints the stack of its C++ code
        self.workers = settings.workers or max(1, sum(node.places[True] for node in self._nodes()))
        self._held: dict[str, object] = {}
        if settings.kind == "local":
            self._refuse_what_cannot_be_placed()

    def _start(self, device: DeviceSettings, quiet: dict) -> None:
        """Start a Ray instance on this machine, which nothing else can use."""
        settings = self._settings
        cores = settings.workers if settings.workers is not None else os.cpu_count() or 1
        _read_authentication_again("token" if "RAY_AUTH_MODE" not in self._environment else None)
        folder = self._short_folder()
        try:
            self._ray.init(
                address="local",
                num_cpus=cores * device.threads,
                include_dashboard=False,
                object_store_memory=settings.store_bytes,
                _temp_dir=folder,
                **quiet,
            )
        except Exception as error:  # Ray raises no narrower one where its processes do not answer in time
            raise EnvironmentFault(
                f"cluster=local: Ray does not start on this machine ({one_line(str(error)).rstrip('.')}); it may be "
                f"too busy: the same command tries again, and cluster=serial does without Ray"
            ) from None

    def _short_folder(self) -> str | None:
        """A private folder for Ray's sockets if the path of the temporary folder is too long for them."""
        usual = os.environ.get("RAY_TMPDIR", tempfile.gettempdir())
        if len(usual) + _BELOW_TMP <= _SOCKET_PATH:
            return None
        try:
            self._folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
        except OSError as error:
            raise SettingsError(
                f"TMPDIR: {usual} is too long a path for the sockets of Ray, and /tmp cannot be used "
                f"({error.strerror}); set RAY_TMPDIR to a folder with a short path"
            ) from None
        return self._folder

    def _join(self, quiet: dict) -> None:
        """Connect to a running cluster."""
        ray, where = self._ray, self._settings.address or "auto"
        try:
            head = _head_of(where)
            _use_authentication_of(head)
            with _interrupted_if_silent(head):
                context = ray.init(address=where, **quiet)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise SettingsError(
                f"cluster.address: no Ray cluster answers at {where} ({one_line(str(error)).rstrip('.')}); start one "
                f"with ray start --head, or use cluster=local"
            ) from None
        if context.dashboard_url:
            print(f"dashboard: http://{context.dashboard_url}", file=sys.stderr)

    def run(
        self, compute: Compute, shared: object, key: str, tasks: TaskQueue, notify: Notify = ignore
    ) -> Iterator[tuple[Any, Outcome]]:
        ray, dispatch = self._ray, Dispatch(policy(self._settings), tasks)
        if key not in self._held:
            self._held = {key: ray.put(shared)}
        # `Dispatch` tries again, on another node. A process stays (max_calls), and with it the loaded network.
        remote = ray.remote(max_retries=0, max_calls=0, num_returns="streaming")(_remote)
        held = [self._held[key]]  # in a list Ray passes the reference, not the value
        out: dict[Any, Attempt] = {}
        looked = warned = -_REPEAT
        try:
            while not dispatch.idle:
                now = time.monotonic()
                if now - looked >= _POLL and self._head_answers(now):
                    looked = now
                    dispatch.see(self._nodes(), now)
                    warned = self._say_what_waits(dispatch, now, warned)
                for one in dispatch.next(now):
                    out[self._placed(remote, one).remote(compute, one.task, held, key)] = one
                for reference, one in self._ended(out, dispatch):
                    outcome = dispatch.ended(one, self._outcome(reference), time.monotonic())
                    announce(dispatch, notify)
                    if outcome is not None:
                        yield one.task, outcome
                yield from self._cancel_what_hangs(out, dispatch, notify)
                announce(dispatch, notify)
                notify(Event("tick", {}))
                if dispatch.stopped is not None:
                    raise stop(dispatch.stopped)
        finally:
            for reference in out if self._silent_since is None else ():
                self._cancel(reference)

    def _placed(self, remote: Any, one: Attempt) -> Any:
        """The remote function with what an attempt needs, on any node that it need not avoid."""
        needs = self._needs[one.lane]
        avoid = {"label_selector": {_NODE_ID: f"!in({','.join(sorted(one.avoid))})"}} if one.avoid else {}
        return remote.options(num_cpus=needs["CPU"], num_gpus=needs.get("GPU", 0), memory=needs["memory"], **avoid)

    def _ended(self, out: dict[Any, Attempt], dispatch: Dispatch) -> Iterator[tuple[Any, Attempt]]:
        """Wait a little; note an attempt that has begun, and remove and yield one that has ended."""
        ray, now = self._ray, time.monotonic()
        wait = dispatch.next_wait(now)
        wait = _TICK if wait is None else min(_TICK, max(wait, 0.01))
        if not out:
            time.sleep(wait)
            return
        ready, _ = ray.wait(list(out), num_returns=1, timeout=wait)
        for generator in ready:
            one = out[generator]
            try:
                reference = next(generator)
            except StopIteration:  # it was lost between its two values
                reference = None
            if one.started is None and reference is not None:
                with suppress(ray.exceptions.RayError):
                    value = ray.get(reference)
                    if isinstance(value, str):
                        dispatch.started(one, value, time.monotonic())
                        continue
            del out[generator]
            yield reference, one

    def _cancel_what_hangs(
        self, out: dict[Any, Attempt], dispatch: Dispatch, notify: Notify
    ) -> Iterator[tuple[Any, Outcome]]:
        now, stuck = time.monotonic(), {*dispatch.overdue(time.monotonic())}
        stranded = {*dispatch.stranded()}
        for generator, one in [pair for pair in out.items() if pair[1] in stuck | stranded]:
            del out[generator]
            self._cancel(generator)
            if one in stranded:
                dispatch.resend(one)
                continue
            outcome = dispatch.ended(one, dispatch.timed_out(one, now), now)
            announce(dispatch, notify)
            if outcome is not None:
                yield one.task, outcome

    def _cancel(self, reference: object) -> None:
        with suppress(Exception):  # a task that cannot be cancelled ends with the cluster
            self._ray.cancel(reference, force=True)

    def _head_answers(self, now: float) -> bool:
        """Whether the head of the cluster can be reached. Raises EnvironmentFault when it has not been for long."""
        try:
            _reach(self._ray.get_runtime_context().gcs_address)
            self._silent_since = None
        except OSError:
            self._silent_since = now if self._silent_since is None else self._silent_since
        if self._silent_since is not None and now - self._silent_since > _SILENCE:
            raise EnvironmentFault(
                "the head of the Ray cluster does not answer any more; finished work is kept, and the same command "
                "continues on a cluster that runs"
            )
        return self._silent_since is None

    def _nodes(self) -> list[Node]:
        """The nodes that are alive, with the number of tasks that each can run."""
        try:
            alive = [node for node in self._ray.nodes() if node["Alive"]]
        except Exception as error:  # of many classes, by what has failed
            raise EnvironmentFault(
                f"the Ray cluster does not answer any more ({one_line(str(error))}); finished work is kept, and the "
                f"same command continues on a cluster that runs"
            ) from None
        hosts = Counter(node["NodeManagerHostname"] for node in alive)
        return [
            Node(
                id=node["NodeID"],
                name=_name(node, hosts),
                places={lane: places(node["Resources"], needs) for lane, needs in self._needs.items()},
            )
            for node in alive
        ]

    def _say_what_waits(self, dispatch: Dispatch, now: float, warned: float) -> float:
        """Print at times that no node can run the tasks. Raises SettingsError after too long; returns the last time."""
        since, patience = dispatch.waiting_since(now), self._settings.wait_for_nodes
        if since is None or now - warned < _REPEAT:
            return warned if since is not None else -_REPEAT
        words = f"{_words(self._needs[True])} for a task, and {self._offered()}"
        if patience is not None and now - since >= patience:
            raise SettingsError(
                f"cluster: no node has {words}; add such nodes, ask for less (cluster.memory_bytes, "
                f"cluster.gpus_per_task), or wait longer by cluster.wait_for_nodes=SECONDS (null: for ever)"
            )
        print(f"waiting for a node with {words}", file=sys.stderr, flush=True)
        return now if patience is None else min(now, since + patience - _REPEAT)

    def _offered(self) -> str:
        """What the nodes have, in words."""
        alive = [node for node in self._ray.nodes() if node["Alive"]]
        hosts = Counter(node["NodeManagerHostname"] for node in alive)
        if not alive:
            return "the cluster has no node"
        listed = [f"{_name(node, hosts)} has {_words(node['Resources'])}" for node in alive[:4]]
        more = f", and {len(alive) - 4} further nodes" if len(alive) > 4 else ""
        return ", ".join(listed) + more

    def _refuse_what_cannot_be_placed(self) -> None:
        """Close the instance on this machine and raise SettingsError if a single task needs more than it has."""
        if any(node.places[True] for node in self._nodes()):
            return
        words = f"{_words(self._needs[True])} for a task, but {self._offered()}"
        self.close()
        raise SettingsError(f"cluster=local: {words}; ask for less by cluster.memory_bytes or cluster.gpus_per_task")

    def run_group(self, calls: Sequence[Callable[[str], object]], grace_seconds: float) -> list[object]:
        """Run calls at once, as a process group, and return their results.

        calls : each is called with the rendezvous, a URL at which the processes find each other. Each has its own
            placement, with the CPUs and GPUs of one task.
        grace_seconds : seconds that the other calls get to end after one has failed.
        The result of a call whose worker was lost is a Failed.
        Raises SettingsError if the cluster has not enough resources for all calls.
        """
        ray = self._ray
        from ray.util.placement_group import placement_group, remove_placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        place = {name: self._needs[True][name] for name in ("CPU", "GPU")}
        group = placement_group([{name: count for name, count in place.items() if count}] * len(calls))

        def remote(function: Callable, at: int):
            strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=at)
            options = {"num_cpus": place["CPU"], "num_gpus": place["GPU"], "max_retries": 0}
            return ray.remote(function).options(**options, scheduling_strategy=strategy)

        try:
            if not group.wait(_ROOM):
                raise SettingsError(
                    f"processes: got {len(calls)}, more than the cluster has resources for; set fewer by processes=…"
                )
            meeting = ray.get(remote(_meeting, 0).remote())
            out = [remote(_called, at).remote(call, meeting) for at, call in enumerate(calls)]
            ended, waiting = ray.wait(out, num_returns=1)
            while waiting and not any(self._lost(self._outcome(one)) for one in ended):
                ended, waiting = ray.wait(out, num_returns=len(ended) + 1)
            ray.wait(out, num_returns=len(out), timeout=grace_seconds)
            ended, _ = ray.wait(out, num_returns=len(out), timeout=0)
            return [self._outcome(one) if one in ended else Failed("it did not end", "") for one in out]
        finally:
            remove_placement_group(group)  # this ends the calls that still run

    def on_every_node(self, call: Callable[[], object]) -> dict[str, object]:
        """Call something once on each node; node → its result, or a Failed if the node does not answer."""
        ray = self._ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        alive = [node for node in ray.nodes() if node["Alive"]]
        hosts, out = Counter(node["NodeManagerHostname"] for node in alive), {}
        for node in alive:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            remote = ray.remote(_answer).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
            out[_name(node, hosts)] = remote.remote(call)
        ended, _ = ray.wait(list(out.values()), num_returns=len(out), timeout=_ROOM)
        return {name: self._outcome(one) if one in ended else Failed("no answer", "") for name, one in out.items()}

    def close(self) -> None:
        self._held = {}
        if self._silent_since is None:
            self._ray.shutdown()
        else:  # it would wait for the head until Ray ends the process
            threading.Thread(target=self._ray.shutdown, daemon=True).start()
        self._restore()

    def _restore(self) -> None:
        """Leave the environment as it was, and no folder."""
        for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_MODE"):
            if name in self._environment:
                os.environ[name] = self._environment[name]
            else:
                os.environ.pop(name, None)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _outcome(self, reference: object) -> Outcome:
        """What an attempt returned; what Ray reports instead is a fault of the machine. None for a lost reference."""
        errors = self._ray.exceptions
        if reference is None:
            return Failed("its worker was lost", "", environment=True)
        try:
            return self._ray.get(reference)
        except errors.RayError as error:
            return Failed(_cause(error, errors), str(error), environment=True)

    @staticmethod
    def _lost(outcome: object) -> bool:
        return isinstance(outcome, Failed | AtlasError)


def _cause(error: Exception, errors: Any) -> str:
    """In a few words, why Ray has no outcome of a task."""
    words = {
        "OutOfMemoryError": "its worker was ended because the machine ran out of memory",
        "WorkerCrashedError": "its worker was killed",
        "NodeDiedError": "its node died",
        "LocalRayletDiedError": "the Ray process of its node died",
        "TaskUnschedulableError": "its node has left the cluster",
        "TaskCancelledError": "it was cancelled",
        "OutOfDiskError": "the disk of its node is full",
        "ObjectStoreFullError": "the object store of its node is full",
        "OwnerDiedError": "its node was cut off from the run",
        "ObjectLostError": "its data were lost with a node",
        "AuthenticationError": "its node does not have the token of the cluster",
    }
    for name, said in words.items():
        kind = getattr(errors, name, None)
        if kind is not None and isinstance(error, kind):
            return said
    inner = getattr(error, "cause", None)
    if isinstance(inner, Exception):
        return one_line(f"its worker could not begin it, {type(inner).__name__}: {inner}")
    return one_line(f"{type(error).__name__}: {error}")


def _name(node: dict, hosts: Counter) -> str:
    """The name of a node: its host's, with a few digits of its id if several nodes are on that host."""
    host = node["NodeManagerHostname"]
    return host if hosts[host] == 1 else f"{host}/{node['NodeID'][:6]}"


def _words(resources: dict) -> str:
    """Resources in words: "2 CPUs, 0.5 GPUs, 1.0 GB"."""
    said = [f"{resources[name]:g} {name}s" for name in ("CPU", "GPU") if resources.get(name)]
    if resources.get("memory"):
        said.append(f"{resources['memory'] / 1e9:.1f} GB")
    return ", ".join(said) if said else "nothing for tasks"


def _token_is_named() -> bool:
    """Whether the environment names a token, or how the cluster knows its users."""
    return bool(os.environ.keys() & {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"})


def _head_of(where: str) -> str | None:
    """The address of a cluster's head as host:port; None if only Ray knows how to reach it.

    Raises ConnectionError if nothing answers there.
    """
    if "://" in where:
        return None
    try:
        from ray._private.services import canonicalize_bootstrap_address
    except ImportError:  # a version with another interface
        return None
    found = canonicalize_bootstrap_address(where)
    host, _, port = (found or "").rpartition(":")
    if not host or not port.isdigit():
        return None
    try:
        _reach(found)
    except OSError as error:
        raise ConnectionError(f"{error.strerror or error}") from None
    return found


def _reach(head: str) -> None:
    """Connect to the head of a cluster, host:port. Raises OSError if it does not answer."""
    host, _, port = head.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), _ANSWER).close()


@contextmanager
def _interrupted_if_silent(head: str | None) -> Iterator[None]:
    """Raise ConnectionError if the head does not answer for long meanwhile; Ray itself would wait for many minutes."""
    if head is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    joined, silent = threading.Event(), threading.Event()

    def watch() -> None:
        heard = time.monotonic()
        while not joined.wait(_POLL):
            with suppress(OSError):
                _reach(head)
                heard = time.monotonic()
            if time.monotonic() - heard > _SILENCE:
                silent.set()
                _thread.interrupt_main()
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except KeyboardInterrupt:
        if silent.is_set():
            raise ConnectionError("its head does not answer any more") from None
        raise
    finally:
        joined.set()


def _use_authentication_of(head: str | None) -> None:
    """Set RAY_AUTH_MODE to what the cluster with this head requires, unless the user has set it.

    A file ~/.ray/auth_token may belong to another cluster. A driver that uses tokens in a cluster without them cannot
    read the results of nodes that join later, so the cluster is asked, without a token, whether it refuses that.
    """
    if head is None or "RAY_AUTH_MODE" in os.environ:
        return
    try:
        from ray._raylet import GcsClient
        from ray.exceptions import AuthenticationError
    except ImportError:  # a version without authentication
        return
    _read_authentication_again("disabled")
    try:
        GcsClient(address=head)
    except AuthenticationError:
        _read_authentication_again("token")


def _read_authentication_again(mode: str | None) -> None:
    """Set RAY_AUTH_MODE, and let Ray read it and the token again, which it otherwise does only when it is loaded."""
    if mode is not None:
        os.environ["RAY_AUTH_MODE"] = mode
    with suppress(ImportError):
        from ray._raylet import AuthenticationTokenLoader, Config

        Config.initialize("")
        AuthenticationTokenLoader.instance().reset_cache()


def _meeting() -> str:
    """Runs on the machine of the first process: a URL with its address and a free port."""
    import ray

    with socket.socket() as free:
        free.bind(("", 0))
        return f"tcp://{ray.util.get_node_ip_address()}:{free.getsockname()[1]}"


def _answer(call: Callable[[], object]) -> object:
    """Runs in a worker, on a node that was chosen."""
    return call()


def _called(call: Callable[[str], object], meeting: str) -> object:
    """Runs in a worker: call one member of a process group."""
    return call(meeting)


_kept: dict[str, object] = {}  # in a worker process: what the tasks share, by key
_spoiled: list[Failed] = []  # in a worker process: the failure after which it cannot use its GPU


def _remote(compute: Compute, task: object, held: list, key: str) -> Iterator[str | Outcome]:
    """Runs in a worker: yield the id of the node, then the outcome of the task.

    What the tasks share is fetched unless this process has it. A process whose GPU has failed ends, so that the next
    task gets a new one.
    """
    import ray

    if _spoiled:
        os._exit(1)
    yield ray.get_runtime_context().get_node_id()
    if key not in _kept:
        _kept.clear()  # one network at a time
        _kept[key] = ray.get(held[0])
    outcome = attempt(compute, task, _kept[key])
    if spoils_process(outcome):
        _spoiled.append(outcome)
    yield outcome
