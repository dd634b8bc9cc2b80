"""Run a job on the nodes of this allocation: start Ray, run the job, stop in time, and ask Slurm to go on later.

Runs on the first node, in place of the batch script (atlas.sbatch). Exit codes are those of the job. A job that was
refused, or that has done what it could, is not asked for again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from jobs.console import DONE, GAPS, REFUSED, STOPPED, compose_config, run_program
from jobs.request import read_out
from jobs.slurm.ports import taken_ports
from jobs.slurm.ray_node import (
    END,
    READY,
    RayNode,
    new_token,
    private_folder,
    share,
    start_command,
    with_token,
    write_token,
)
from pipeline.errors import SettingsError
from pipeline.store.shard import write_whole

FRUITLESS = 3  # runs in a row without a new result, after which the job is not asked for again
JOINING = 120.0  # seconds to wait for the other nodes before the job begins; later ones are used when they come
STOPPING = 45.0  # seconds that the job gets to stop; with those of Ray (END) less than the 120 of atlas.sbatch
NOT_RESULTS = {"log", "site", "plan.json", ".lock"}  # what an atlas folder holds besides results


@dataclass(frozen=True)
class Run:
    """One run of the job, from a start in an allocation to its end.

    code : exit code of the job; negative for a signal that ended it; None if the cluster was lost under it.
    asked : "requeue" if the time is nearly over, "stop" if the job is being cancelled, "" if nobody asked.
    gained : whether there are other results than before.
    """

    code: int | None
    asked: str
    gained: bool


def next_step(run: Run, fruitless: int) -> tuple[int, bool, str]:
    """Return the exit code, whether the job is to be asked for again, and why, in a line.

    fruitless : runs in a row without a gain, this one included.
    """
    if run.code in (DONE, GAPS, REFUSED) and not (run.asked and run.code == GAPS):
        words = {DONE: "all done", GAPS: "done, with gaps", REFUSED: "refused; it is not tried again"}
        return run.code, False, words[run.code]
    code = STOPPED if run.asked else GAPS
    why = "its cluster was lost" if run.code is None else f"ended with {run.code}"
    if run.asked == "stop":
        return STOPPED, False, "cancelled; finished work is kept, and the same command continues from there"
    why = "the time is nearly over" if run.asked else why
    if fruitless >= FRUITLESS:
        return code, False, f"{why}; {fruitless} runs in a row brought nothing new, so it is not tried again"
    return code, True, f"{why}; it goes on when Slurm starts it again"


def fingerprint(out: Path) -> str:
    """A digest of the results in a folder: names and sizes, and times of checkpoints, which replace each other."""
    found = []
    for folder, folders, files in os.walk(out):
        if Path(folder) == out:
            folders[:], files = (sorted(set(names) - NOT_RESULTS) for names in (folders, files))
        for name in files:
            with suppress(OSError):
                path = os.path.join(folder, name)
                facts = os.stat(path)
                when = facts.st_mtime_ns if name.endswith(".checkpoint") else 0
                found.append(f"{os.path.relpath(path, out)} {facts.st_size} {when}")
    return hashlib.sha256("\n".join(sorted(found)).encode("utf-8", "surrogateescape")).hexdigest()


def hosts(environment: Mapping[str, str]) -> list[str]:
    """The names of the allocation's nodes, the one that runs this first."""
    listed = subprocess.run(
        ["scontrol", "show", "hostnames", environment["SLURM_JOB_NODELIST"]], capture_output=True, text=True, check=True
    ).stdout.split()
    here = environment.get("SLURMD_NODENAME", listed[0])
    return [here, *(name for name in listed if name != here)]


def address_for(other: str | None) -> str:
    """This machine's address as another node sees it; the loopback address if there is no other node."""
    if other is None:
        return "127.0.0.1"
    shown = subprocess.run(["scontrol", "show", "node", other, "--oneliner"], capture_output=True, text=True).stdout
    known = next((word.partition("=")[2] for word in shown.split() if word.startswith("NodeAddr=")), other)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # nothing is sent
        try:
            probe.connect((known, 9))
        except OSError as error:
            raise SettingsError(f"node {other}: its address {known} is not known here ({error})") from None
        return probe.getsockname()[0]


class Workers:
    """Ray on the other nodes, in one step of the job."""

    def __init__(self, names: Sequence[str], said: Mapping[str, object], log: Path) -> None:
        """said : what each node is told. log : file for what they print."""
        self.ready = 0
        count = len(names)
        self._step = subprocess.Popen(
            ["srun", f"--nodes={count}", f"--ntasks={count}", "--ntasks-per-node=1", f"--nodelist={','.join(names)}",
             "--no-kill", "--kill-on-bad-exit=0", "--wait=0", "--cpu-bind=none", "--mpi=none", "--label",
             "--unbuffered", sys.executable, "-u", "-m", "jobs.slurm.ray_node"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self._step.stdin.write(json.dumps(said).encode() + b"\n")
        self._step.stdin.flush()
        self._reader = threading.Thread(target=self._copy, args=(log,), daemon=True)
        self._reader.start()

    def _copy(self, log: Path) -> None:
        with log.open("ab", buffering=0) as file:
            for line in self._step.stdout:
                file.write(line)
                self.ready += b": ready: " in line or line.startswith(b"ready: ")

    def ended(self) -> bool:
        return self._step.poll() is not None

    def stop(self) -> None:
        """Tell the nodes to stop, and end the step if they do not."""
        with suppress(OSError):
            self._step.stdin.close()
        try:
            self._step.wait(END + 10)
        except subprocess.TimeoutExpired:
            self._step.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._step.wait(10)
            self._step.kill()
            self._step.wait()
        self._reader.join(5)


class Allocation:
    """The nodes of a Slurm job, for one run of a job of ours."""

    def __init__(self, job: str, overrides: Sequence[str], log: Path) -> None:
        self.job, self.overrides, self.log = job, list(overrides), log
        self.asked = ""

    def listen(self) -> None:
        """Take Slurm's signals: USR1 before the time is over, TERM for a job that is cancelled."""
        signal.signal(signal.SIGUSR1, lambda *_: self._ask("requeue"))
        signal.signal(signal.SIGTERM, lambda *_: self._ask("stop"))

    def _ask(self, what: str) -> None:
        self.asked = self.asked or what

    def run(self) -> int | None:
        """Start Ray, run the job, stop Ray. Returns the job's exit code, None if the cluster was lost."""
        names, given, number = hosts(os.environ), share(os.environ), int(os.environ["SLURM_JOB_ID"])
        say(f"{len(names)} nodes: {', '.join(names)}")
        with ExitStack() as stack:
            folder = stack.enter_context(private_folder())
            ports = stack.enter_context(taken_ports(number, given.cpus))
            token = new_token()
            environment = with_token(os.environ, write_token(folder, token))
            ip = address_for(names[1] if len(names) > 1 else None)
            address = f"{ip}:{ports.named['port']}"
            printed = stack.enter_context((self.log / "head.log").open("ab"))
            head = RayNode(start_command(given, ports, folder, ip, None), environment, folder, printed)
            stack.callback(head.stop)
            stack.callback(self._keep_logs, head)
            if not self._wait(head.ready, READY, until=head.ended):
                say(f"{names[0]}: Ray did not start; its last lines:\n{head.last_words()}")
                return None
            if names[1:]:
                said = {"job": number, "address": address, "token": token}
                workers = Workers(names[1:], said, self.log / "nodes.log")
                stack.callback(workers.stop)
                self._wait(lambda: workers.ready == len(names) - 1, JOINING, until=workers.ended)
                say(f"{1 + workers.ready} of {len(names)} nodes are ready")
            return None if self.asked else self._job(head, address, environment)

    def _job(self, head: RayNode, address: str, environment: Mapping[str, str]) -> int | None:
        """Run the job beside the head; stop it when asked to, or when the head is lost."""
        command = [sys.executable, "-u", "-m", f"jobs.{self.job}", *self.overrides, f'cluster.address="{address}"']
        job = subprocess.Popen(command, env=dict(environment), stdin=subprocess.DEVNULL, start_new_session=True)
        self._wait(lambda: job.poll() is not None, None, until=head.ended)
        if job.poll():  # it may have noticed first that the head is gone
            self._wait(head.ended, 3.0, until=lambda: False)
        lost = job.poll() != DONE and head.ended() and not self.asked
        if job.poll() is None:
            job.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                job.wait(STOPPING)
        with suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)  # what it may have left
        job.wait()
        return None if lost else job.returncode

    def _wait(self, what: Callable[[], bool], seconds: float | None, until: Callable[[], bool]) -> bool:
        """Wait for what(); give up after so many seconds, when until() holds, or when somebody asks to stop."""
        end = None if seconds is None else time.monotonic() + seconds
        while not what():
            if self.asked or until() or (end is not None and time.monotonic() > end):
                return False
            time.sleep(0.5)
        return True

    def _keep_logs(self, head: RayNode) -> None:
        """Copy the logs of the head's Ray to the logs of the job."""
        kept = self.log / f"ray-{os.environ.get('SLURM_RESTART_COUNT', '0')}"
        with suppress(OSError, shutil.Error):
            shutil.copytree(head.logs(), kept, dirs_exist_ok=True)


def say(line: str) -> None:
    """Print a line with the time and the number of the run."""
    number = int(os.environ.get("SLURM_RESTART_COUNT", "0")) + 1
    print(
        f"{time.strftime('%Y-%m-%d %H:%M:%S')} slurm job {os.environ['SLURM_JOB_ID']}, run {number}: {line}", flush=True
    )


def count_fruitless(state: Path, gained: bool) -> int:
    """The number of runs in a row without a gain, kept in a file between the runs."""
    try:
        before = int(json.loads(state.read_text())["fruitless"])
    except (OSError, ValueError, KeyError, TypeError):
        before = 0
    now = 0 if gained else before + 1
    write_whole(state, json.dumps({"fruitless": now}).encode() + b"\n")
    return now


def main(arguments: Sequence[str]) -> int:
    """arguments : a job, and its overrides."""
    job, *overrides = arguments
    out = read_out(compose_config(job, overrides)).absolute()
    number = os.environ["SLURM_JOB_ID"]
    log = out / "log" / f"slurm-{number}"
    log.mkdir(parents=True, exist_ok=True)
    allocation = Allocation(job, overrides, log)
    allocation.listen()
    before = fingerprint(out)
    code = allocation.run()
    run = Run(code, allocation.asked, fingerprint(out) != before)
    code, again, why = next_step(run, count_fruitless(log / "runs.json", run.gained))
    say(why)
    if again:
        asked = subprocess.run(["scontrol", "requeue", number], capture_output=True, text=True)
        if asked.returncode:
            say(f"Slurm does not requeue it ({asked.stderr.strip()}); submit the same command again")
            return code
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(600)  # Slurm ends this process
    return code


if __name__ == "__main__":
    run_program(main)
