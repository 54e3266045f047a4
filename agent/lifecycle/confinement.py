"""What the agent may still do once it captures: nothing that it doesn't need, and what it needs is found by trying.

On most nodes that is nothing at all: it holds its maps by their descriptors, and its files belong to its user. Where the kernel
(before 5.19) wants CAP_BPF for a map's rows, or somebody gave a token to another user, that one stays. Must not live here: how
a capability is given up.
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
from agent.lifecycle.capabilities import Attempt, Privileges, give_up, needed, of_process
from agent.settings import Settings

__all__ = ["attempts", "confine", "first_threads"]

log = logging.getLogger(__name__)

_ACCOUNT_TOKEN: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_TRIED: Final = "forklore-may-write"  # made and taken away again


def first_threads() -> Executor:
    """The loop's threads until `confine`, which ends them: what they may, they could not give up."""
    threads = ThreadPoolExecutor(thread_name_prefix="start")
    asyncio.get_running_loop().set_default_executor(threads)
    return threads


async def confine(capture: Capture, journal: Journal, settings: Settings, root: Path, before: Executor) -> Privileges:
    """Gives up the rest, in every thread there is; what is left. `root`: of the cgroup hierarchy. `before`: the loop's threads
    until now, which end: those to come begin with what is left."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(thread_name_prefix="agent"))
    before.shutdown()
    try:
        keep = needed(attempts(capture, settings, root))
        give_up(keep)
        await journal.on_its_thread(partial(give_up, keep))
    except OSError as error:
        log.error("privileges can't be given up: %s", error)
    left = of_process()
    bounding = "; programs that it runs come to nothing more" if left.no_new_privs else ""
    log.info("capabilities left: %s%s", ", ".join(sorted(left.permitted)) or "none", bounding)
    return left


def attempts(capture: Capture, settings: Settings, root: Path) -> Iterator[tuple[str, Attempt]]:
    """A capability, and what it may be needed for."""
    maps = partial(_use, capture)
    yield "BPF", maps
    yield "SYS_ADMIN", maps  # where a container runtime does not know CAP_BPF, that stands in for it
    for file in (root, *_files(settings)):
        read = partial(_read, file)
        yield "DAC_READ_SEARCH", read
        yield "DAC_OVERRIDE", read  # Docker gives this one by default, and not the other
    pins = () if capture.unpinned or settings.capture.pin is None else (settings.capture.pin,)
    for folder in (settings.state_dir, *pins):
        yield "DAC_OVERRIDE", partial(_write, folder)


def _use(capture: Capture) -> None:
    """A map's row read, written, deleted; all rows; a program's figures."""
    programs = capture.current
    programs.snapshot()
    programs.note()
    programs.forget(UNKNOWN_64)  # no cgroup has this id


def _files(settings: Settings) -> Iterator[Path]:
    """What is read again when it has been replaced."""
    files = [settings.status_token_file]
    if settings.kubernetes.enabled:
        files.append(settings.kubernetes.kubeconfig or _ACCOUNT_TOKEN)
    for sink in settings.sinks:
        files += [sink.token_file, sink.ca_file, sink.cert_file, sink.key_file]
    yield from filter(None, files)


def _read(place: Path) -> None:
    os.close(os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))  # a pipe would wait for its writer


def _write(folder: Path) -> None:
    """A folder in it, for a BPF file system takes no others' files."""
    tried = folder / _TRIED
    tried.mkdir(exist_ok=True)
    tried.rmdir()
