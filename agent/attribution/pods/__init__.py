"""The pods of this node: an index, and the watch that keeps it up to date from the Kubernetes API.

This package must not know cgroups, and no fork may wait for one of its requests.
"""

from agent.attribution.pods.index import KEEP_DELETED_S, Pods

__all__ = ["KEEP_DELETED_S", "Pods"]
