"""Verifies the service account tokens of agents, offline, so that a batch has a cluster and a node (decision 0012).

A kubelet mounts such a token into the agent's pod, with an audience of its own; since Kubernetes 1.30 it names the node.
`verification` checks one token and is pure, `key_sources` reads the keys of the clusters, `verifier` joins both. This package
must not know a route or a batch.
"""

from collector.http.service_accounts.key_sources import Cluster, KeySources, Pace
from collector.http.service_accounts.verification import keys_of
from collector.http.service_accounts.verifier import TokenVerifier

__all__ = ["Cluster", "KeySources", "Pace", "TokenVerifier", "keys_of"]
