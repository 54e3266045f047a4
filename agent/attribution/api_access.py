"""Whether the API lets the agent ask for what it asks for, by asking: each verb once, as little as can be.

Must not live here: what is done with the answers (pods).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agent.attribution.pods import TROUBLES, core_api, plain

__all__ = ["Access", "try_access"]

_REQUEST_S: Final = 10.0
_NOBODY: Final = ("default", "forklore-doctor-asks")  # whoever may get pods is told that there is none such


@dataclass(frozen=True)
class Access:
    """`server`: who was asked. `statuses`: of each verb on pods. `trouble`: why there were no answers, or no more."""

    server: str = ""
    statuses: Mapping[str, int] = field(default_factory=dict)
    trouble: str | None = None


async def try_access(node: str, kubeconfig: Path | None) -> Access:
    """`kubeconfig` None: the pod's own service account. Raises nothing that an API or its settings can do."""
    selector, statuses, server = f"spec.nodeName={node}", dict[str, int](), ""
    try:
        async with core_api(kubeconfig) as core:
            server, pods = core.server, core.pods
            answer = await pods(fieldSelector=selector, limit=1, timeout=_REQUEST_S)
            statuses["list"] = answer.status
            answer.close()
            answer = await pods(fieldSelector=selector, watch="true", resourceVersion="0", timeoutSeconds=1, timeout=_REQUEST_S)
            statuses["watch"] = answer.status
            answer.close()
            namespace, name = _NOBODY
            answer = await core.pod(name, namespace, timeout=_REQUEST_S)
            statuses["get"] = answer.status
            answer.close()
    except TROUBLES as error:
        return Access(server, statuses, plain(error))
    return Access(server, statuses)
