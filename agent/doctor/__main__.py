"""`forklore doctor`: checks everything that the agent needs, in the order in which it is needed, and prints the results.

Exit codes: 0 no check failed; 1 one did; 2 wrong arguments. `--clean` removes what is pinned and used by no agent: 0 removed,
or nothing was there; 1 not removed; 2 not confirmed."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from agent.doctor.check_result import Verdict, fail, ok
from agent.doctor.report import as_json, as_text
from agent.settings import SettingsError, load

__all__ = ["main"]

NONE_FAILED, SOME_FAILED = 0, 1
_EPILOG: Final = """Run it where the agent is: on the node, or by
kubectl exec daemonset/forklore-agent -- forklore doctor --config /etc/forklore/agent.yaml.
It sends no event to any sink; `forklore sinks test` sends one."""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="forklore doctor",
        description="Checks what the agent needs on this node, and says what to do about what is missing.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="the agent's settings (YAML); FORKLORE_* variables override it"
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--json", action="store_true", help="print JSON")
    mode.add_argument("--clean", action="store_true", help="remove what is pinned in capture.pin and used by no agent")
    parser.add_argument("--yes", action="store_true", help="with --clean: do not ask")
    options = parser.parse_args(arguments)
    if options.yes and not options.clean:
        parser.error("--yes goes with --clean")
    try:
        settings = load(options.config)
        results = [ok("settings", str(options.config or "defaults and environment"))]
    except SettingsError as error:
        settings = None
        results = [fail("settings", line, "see the README's table of settings") for line in error.lines]
    # Imported here: the pod that cleans a node up has little memory, and the Kubernetes client alone would fill it.
    if options.clean and settings:
        from agent.doctor.clean import clean  # noqa: PLC0415

        return clean(settings.capture.pin, yes=options.yes)
    if not options.clean:
        from agent.doctor.run_checks import run_checks  # noqa: PLC0415

        results += run_checks(settings)
    if options.json:
        sys.stdout.write(as_json(results, settings.node if settings else os.uname().nodename).decode())
    else:
        sys.stdout.write(as_text(results, coloured=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
    return SOME_FAILED if any(result.verdict is Verdict.FAIL for result in results) else NONE_FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
