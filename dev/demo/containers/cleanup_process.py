"""A process that waits for the end of this one, however it ends, and then removes its leftovers."""

import subprocess
import sys
from pathlib import Path
from typing import Final

__all__ = ["CleanupProcess"]

PROJECT: Final = Path(__file__).resolve().parents[3]


class CleanupProcess:
    """Runs `python -m MODULE PLACE` when this process is gone; not after `dismiss`."""

    def __init__(self, module: str, place: Path) -> None:
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", 'read -r _; exec "$@"', "cleanup", sys.executable, "-m", module, place],
            stdin=subprocess.PIPE,  # held by this process alone: it reads the end of file when we are gone
            cwd=PROJECT,
            start_new_session=True,  # a Ctrl-C is for us, not for it
        )

    def dismiss(self) -> None:
        """This process has cleared up by itself."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
