"""Standard output of the commands: whole lines, coloured on a terminal only, and no error when the reader has closed it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TextIO

from cli.client.errors import OUTPUT_FAILED, CommandError, ReaderGone
from cli.text.pieces import Paint

__all__ = ["Output", "wants_colours"]


def wants_colours(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the stream is a terminal with colours, and NO_COLOR (no-color.org) is not set."""
    return stream.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


class Output:
    def __init__(self, stream: TextIO | None = None) -> None:
        """Raises `ReaderGone` when there is no output at all (`>&-`)."""
        found = stream or sys.stdout
        if found is None:
            raise ReaderGone
        self._stream = found
        # Characters that the terminal's encoding lacks are escaped instead of raising UnicodeEncodeError.
        reconfigure: Callable[..., None] | None = getattr(found, "reconfigure", None)
        if reconfigure:
            reconfigure(errors="backslashreplace")
        self.paint = Paint(coloured=wants_colours(found))
        self.has_line_drawing = (found.encoding or "").lower().replace("-", "") == "utf8"

    def write_lines(self, lines: Iterable[str]) -> None:
        """`lines`: without line ends. Flushes. Raises `ReaderGone`, `CommandError`."""
        text = "".join(f"{line}\n" for line in lines)
        if not text:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except BrokenPipeError:
            raise ReaderGone from None
        except OSError as error:
            raise CommandError(OUTPUT_FAILED, f"the output can't be written: {os.strerror(error.errno or 0)}") from None
