"""What a stand-in kubelet makes of volumes: real files, with tokens that a collector's own verification takes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from collector.http.service_accounts.verification import Issuer, keys_of, verify
from dev.cluster.node.kubelet import NodePod
from dev.cluster.node.volumes import MissingFiles, mounts
from dev.cluster.service_accounts import ISSUER, TokenIssuer

TOKEN = {"serviceAccountToken": {"audience": "forklore-collector", "path": "token", "expirationSeconds": 3600}}
CA = {"configMap": {"name": "ca", "items": [{"key": "ca.crt", "path": "trust.pem"}]}}


class Api:
    host, port, ca = "10.0.0.1", 443, "a certificate"

    def __init__(self, **maps: dict[str, str]) -> None:
        self.issuer, self._maps = TokenIssuer(), maps

    def token(self, pod: NodePod, audience: str | None, seconds: int) -> str:
        return self.issuer.token(
            (pod.namespace, pod.spec["serviceAccountName"]), pod.node, (pod.name, pod.uid), audience, seconds
        )

    def files(self, kind: str, namespace: str, name: str) -> dict[str, str] | None:
        return self._maps.get(name) if kind == "configmaps" and namespace == "forklore" else None


def mounted(tmp_path: Path, api: Api, volume: dict, **spec: object) -> Path:
    """The folder on the node of a pod's one volume."""
    container = {"name": "app", "volumeMounts": [{"name": "it", "mountPath": "/it", "readOnly": True}]}
    whole = {"containers": [container], "volumes": [{"name": "it", **volume}], "serviceAccountName": "forklore-agent", **spec}
    mount, _hosts = mounts(NodePod("agent-x", "forklore", "uid-1", whole, tmp_path, "node1", api), container)
    assert (mount["container_path"], mount["readonly"]) == ("/it", True)
    return Path(mount["host_path"])


def test_a_projected_volume_has_a_token_for_its_audience_that_names_the_node(tmp_path):
    api = Api(ca={"ca.crt": "pem", "other": "left out"})
    folder = mounted(tmp_path, api, {"projected": {"defaultMode": 0o400, "sources": [TOKEN, CA]}})
    assert {file.name for file in folder.iterdir()} == {"token", "trust.pem"}
    assert (folder / "token").stat().st_mode & 0o777 == 0o400
    issuers = [Issuer("default", ISSUER, keys_of(api.issuer.jwks()), "forklore/forklore-agent")]
    verified = verify((folder / "token").read_text(), issuers, "forklore-collector", time.time())
    assert (verified.credential.cluster, verified.credential.node) == ("default", "node1")
    assert not api.issuer.is_own((folder / "token").read_text()), "it is for the collector, and not for the API server"


def with_map(**given: object) -> list[dict]:
    """One ConfigMap, mounted alone and as a part of another volume."""
    return [{"configMap": {"name": "ca", **given}}, {"projected": {"sources": [{"configMap": {"name": "ca", **given}}]}}]


KEY = [{"key": "ca.crt", "path": "ca.crt"}]


@pytest.mark.parametrize("volume", [*with_map(), *with_map(items=KEY)])
def test_a_pod_waits_for_a_config_map_that_is_not_there(tmp_path, volume):
    with pytest.raises(MissingFiles):
        mounted(tmp_path, Api(), volume)


@pytest.mark.parametrize("volume", with_map(items=KEY))
def test_a_pod_waits_for_a_key_that_is_not_there(tmp_path, volume):
    with pytest.raises(MissingFiles, match=r"ca\.crt"):
        mounted(tmp_path, Api(ca={"other": "x"}), volume)


@pytest.mark.parametrize("volume", with_map(items=KEY, optional=True))
@pytest.mark.parametrize("maps", [{}, {"ca": {"other": "x"}}])
def test_a_pod_does_not_wait_for_what_is_optional(tmp_path, volume, maps):
    assert list(mounted(tmp_path, Api(**maps), volume).iterdir()) == []


@pytest.mark.parametrize(("asked", "given"), [("Enabled", True), ("IfPossible", True), ("Disabled", False), (None, False)])
def test_a_mount_is_recursively_read_only_where_that_is_possible(tmp_path, asked, given):
    container = {"name": "app", "volumeMounts": [{"name": "it", "mountPath": "/it", "readOnly": True}]}
    if asked:
        container["volumeMounts"][0]["recursiveReadOnly"] = asked
    spec = {"containers": [container], "volumes": [{"name": "it", "hostPath": {"path": str(tmp_path)}}]}
    mount, _hosts = mounts(NodePod("agent-x", "forklore", "uid-1", spec, tmp_path, "node1"), container)
    assert mount["recursive_read_only"] == given


def test_a_projected_source_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match="clusterTrustBundle"):
        mounted(tmp_path, Api(), {"projected": {"sources": [{"clusterTrustBundle": {"path": "x"}}]}})
