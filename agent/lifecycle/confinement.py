"""Drops the privileges that the agent does not need once it captures. What it needs is found by trying.

On most nodes it needs none: it has its maps open, and its files belong to its user. A capability stays where the kernel (before
5.19) requires CAP_BPF to read a map's elements, or where a token file belongs to another user.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

from agent.journal import Journal
from agent.kernel.capture import Capture
from agent.kernel.records import UNKNOWN_64
from agent.lifecycle.capabilities import Attempt, Privileges, drop_except, needed, of_process
from agent.settings import Settings

__all__ = ["attempts", "confine", "first_threads"]

log = logging.getLogger(__name__)

_ACCOUNT_TOKEN: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_TRIAL: Final = "forklore-may-write"  # a folder that is created and removed


def first_threads() -> Executor:
    """The loop's executor until `confine` shuts it down: its threads could not drop their own capabilities."""
    threads = ThreadPoolExecutor(thread_name_prefix="start")
    asyncio.get_running_loop().set_default_executor(threads)
    return threads


async def confine(capture: Capture, journal: Journal, settings: Settings, root: Path, before: Executor) -> Privileges:
    """Drops capabilities in every thread; returns what is left. `root`: of the cgroup hierarchy. `before`: the executor of
    `first_threads`; the threads of its successor inherit what is left."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(thread_name_prefix="agent"))
    before.shutdown()
    try:
        keep = needed(attempts(capture, settings, root))
        drop_except(keep)
        await journal.on_its_thread(partial(drop_except, keep))
    except OSError as error:
        log.error("can't drop capabilities: %s; the agent goes on with those that it has", error)
    left = of_process()
    no_new_privs = "; executed programs gain none" if left.no_new_privs else ""
    log.info("capabilities left: %s%s", ", ".join(sorted(left.permitted)) or "none", no_new_privs)
    return left


def attempts(capture: Capture, settings: Settings, root: Path) -> Iterator[tuple[str, Attempt]]:
    """A capability, and an action that may need it."""
    maps = partial(_use, capture)
    yield "BPF", maps
    yield "SYS_ADMIN", maps  # granted instead of CAP_BPF where a container runtime does not know that
    for file in (root, *_files(settings)):
        read = partial(_read, file)
        yield "DAC_READ_SEARCH", read
        yield "DAC_OVERRIDE", read  # Docker grants this one by default, but not DAC_READ_SEARCH
    pins = () if capture.unpinned or settings.capture.pin is None else (settings.capture.pin,)
    for folder in (settings.state_dir, *pins):
        yield "DAC_OVERRIDE", partial(_write, folder)


def _use(capture: Capture) -> None:
    """Reads, writes and deletes a map's element; reads all elements and a program's statistics."""
    programs = capture.current
    programs.snapshot()
    programs.update_meta()
    programs.delete_counters(UNKNOWN_64)  # no cgroup has this id


def _files(settings: Settings) -> Iterator[Path]:
    """Files that are read again when they are replaced."""
    files = [settings.status_token_file]
    if settings.kubernetes.enabled:
        files.append(settings.kubernetes.kubeconfig or _ACCOUNT_TOKEN)
    for sink in settings.sinks:
        files += [sink.token_file, sink.ca_file, sink.cert_file, sink.key_file]
    yield from filter(None, files)


def _read(path: Path) -> None:
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))  # without O_NONBLOCK a pipe waits for a writer


def _write(folder: Path) -> None:
    """Creates a folder in it: a BPF file system allows no ordinary files."""
    trial = folder / _TRIAL
    trial.mkdir(exist_ok=True)
    trial.rmdir()
