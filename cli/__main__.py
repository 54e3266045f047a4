"""`forklore agent|collector|top|...`: hands the rest of the line to the part that it names, and imports no other."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Final

from wire import VERSION

__all__ = ["main"]

# Name -> the module whose `main` it is, and what it does.
PARTS: Final = {
    "agent": ("agent.__main__", "capture, name and ship every fork of this node"),
    "sinks": ("agent.doctor.send_test_event", "`sinks test`: send one marked event to each sink, and say what it answers"),
    "collector": ("collector.__main__", "take events in, and show them per pod"),
    "top": ("cli.top", "pods by how fast they fork, live"),
    "tree": ("cli.tree", "who forked whom in a pod"),
    "tail": ("cli.tail", "forks as they come, one a line"),
    "demo": ("dev.demo.__main__", "the whole product on this one machine"),
    "doctor": ("agent.doctor.__main__", "say what the agent needs here and has not, and what to do"),
}


def here(module: str) -> bool:
    """Whether the module is installed: an image holds its own part of forklore only."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even its package is there
        return False


def main() -> int:
    arguments = sys.argv[1:]
    if arguments[:1] == ["--version"]:
        sys.stdout.write(f"forklore {VERSION}\n")
        return 0
    if arguments and arguments[0] in PARTS and here(PARTS[arguments[0]][0]):
        # The parts take a second to import, and nothing has begun: as a container's first process it would not hear of this.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        answer: int = import_module(PARTS[arguments[0]][0]).main(arguments[1:])
        return answer
    asked = arguments[:1] in (["--help"], ["-h"])
    parts = "\n".join(f"  {name:<10} {what}" for name, (module, what) in PARTS.items() if here(module))
    (sys.stdout if asked else sys.stderr).write(f"usage: forklore PART [--help | ...]\n\n{parts}\n")
    return 0 if asked else 2


if __name__ == "__main__":
    sys.exit(main())
