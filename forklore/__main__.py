"""`forklore agent|collector|demo ...`: hands the rest of the line to the part that it names, and imports no other."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Final

from wire import VERSION

__all__ = ["main"]

PARTS: Final = {
    "agent": "capture, name and ship every fork of this node",
    "collector": "take events in, and show them per pod",
    "demo": "the whole product on this one machine",
}


def main() -> int:
    arguments = sys.argv[1:]
    if arguments[:1] == ["--version"]:
        sys.stdout.write(f"forklore {VERSION}\n")
        return 0
    if arguments and arguments[0] in PARTS:
        answer: int = import_module(f"{arguments[0]}.__main__").main(arguments[1:])
        return answer
    asked = arguments[:1] in (["--help"], ["-h"])
    parts = "\n".join(f"  {name:<10} {what}" for name, what in PARTS.items())
    (sys.stdout if asked else sys.stderr).write(f"usage: forklore PART [--help | ...]\n\n{parts}\n")
    return 0 if asked else 2


if __name__ == "__main__":
    sys.exit(main())
