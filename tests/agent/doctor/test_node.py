"""The kernel and what it lets us do: each thing that is wrong is named, with its cure, and nothing else is blamed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.doctor.checks.node import EPERM, Node, judge_node, read_node
from agent.lifecycle.capabilities import NAMES, Privileges

ALL = frozenset(NAMES)
SOUND = Node(
    release="6.1.0-28-amd64", libbpf=None, btf=None, bpf=None,
    privileges=Privileges(ALL, ALL, frozenset(), ALL, frozenset(), no_new_privs=False),
    uid=0, memlock_unlimited=False, lockdown="[none] integrity confidentiality\n", user_namespace=0xEFFFFFFD, seccomp=0,
    bcc="0.26.0", bcc_trouble=None,
)  # fmt: skip


def with_capabilities(*names, bounding=()):
    have = frozenset(names)
    return Privileges(have, have, frozenset(), have | frozenset(bounding), frozenset(), no_new_privs=False)


def test_on_a_sound_node_all_is_well(said):
    findings = said(judge_node(SOUND))
    assert findings.of("ok") == [
        "kernel", "BTF", "ring buffer", "capabilities", "user namespace", "lockdown", "seccomp", "BCC",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "name", "cure"),
    [
        ({"release": "5.4.0-1-amd64"}, "kernel", "5.10"),
        ({"release": "4.19.0"}, "kernel", "5.10"),
        ({"btf": "the kernel has no BTF (/sys/kernel/btf/vmlinux)"}, "BTF", "CONFIG_DEBUG_INFO_BTF"),
        ({"bpf": "the kernel has no BPF ring buffer (it came with 5.8): Invalid argument"}, "ring buffer", "5.10"),
        ({"libbpf": "libbpf.so is not installed"}, "libbpf", "libbpf1"),
        ({"privileges": with_capabilities("PERFMON")}, "capabilities", "[BPF]"),
        ({"privileges": with_capabilities("BPF")}, "capabilities", "[PERFMON]"),
        ({"privileges": with_capabilities()}, "capabilities", "[BPF, PERFMON]"),
        ({"privileges": with_capabilities(bounding=("BPF", "PERFMON")), "uid": 1000}, "capabilities", "runAsUser: 0"),
        ({"privileges": with_capabilities("BPF", "PERFMON"), "release": "5.10.0-33-amd64"}, "capabilities", "[SYS_RESOURCE]"),
        ({"user_namespace": 4026532345}, "user namespace", "hostUsers"),
        ({"lockdown": "none integrity [confidentiality]\n"}, "lockdown", "lockdown=integrity"),
        ({"bpf": EPERM, "seccomp": 2}, "seccomp", "RuntimeDefault"),
        ({"bpf": EPERM}, "security modules", "SELinux"),
        ({"bcc": None, "bcc_trouble": "ModuleNotFoundError: No module named 'bcc'"}, "BCC", "python3-bpfcc"),
        ({"bcc": "0.18.0"}, "BCC", "0.26"),
    ],
)
def test_what_is_wrong_is_named_with_its_cure_and_alone(said, changes, name, cure):
    findings = said(judge_node(replace(SOUND, **changes)))
    assert findings.failed == [name]
    assert cure in findings[name].cure


@pytest.mark.parametrize(
    "changes",
    [
        {"privileges": with_capabilities("BPF", "PERFMON")},
        {"privileges": with_capabilities("SYS_ADMIN")},
        {"privileges": with_capabilities("BPF", "PERFMON", "SYS_RESOURCE"), "release": "5.10.0"},
        {"privileges": with_capabilities("BPF", "PERFMON"), "release": "5.10.0", "memlock_unlimited": True},
        {"release": "5.10.0"},
        {"seccomp": 2},
        {"lockdown": "none [integrity] confidentiality"},
        {"bcc": "1.0.0"},
    ],
)
def test_what_is_enough_is_not_complained_about(said, changes):
    assert said(judge_node(replace(SOUND, **changes))).of("ok") == said(judge_node(SOUND)).of("ok")


def test_what_is_forbidden_for_want_of_a_capability_is_blamed_on_that_only(said):
    findings = said(judge_node(replace(SOUND, bpf=EPERM, seccomp=2, privileges=with_capabilities())))
    assert findings.failed == ["capabilities"]
    assert findings.of("skipped") == ["ring buffer"]


def test_a_lockdown_that_cannot_be_seen_is_not_made_up(said):
    assert said(judge_node(replace(SOUND, lockdown=None))).of("skipped") == ["lockdown"]


def test_a_version_that_nobody_understands_is_a_warning(said):
    assert said(judge_node(replace(SOUND, release="next"))).of("warn") == ["kernel"]


def test_this_machine_can_be_looked_at_by_anyone(said):
    assert said(judge_node(read_node())).findings[0].name == "kernel"
