"""How many threads share the work of a call. Results do not depend on it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from . import _gate, _structs
from .errors import PynnRuntimeError, PynnTypeError

if TYPE_CHECKING:
    from collections.abc import Callable

    Result = TypeVar("Result")

MOST = 1024
CGROUPS = Path("/sys/fs/cgroup")


def checked(threads: int | str) -> int | str:
    """`threads`, which must be a number or "auto"."""
    if isinstance(threads, str) and threads != "auto":
        raise PynnTypeError(f'threads must be an integer or "auto", not {threads!r}')
    return threads if isinstance(threads, str) else _gate.integer("threads", threads, 1, MOST)


def workers(threads: int | str, net: _structs.Net, rows: int) -> int:
    """The threads that are worth their while for training on batches of so many rows, at most `threads`, or
    at most the processors at hand for "auto".
    """
    most = checked(threads)
    if most == 1 or net.advise(rows, MOST) == 1:
        return 1
    return net.advise(rows, min(available(), MOST) if isinstance(most, str) else most)


def sharing(
    threads: int | str, net: _structs.Net, rows: int, work: Callable[[_structs.Executor | None], Result]
) -> Result:
    """What `work` returns, given threads that live as long as it, or None where they are not worth it."""
    count = workers(threads, net, rows)
    if count == 1:
        return work(None)
    executor = _structs.Executor()
    try:
        try:
            executor.start(count)
        except PynnRuntimeError:
            if threads != "auto":
                raise
            return work(None)
        return work(executor)
    finally:
        executor.stop()


def available() -> int:
    """The processors that this process may use, as its affinity and its control group tell."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = (_numbers("cpu.max"), _numbers("cpu/cpu.cfs_quota_us") + _numbers("cpu/cpu.cfs_period_us"))
    for quota in quotas:
        if len(quota) == 2 and min(quota) > 0:
            count = min(count, -(-quota[0] // quota[1]))
    return count


def _numbers(name: str) -> list[int]:
    """The numbers in a file of the control group; none where there is no such file, or no limit."""
    try:
        return [int(word) for word in (CGROUPS / name).read_text("ascii").split()]
    except (OSError, ValueError):
        return []
