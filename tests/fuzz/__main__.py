"""Runs one target: `python -m tests.fuzz TARGET [CORPUS] [libFuzzer's options]`.

New inputs go into CORPUS. `tests.fuzz.reached` reports how much of the target's `COVERS` they reach.
"""

from __future__ import annotations

import importlib
import random
import sys
import tempfile
from pathlib import Path

import atheris
import orjson

with atheris.instrument_imports(include=["agent", "collector", "wire", "cli", "jwt"], enable_loader_override=False):
    target = importlib.import_module(f"tests.fuzz.{sys.argv[1]}")

# Values that parsers get wrong, where JSON has a value.
HOSTILE = [
    None, True, False, 0, -1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 1.5, 1e308, "", "\0", "\x1b[2J",
    "\u202e", "\ufffd", "9" * 30, "x" * 5000, [], {}, [[]], [{}], {"": ""},
]  # fmt: skip


def mutate(data: bytes, most: int, seed: int) -> bytes:
    """JSON stays JSON half of the time, with one of its values replaced: bytes alone seldom get past its parser."""
    chance = random.Random(seed)  # noqa: S311 - the fuzzer's own seed
    if chance.random() < 0.5:
        lines = data.split(b"\n")
        at = chance.randrange(len(lines))
        try:
            lines[at] = orjson.dumps(_replaced(orjson.loads(lines[at]), chance))
        except (ValueError, TypeError, RecursionError):
            pass
        else:
            return b"\n".join(lines)[:most]
    return bytes(atheris.Mutate(data, most))


def _replaced(value: object, chance: random.Random) -> object:
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(list(value))
        if chance.random() < 0.1:
            return {name: one for name, one in value.items() if name != key}
        return {**value, key: _replaced(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.9:
        at = chance.randrange(len(value))
        if chance.random() < 0.1:
            return [*value, *value[at:]]
        return [*value[:at], _replaced(value[at], chance), *value[at + 1 :]]
    if isinstance(value, str) and value and chance.random() < 0.5:
        at = chance.randrange(len(value))
        return value[:at] + chance.choice(["", "\0", "\n", "-", "9", "/", ".", "\u202e", value]) + value[at + 1 :]
    return chance.choice(HOSTILE)


def main() -> None:
    with tempfile.TemporaryDirectory() as seeds:
        for number, seed in enumerate(target.SEEDS):
            (Path(seeds) / str(number)).write_bytes(seed)
        atheris.Setup([sys.argv[0], *sys.argv[2:], seeds], target.check, custom_mutator=mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
