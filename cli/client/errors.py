"""Errors of the commands, each with its sentence and its exit code (sysexits.h)."""

from __future__ import annotations

from typing import Final

__all__ = [
    "EXIT_CODES", "NOT_PERMITTED", "NOT_UNDERSTOOD", "NO_SUCH_POD", "OK", "OUTPUT_FAILED", "UNAVAILABLE", "USAGE",
    "WRONG_SETTINGS", "CommandError", "ReaderGone", "Unavailable",
]  # fmt: skip

OK: Final = 0
USAGE: Final = 2
NO_SUCH_POD: Final = 66
UNAVAILABLE: Final = 69
OUTPUT_FAILED: Final = 74
NOT_UNDERSTOOD: Final = 76
NOT_PERMITTED: Final = 77
WRONG_SETTINGS: Final = 78

EXIT_CODES: Final = """exit codes: 0 done, or the output was closed by its reader; 2 wrong arguments, such as an invalid time;
66 no such pod; 69 the collector or its store does not answer; 74 the output can't be written;
76 what answers is no collector, or of another version; 77 a token is required or refused; 78 wrong settings."""


class CommandError(Exception):
    """Its text is one sentence for the user, in which every foreign name is made visible."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Unavailable(CommandError):
    """The error may be temporary. `wait`: seconds before the next try, as the collector requests; 0: it requests none."""

    def __init__(self, text: str, wait: float = 0.0) -> None:
        super().__init__(UNAVAILABLE, text)
        self.wait = wait


class ReaderGone(Exception):
    """The reader of our output has closed it, as `| head` does."""
