"""Loggers that say nothing for a while, and as before afterwards: other tests of the same process read their messages."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

__all__ = ["silenced"]


@contextmanager
def silenced(*names: str) -> Iterator[None]:
    with ExitStack() as levels:
        for logger in map(logging.getLogger, names):
            levels.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL)
        yield
