"""What the pods may do, exactly, and that each power has its reason beside it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.charts.conftest import Chart

POWERLESS = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
# What gives a power, in any object of the chart's.
POWERS = re.compile(
    r"""^\s*(-\ )?(
        privileged:\ true | runAsUser:\ 0 | hostPath:.* | seLinuxOptions:.* | automountServiceAccountToken:\ true
      | -\ (BPF|PERFMON|SYS_[A-Z]+) | -\ (get|list|watch|patch)\b.* | resources:\ \[pods\].* | allowHostDirVolumePlugin:\ true
    )\s*(\#.*)?$""",
    re.VERBOSE,
)


def test_the_agent_may_get_list_and_watch_pods_and_nothing_else(chart: Chart, case: str) -> None:
    objects = chart.render(case).objects()
    (role,) = [one for one in objects if one["kind"] == "ClusterRole"]
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
    (binding,) = [one for one in objects if one["kind"] == "ClusterRoleBinding"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    account = chart.render(case).agent().spec["serviceAccountName"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": "forklore"}]
    others = {one["metadata"]["name"]: one for one in objects if one["kind"] == "Role"}
    for name, other in others.items():  # one object each, by its name: while nodes are cleaned, and by `helm test`
        if name.endswith("-certificates"):
            continue
        if name.endswith("-test"):
            claim = f"data-{name.removesuffix('-test')}-collector-0"
            rule = {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "resourceNames": [claim], "verbs": ["get"]}
            assert other["rules"] == [rule]
            continue
        assert name.endswith("-uninstall") and other["metadata"]["annotations"]["helm.sh/hook"] == "post-delete"
        test = name.replace("-uninstall", "-test")
        assert other["rules"] == [
            {"apiGroups": ["apps"], "resources": ["daemonsets"], "resourceNames": [name], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]},
            {"apiGroups": [""], "resources": ["pods"], "resourceNames": [test], "verbs": ["delete"]},
        ]


def test_pods_share_only_folders_with_the_host(chart: Chart, case: str) -> None:
    for pod in chart.render(case).pods():
        for share in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"):
            assert share not in pod.spec
        assert all("hostPort" not in port for container in pod.containers() for port in container.get("ports", []))


def test_only_the_agent_has_privileges(chart: Chart, case: str) -> None:
    """All other containers of the chart's own pass the restricted level, but for the folder that the clean-up empties."""
    seen = 0
    for pod in chart.render(case).pods():
        for container in pod.containers():
            if container["image"].startswith("registry.example/"):  # the operator's
                continue
            seen += 1
            security = container["securityContext"]
            if pod.kind == "DaemonSet" and container["name"] == "agent":
                continue
            assert security.items() >= POWERLESS.items(), (pod.name, container["name"])
            assert security.get("privileged", False) is False
            cleans = pod.kind == "DaemonSet"
            assert cleans or (security["runAsNonRoot"] is True and security.get("runAsUser", 1) != 0)
            assert "memory" in container["resources"]["limits"]
    assert seen >= 2


def test_the_agent_is_privileged_by_default_and_no_more_than_that(chart: Chart) -> None:
    assert chart.render("default").container()["securityContext"] == {
        "privileged": True, "readOnlyRootFilesystem": True, "runAsUser": 0,
    }  # fmt: skip


def test_least_privilege_is_two_capabilities(chart: Chart) -> None:
    assert chart.render("least-privilege").container()["securityContext"] == {
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsUser": 0,
        "seccompProfile": {"type": "RuntimeDefault"},
        "capabilities": {"drop": ["ALL"], "add": ["BPF", "PERFMON"]},
        "seLinuxOptions": {"type": "spc_t"},
    }
    old = chart.render("least-privilege-old").container()["securityContext"]
    assert old["capabilities"]["add"] == ["BPF", "PERFMON", "SYS_RESOURCE"]
    assert old["seLinuxOptions"] == {"type": "forklore_t"}


def _mounts(container: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {mount["name"]: mount for mount in container["volumeMounts"]}


@pytest.mark.parametrize("mode", ["default", "least-privilege"])
def test_the_agent_writes_pins_and_state_only(chart: Chart, mode: str) -> None:
    render = chart.render(mode)
    mounts = _mounts(render.container())
    assert {name for name, mount in mounts.items() if not mount.get("readOnly")} == {"pins", "state"}
    host = {one["name"]: one["hostPath"] for one in render.agent().spec["volumes"] if "hostPath" in one}
    assert host == {
        "cgroups": {"path": "/sys/fs/cgroup", "type": "Directory"},
        "pins": {"path": "/sys/fs/bpf/forklore", "type": "DirectoryOrCreate"},
        "state": {"path": "/var/lib/forklore", "type": "DirectoryOrCreate"},
    }


def test_with_least_privilege_the_cgroups_are_recursively_read_only_where_the_runtime_can(chart: Chart) -> None:
    """`Enabled` would start no agent with containerd 1.6. One hierarchy has no mounts below it: it is plain read-only."""
    mount = _mounts(chart.render("least-privilege").container())["cgroups"]
    assert mount["readOnly"] is True and mount["recursiveReadOnly"] == "IfPossible"
    for kubernetes in ("1.25.0", "1.35.0"):
        one_hierarchy = chart.render("least-privilege-old", kubernetes=kubernetes)
        mount = _mounts(one_hierarchy.container())["cgroups"]
        assert mount == {"name": "cgroups", "mountPath": "/sys/fs/cgroup", "readOnly": True}
    paths = [one["hostPath"]["path"] for one in one_hierarchy.agent().spec["volumes"] if one["name"] == "cgroups"]
    assert paths == ["/sys/fs/cgroup/pids"]


def test_pins_are_not_mounted_where_apparmor_forbids_writing(chart: Chart, case: str) -> None:
    """The default profile of containerd, CRI-O and Docker denies writes and locks below /sys, whatever is mounted there."""
    mounts = [mount for pod in chart.render(case).pods() for one in pod.containers() for mount in one.get("volumeMounts", [])]
    assert mounts
    for mount in mounts:
        assert mount.get("readOnly") or not mount["mountPath"].startswith(("/sys", "/proc"))


def test_every_privilege_has_its_reason_beside_it(chart: Chart, case: str) -> None:
    lines = chart.render(case).text.splitlines()
    found = set()
    for number, line in enumerate(lines):
        if not POWERS.match(line):
            continue
        found.add(line.strip().lstrip("- ").split(":")[0].split(" ")[0])
        beside = line.partition(" #")[2]
        # A volume's reason stands above its name; a comment may take two lines.
        above = [one.strip() for one in lines[max(0, number - 2) : number]]
        reason = beside or next((one for one in reversed(above) if one.startswith("#")), "")
        assert len(reason) > 20, f"{line.strip()}: no reason"
    assert {"get", "list", "watch", "hostPath", "runAsUser"} <= found


def test_the_namespace_has_the_level_that_the_agent_needs(chart: Chart) -> None:
    namespace = chart.render("gitops").get("Namespace", "forklore")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"
    assert namespace["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_openshift_allows_what_the_agent_s_pod_requests(chart: Chart) -> None:
    render = chart.render("openshift")
    constraints = render.get("SecurityContextConstraints", "forklore-agent")
    security = render.container()["securityContext"]
    assert constraints["users"] == ["system:serviceaccount:forklore:forklore-agent"]
    assert constraints["allowedCapabilities"] == security["capabilities"]["add"] == ["BPF", "PERFMON"]
    assert constraints["allowPrivilegedContainer"] is False and constraints["allowHostDirVolumePlugin"] is True
    assert security["seLinuxOptions"] == {"type": "spc_t"}
    kinds = {key for volume in render.agent().spec["volumes"] for key in volume if key != "name"}
    assert kinds <= set(constraints["volumes"])
    collector = next(pod for pod in render.pods() if pod.kind == "StatefulSet")
    assert "runAsUser" not in str(collector.spec) and "fsGroup" not in str(collector.spec)
    privileged = chart.render(values={"openshift": {"enabled": True}}).get("SecurityContextConstraints", "forklore-agent")
    assert privileged["allowPrivilegedContainer"] is True and privileged["allowedCapabilities"] == []
    cleaning = render.get("SecurityContextConstraints", "forklore-uninstall")
    assert cleaning["allowPrivilegedContainer"] is False and cleaning["allowedCapabilities"] == []
