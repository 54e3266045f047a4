"""A process that waits for the end of this one, even by SIGKILL, and then cleans up after it."""

import subprocess
import sys
from pathlib import Path
from typing import Final

__all__ = ["CleanupProcess"]

PROJECT: Final = Path(__file__).resolve().parents[3]


class CleanupProcess:
    """Runs `python -m MODULE PATH` when this process has ended; not after `dismiss`."""

    def __init__(self, module: str, path: Path) -> None:
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", 'read -r _; exec "$@"', "cleanup", sys.executable, "-m", module, path],
            stdin=subprocess.PIPE,  # only this process has the other end: `read` returns when we have ended
            cwd=PROJECT,
            start_new_session=True,  # a Ctrl-C at the terminal is for us only
        )

    def dismiss(self) -> None:
        """Ends it without a cleanup: this process has cleaned up by itself."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
