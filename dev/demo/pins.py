"""The folder in which the demo's agent pins its BPF programs.

It is removed at the end, and a BPF file system that was mounted for it is unmounted. A cleanup process removes it when the demo
is killed, because attached programs slow every fork down.
"""

import contextlib
import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from agent.kernel.pins import BPF_FS, CannotPin, Pins, PinsTaken
from dev.demo.containers.cleanup_process import CleanupProcess

CLEANUP_TIMEOUT = 10.0  # seconds; the agent of a killed demo must end first


@contextlib.contextmanager
def pin_folder(state: Path) -> Iterator[Path]:
    """A folder of this demo's own, emptied of what a killed demo left. Where no BPF file system can be mounted, the agent
    reports it and works without pins."""
    mounted_before = BPF_FS.is_mount()
    folder = BPF_FS / f"forklore-demo-{hashlib.sha256(bytes(state.resolve())).hexdigest()[:8]}"
    _clear(folder)
    cleanup_process = CleanupProcess("dev.demo.pins", folder)
    try:
        yield folder
    finally:
        cleanup_process.dismiss()
        _clear(folder)
        if not mounted_before and BPF_FS.is_mount():
            subprocess.run(["umount", str(BPF_FS)], check=False, stderr=subprocess.DEVNULL)  # EBUSY: another process uses it


def _clear(folder: Path) -> None:
    with contextlib.suppress(CannotPin, PinsTaken):
        pins = Pins(folder)
        try:
            pins.remove_all()
        finally:
            pins.close()


if __name__ == "__main__":
    left_behind, deadline = Path(sys.argv[1]), time.monotonic() + CLEANUP_TIMEOUT
    while left_behind.exists() and time.monotonic() < deadline:
        _clear(left_behind)
        time.sleep(0.1)
