"""One case under watch: what went wrong in reading it, if anything did."""

from __future__ import annotations

import random
import resource
import signal
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.fuzz.kind import Kind

SECONDS = 10.0  # of processor time for a case; the slowest sound one takes below one
GROWTH = 1 << 30  # bytes: a case is some kilobytes, and the largest image that is read takes a quarter of this
LONGEST = 4000  # letters of a message


class TooSlow(BaseException):
    """A case took too much processor time. No reader catches it, as it is no Exception."""


def random_of(seed: int, kind: str, number: int) -> random.Random:
    """The generator of one case, the same in every run."""
    return random.Random(f"{seed} {kind} {number}")


def fault(kind: Kind, case: Any) -> str | None:
    """What is wrong with how a case is read, as a line and a traceback; None if all is well."""
    before = _peak()
    try:
        with warnings.catch_warnings(), _limited():
            warnings.simplefilter("ignore")
            kind.read(case)
    except TooSlow:
        return f"hangs: more than {SECONDS:g} s\n{traceback.format_exc()}"
    except MemoryError:
        return f"takes too much memory\n{traceback.format_exc()}"
    except kind.expected as error:
        text = str(error)
        if not text.strip() or len(text) > LONGEST or not text.isprintable():
            return f"the message is not one line of {LONGEST} letters: {text[:300]!r}\n{traceback.format_exc()}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"raises {type(error).__name__}: {str(error)[:300]}\n{traceback.format_exc()}"
    if (grown := _peak() - before) > GROWTH:
        return f"takes too much memory: {grown >> 20} MiB"
    return None


@contextmanager
def _limited() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TooSlow

    previous = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)


def _peak() -> int:
    """The largest memory that the process has held so far, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
