"""Limits of one command: time that is kept in any case, and memory that ends in an answer, not in a crash."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from certify.errors import Exit, UsageError

_GRACE = 1.0  # seconds for Python to notice the alarm; a long call into a library may keep it from that
_GB = 2**30


class TimeUp(BaseException):
    """The time that was given is over; no ``Exception``, so that nothing on the way handles it."""


@contextmanager
def deadline(seconds: float, last_words: Callable[[], None]) -> Iterator[None]:
    """Raise ``TimeUp`` in the body after some seconds, where the system has alarm signals.

    A second later, if the body is then still busy, the process ends with ``Exit.INCONCLUSIVE`` after
    ``last_words``.
    """

    def give_up() -> None:
        try:
            last_words()
            sys.stdout.flush()
        finally:  # whatever becomes of the words
            os._exit(Exit.INCONCLUSIVE)

    def end(number: int, frame: FrameType | None) -> None:
        raise TimeUp

    watch = threading.Timer(seconds + _GRACE, give_up)
    watch.daemon = True
    has_alarms = sys.platform != "win32" and threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGALRM, end) if has_alarms else None
    try:
        try:
            watch.start()
            if has_alarms:  # again each second, should one get lost in a callback
                signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
            yield
        finally:
            _no_alarm(has_alarms)
    finally:  # also where the alarm came in that very moment
        watch.cancel()
        _no_alarm(has_alarms)
        if has_alarms:
            signal.signal(signal.SIGALRM, before)


def _no_alarm(has_alarms: bool) -> None:
    if has_alarms:
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def memory_cap(gigabytes: float | None) -> Iterator[None]:
    """Refuse the process more memory than that, where the system can; None for no limit.

    Allocations beyond it raise ``MemoryError``, or torch's ``RuntimeError``. Raises ``UsageError`` for a cap
    below what the process takes already.
    """
    if gigabytes is None or not sys.platform.startswith("linux"):
        yield
        return
    import resource

    with open("/proc/self/statm", encoding="ascii") as file:
        taken = int(file.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")
    cap = int(gigabytes * _GB)
    if cap <= taken:
        raise UsageError(
            f"a memory cap of {gigabytes:g} GB is less than the {taken / _GB:.2g} GB that the program takes "
            "before it starts; give more"
        )
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (cap, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
