"""What a collector takes of the texts that a container or a pod's author chooses. An agent sends no longer ones.

A longer one would be refused with its event, and so a container could hide its forks from the events (not from the counts).
"""

from __future__ import annotations

from typing import Final

__all__ = ["MAX_CGROUP_PATH", "MAX_IMAGE", "MAX_LABELS"]

MAX_CGROUP_PATH: Final = 4096  # characters; directories may be nested more deeply
MAX_IMAGE: Final = 1024  # characters of an image's name or id
MAX_LABELS: Final = 512  # of one pod; the API server has a limit for the whole object alone
