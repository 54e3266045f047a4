"""The JSON of what many forks share, made once: an origin, a subject.

Encoders join fragments; a fork adds only its own few numbers. Keyed by the nouns' identity, bounded in number. Must not live
here: the layout of any one schema.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

__all__ = ["ATTRIBUTIONS", "Fragments"]

# In a generation: two hold the 750 containers of 250 pods. Each is kept with its pod, 20 KB in all, though that is gone.
ATTRIBUTIONS: Final = 512

Noun = TypeVar("Noun")
Made = TypeVar("Made")


class Fragments(Generic[Noun, Made]):
    """A cache of two generations: what is in use survives, the rest goes, and nothing is ever searched for."""

    def __init__(self, make: Callable[[Noun], Made], most: int) -> None:
        self._make = make
        self._most = most
        self._young: dict[Noun, Made] = {}
        self._old: dict[Noun, Made] = {}

    def __getitem__(self, noun: Noun) -> Made:
        made = self._young.get(noun)
        if made is None:
            made = self._old.get(noun)
            if made is None:
                made = self._make(noun)
            if len(self._young) >= self._most:
                self._young, self._old = {}, self._young
            self._young[noun] = made
        return made
