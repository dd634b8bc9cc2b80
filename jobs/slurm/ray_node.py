"""A Ray node on one machine of an allocation: private folder, token, own ports, and `ray start` until told to stop.

As a program it runs on every node but the first: a line of JSON on its input says which cluster to join, and the end of
its input says that the job is over. So the token is in no argument and no environment that others could read.
"""

from __future__ import annotations

import json
import os
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from jobs.console import DONE, GAPS, run_program
from jobs.slurm.ports import Ports, taken_ports

# A socket's path has at most 107 bytes; Ray adds r/session_2026-01-31_12-59-59_999999_4194304/sockets/plasma_store
LONGEST_FOLDER = 107 - 72
STORE_SHARE, STORE_BYTES = 0.2, 8 << 30  # of the memory of an allocation, for Ray's object store; and at most
STARTS = 4  # times that a node's Ray is started before the node is given up
READY = 300.0  # seconds that Ray gets to start; its programs may lie on a slow shared disk
END = 10.0  # seconds that Ray gets to stop


@dataclass(frozen=True)
class Share:
    """What Slurm gives to the job on this node. memory : in bytes, None for all of it."""

    name: str
    cpus: int
    gpus: int
    memory: int | None


def share(environment: Mapping[str, str]) -> Share:
    """What the variables of Slurm say."""
    cpus = int(environment.get("SLURM_CPUS_ON_NODE") or os.cpu_count() or 1)
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        gpus = int(environment.get("SLURM_GPUS_ON_NODE") or 0)
    else:
        gpus = len([one for one in visible.split(",") if one.strip() not in ("", "-1", "NoDevFiles")])
    megabytes = int(environment.get("SLURM_MEM_PER_NODE") or 0) or cpus * int(environment.get("SLURM_MEM_PER_CPU") or 0)
    return Share(environment.get("SLURMD_NODENAME") or os.uname().nodename, cpus, gpus, megabytes * 2**20 or None)


@contextmanager
def private_folder(environment: Mapping[str, str] = os.environ) -> Iterator[Path]:
    """Give a new folder that only this user can enter, with a path short enough for sockets; it is removed at the end.

    Ray opens its own folder to everybody, so it gets one inside this (`ray_folder`).
    """
    asked = environment.get("TMPDIR", "")
    fits = os.path.isabs(asked) and os.path.isdir(asked) and len(os.fsencode(asked)) + 14 <= LONGEST_FOLDER
    folder = Path(tempfile.mkdtemp(prefix="atlas-", dir=asked if fits else "/tmp"))  # mode 700
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def ray_folder(folder: Path) -> Path:
    """The folder of Ray in a private folder."""
    return folder / "r"


def write_token(folder: Path, token: str) -> Path:
    """Write a token into a file that only this user can read."""
    path = folder / "token"
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(token)
    return path


def new_token() -> str:
    """A token that cannot be guessed."""
    return secrets.token_hex(32)


def with_token(environment: Mapping[str, str], path: Path) -> dict[str, str]:
    """An environment in which Ray uses the token of a file, and no other one and no other cluster."""
    others = ("RAY_AUTH_TOKEN", "RAY_ADDRESS", "RAY_TMPDIR")
    kept = {name: value for name, value in environment.items() if name not in others}
    return {**kept, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path), "RAY_USAGE_STATS_ENABLED": "0"}


def start_command(given: Share, ports: Ports, folder: Path, ip: str | None, head: str | None) -> list[str]:
    """The command that runs Ray on this node until it is ended.

    ip : address of this node; None to let Ray find it. head : address of the cluster; None to begin one.
    """
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
    command += ["--log-color=false", f"--temp-dir={ray_folder(folder)}", f"--node-name={given.name}"]
    command += [f"--num-cpus={given.cpus}", f"--num-gpus={given.gpus}"]
    if given.memory is not None:
        store = min(int(given.memory * STORE_SHARE), STORE_BYTES)
        command += [f"--object-store-memory={store}", f"--memory={given.memory - store}"]
    if ip is not None:
        command.append(f"--node-ip-address={ip}")
    if head is None:
        command += ["--head", "--include-dashboard=false", "--dashboard-host=127.0.0.1"]
    else:
        command.append(f"--address={head}")
    unused = {"ray-client-server-port"} if find_spec("grpc") is None else set()  # a server that Ray has only with grpc
    if head is not None:
        unused |= {"port", "dashboard-port", "ray-client-server-port"}
    command += [f"--{name}={port}" for name, port in ports.named.items() if name not in unused]
    return [*command, f"--worker-port-list={','.join(map(str, ports.workers))}"]


class RayNode:
    """A `ray start` that runs."""

    def __init__(self, command: list[str], environment: Mapping[str, str], folder: Path, log: object) -> None:
        """log : file for what Ray prints."""
        self._folder = ray_folder(folder)
        self._address = self._folder / "ray_current_cluster"  # Ray writes it when the node has started
        self._address.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip

    def ready(self) -> bool:
        """Whether the node has started."""
        return self._address.exists()

    def ended(self) -> bool:
        """Whether it has ended, or one of its processes has."""
        return self._process.poll() is not None

    def stop(self) -> None:
        """End all processes of the node."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def logs(self) -> Path:
        """The folder of Ray's logs."""
        return self._folder / "session_latest" / "logs"

    def last_words(self) -> str:
        """The last lines of the logs of the processes whose end ends a node."""
        said = []
        for name in ("gcs_server.out", "raylet.out", "raylet.err"):
            path = self.logs() / name
            with suppress(OSError):
                said += [f"{name}: {line}" for line in path.read_text(errors="replace").splitlines()[-15:]]
        return "\n".join(said)


def main(arguments: Sequence[str] = ()) -> int:
    """Run this node's Ray until the input ends. Returns GAPS if Ray could not be kept running."""
    stopped = selectors.DefaultSelector()
    stopped.register(sys.stdin.fileno(), selectors.EVENT_READ)
    line = _line(sys.stdin.fileno())
    if not line:  # the job was over before it said anything
        return DONE
    said = json.loads(line)
    given = share(os.environ)
    with private_folder() as folder, taken_ports(said["job"], given.cpus) as ports:
        environment = with_token(os.environ, write_token(folder, said["token"]))
        command = start_command(given, ports, folder, None, said["address"])
        for start in range(STARTS):
            node = RayNode(command, environment, folder, sys.stdout)
            began, ready = time.monotonic(), False
            try:
                while not node.ended() and (ready or time.monotonic() - began < READY):
                    if not ready and node.ready():
                        ready = True
                        print(f"ready: {given.name}, {given.cpus} CPUs, {given.gpus} GPUs", flush=True)
                    if stopped.select(0.5) and not os.read(sys.stdin.fileno(), 4096):
                        return DONE
            finally:
                words = node.last_words()
                node.stop()
            print(f"{given.name}: Ray ended (start {start + 1} of {STARTS}); its last lines:\n{words}", flush=True)
            time.sleep(min(5 * 2**start, 30))
    return GAPS


def _line(descriptor: int) -> str:
    """The first line of the input, and not a byte more."""
    read = bytearray()
    while not read.endswith(b"\n"):
        byte = os.read(descriptor, 1)
        if not byte:
            break
        read += byte
    return read.decode()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(DONE))  # so that the folder is removed
    run_program(main)
