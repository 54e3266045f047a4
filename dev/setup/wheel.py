"""What a wheel holds: all that an image needs, and nothing else.

`FORKLORE_WHEEL=agent` or `FORKLORE_WHEEL=collector` names the image; without it the wheel holds both. An editable install
takes the checkout as it is (`dev-mode-dirs` in pyproject.toml), so this has no say in it.
"""

from __future__ import annotations

import os
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

__all__ = ["WheelContents"]

# Path in the checkout -> path in the wheel. The agent compiles its BPF programs on the node, so their sources go with it.
_AGENT: Final = {"agent": "agent", "bpf": "agent/bpf"}
_COLLECTOR: Final = {"collector": "collector", "cli": "cli"}
_BOTH: Final = {"wire": "wire", "cli/__init__.py": "cli/__init__.py", "cli/__main__.py": "cli/__main__.py"}
CONTENTS: Final = {
    "": {**_AGENT, **_COLLECTOR, "wire": "wire"},
    "agent": {**_AGENT, **_BOTH},
    "collector": {**_COLLECTOR, "wire": "wire"},
}


class WheelContents(BuildHookInterface[Any]):
    """Hatchling's hook: called once before a wheel is written. Raises ValueError for an image that does not exist."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        image = os.environ.get("FORKLORE_WHEEL", "")
        if image not in CONTENTS:
            raise ValueError(f"FORKLORE_WHEEL={image!r}: the images are agent and collector")
        build_data["force_include"] = dict(CONTENTS[image])
