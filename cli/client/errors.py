"""What goes wrong on a terminal, each with its sentence and its exit code (sysexits.h).

Must not live here: the words for one HTTP answer (`collector`).
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "EXIT_CODES", "NOT_PERMITTED", "NOT_UNDERSTOOD", "NO_SUCH_POD", "OK", "OUTPUT_FAILED", "UNAVAILABLE", "USAGE",
    "WRONG_SETTINGS", "ReaderGone", "Trouble", "Unavailable",
]  # fmt: skip

OK: Final = 0
USAGE: Final = 2
NO_SUCH_POD: Final = 66
UNAVAILABLE: Final = 69
OUTPUT_FAILED: Final = 74
NOT_UNDERSTOOD: Final = 76
NOT_PERMITTED: Final = 77
WRONG_SETTINGS: Final = 78

EXIT_CODES: Final = """exit codes: 0 done, or whoever read the output has gone; 2 wrong arguments, such as a time that is none;
66 no such pod; 69 no collector answers, or its store does not; 74 the output can't be written;
76 what answers is no collector, or of another version; 77 the token is wanted or refused; 78 wrong settings."""


class Trouble(Exception):
    """Its text is one sentence for the user, with every foreign name already visible."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Unavailable(Trouble):
    """It may be over in a while. `wait`: seconds that the collector asks to be left alone for; 0: it does not say."""

    def __init__(self, text: str, wait: float = 0.0) -> None:
        super().__init__(UNAVAILABLE, text)
        self.wait = wait


class ReaderGone(Exception):
    """Whoever read our output has closed it: `| head`."""
