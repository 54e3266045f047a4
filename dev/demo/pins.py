"""A place for the demo's agent to pin its capture, and its removal: what was mounted for it is unmounted again.

A clean-up process removes it when the demo is killed, because BPF programs that stay make every fork slower.
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

PATIENCE = 10.0  # seconds for an agent whose demo was killed to be gone, too


@contextlib.contextmanager
def place_for_pins(state: Path) -> Iterator[Path]:
    """A folder of this demo's own, without the leftovers of an earlier demo that was killed. Where there can be no BPF file
    system the agent logs it, and works without."""
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
            subprocess.run(["umount", str(BPF_FS)], check=False, stderr=subprocess.DEVNULL)  # busy: somebody else's by now


def _clear(folder: Path) -> None:
    with contextlib.suppress(CannotPin, PinsTaken):
        pins = Pins(folder)
        try:
            pins.remove_all()
        finally:
            pins.close()


if __name__ == "__main__":
    deserted, end = Path(sys.argv[1]), time.monotonic() + PATIENCE
    while deserted.exists() and time.monotonic() < end:
        _clear(deserted)
        time.sleep(0.1)
