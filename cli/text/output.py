"""Standard output as these commands use it: whole lines at once, plain where nobody looks, and quiet when the reader is gone.

Must not live here: what is said.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TextIO

from cli.client.errors import OUTPUT_FAILED, ReaderGone, Trouble
from cli.text.pieces import Paint

__all__ = ["Output", "painted"]


def painted(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether colours are welcome there: a terminal that can, and nobody who minds (no-color.org)."""
    return stream.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


class Output:
    def __init__(self, stream: TextIO | None = None) -> None:
        """Raises `ReaderGone` when there is no output at all (`>&-`)."""
        found = stream or sys.stdout
        if found is None:
            raise ReaderGone
        self._stream = found
        # A terminal of another encoding gets escapes for what it can't show; nothing here may end in an exception.
        reconfigure: Callable[..., None] | None = getattr(found, "reconfigure", None)
        if reconfigure:
            reconfigure(errors="backslashreplace")
        self.paint = Paint(coloured=painted(found))
        self.draws_lines = (found.encoding or "").lower().replace("-", "") == "utf8"

    def say(self, lines: Iterable[str]) -> None:
        """Lines without their ends, written through. Raises `ReaderGone`, `Trouble`."""
        text = "".join(f"{line}\n" for line in lines)
        if not text:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except BrokenPipeError:
            raise ReaderGone from None
        except OSError as wrong:
            raise Trouble(OUTPUT_FAILED, f"the output can't be written: {os.strerror(wrong.errno or 0)}") from None
