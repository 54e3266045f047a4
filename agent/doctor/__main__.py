"""`forklore doctor`: looks at everything that the agent needs, in the order in which it is needed, and says what it found.

0 nothing failed; 1 something did; 2 wrong arguments. `--clean` removes what no agent has any more: 0 gone, or there was
nothing; 1 it can't be. Must not live here: any one look.
"""

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

FINE, WRONG = 0, 1
_EPILOG: Final = """Run it where the agent is: on the node, or by
kubectl exec daemonset/forklore-agent -- forklore doctor --config /etc/forklore/agent.yaml.
No event is sent to any sink; `forklore sinks test` sends one."""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="forklore doctor",
        description="Says what the agent needs and has not, and what to do.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="the agent's settings (YAML); FORKLORE_* go before it")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="for programs")
    how.add_argument("--clean", action="store_true", help="remove what is pinned in capture.pin and has no agent any more")
    parser.add_argument("--yes", action="store_true", help="with --clean: don't ask")
    options = parser.parse_args(arguments)
    if options.yes and not options.clean:
        parser.error("--yes goes with --clean")
    try:
        settings = load(options.config)
        findings = [ok("settings", str(options.config or "defaults and environment"))]
    except SettingsError as error:
        settings = None
        findings = [fail("settings", line, "see the README's table of settings") for line in error.lines]
    # Not at the top: what cleans up is a pod with little memory, and Kubernetes' client alone would fill it.
    if options.clean and settings:
        from agent.doctor.clean import clean  # noqa: PLC0415

        return clean(settings.capture.pin, yes=options.yes)
    if not options.clean:
        from agent.doctor.run_checks import run_checks  # noqa: PLC0415

        findings += run_checks(settings)
    if options.json:
        sys.stdout.write(as_json(findings, settings.node if settings else os.uname().nodename).decode())
    else:
        sys.stdout.write(as_text(findings, coloured=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
    return WRONG if any(finding.verdict is Verdict.FAIL for finding in findings) else FINE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
