"""`forklore agent|collector|top|...`: imports the part that it names, and no other, and runs it with the other arguments."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Final

from wire import VERSION

__all__ = ["main"]

# Name -> the module whose `main` runs it, and what it does.
PARTS: Final = {
    "agent": ("agent.__main__", "capture, name and ship every fork of this node"),
    "sinks": ("agent.doctor.send_test_event", "`sinks test`: send one marked event to each sink, and print its answer"),
    "collector": ("collector.__main__", "receive events, and show them per pod"),
    "top": ("cli.top", "live table of pods, by their rate of forks"),
    "tree": ("cli.tree", "tree of the processes that a pod forked"),
    "tail": ("cli.tail", "forks as they arrive, one per line"),
    "demo": ("dev.demo.__main__", "the whole product on this machine"),
    "doctor": ("agent.doctor.__main__", "check what the agent needs on this node, and say what to do"),
}


def is_installed(module: str) -> bool:
    """An image contains only its own part of forklore."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its package is not installed either
        return False


def main() -> int:
    arguments = sys.argv[1:]
    if arguments[:1] == ["--version"]:
        sys.stdout.write(f"forklore {VERSION}\n")
        return 0
    if arguments and arguments[0] in PARTS and is_installed(PARTS[arguments[0]][0]):
        # Importing a part takes a second. The kernel ignores SIGTERM for pid 1 of a container until a handler is installed.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        code: int = import_module(PARTS[arguments[0]][0]).main(arguments[1:])
        return code
    is_help = arguments[:1] in (["--help"], ["-h"])
    parts = "\n".join(f"  {name:<10} {what}" for name, (module, what) in PARTS.items() if is_installed(module))
    (sys.stdout if is_help else sys.stderr).write(f"usage: forklore PART [--help | ...]\n\n{parts}\n")
    return 0 if is_help else 2


if __name__ == "__main__":
    sys.exit(main())
