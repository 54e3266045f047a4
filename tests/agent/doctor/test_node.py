"""The kernel and what it permits: each problem is named with its cure, and nothing else fails."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.doctor.checks.node import EPERM, Node, judge_node, read_node
from agent.lifecycle.capabilities import NAMES, Privileges

ALL = frozenset(NAMES)
SOUND = Node(
    release="6.1.0-28-amd64", libbpf_error=None, btf_error=None, ring_error=None,
    privileges=Privileges(ALL, ALL, frozenset(), ALL, frozenset(), no_new_privs=False),
    uid=0, memlock_unlimited=False, lockdown="[none] integrity confidentiality\n", user_namespace=0xEFFFFFFD, seccomp=0,
    bcc="0.26.0", bcc_error=None,
)  # fmt: skip


def with_capabilities(*names, bounding=()):
    have = frozenset(names)
    return Privileges(have, have, frozenset(), have | frozenset(bounding), frozenset(), no_new_privs=False)


def test_on_a_suitable_node_every_check_is_ok(results_of):
    results = results_of(judge_node(SOUND))
    assert results.of("ok") == [
        "kernel", "BTF", "ring buffer", "capabilities", "user namespace", "lockdown", "seccomp", "BCC",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "name", "cure"),
    [
        ({"release": "5.4.0-1-amd64"}, "kernel", "5.10"),
        ({"release": "4.19.0"}, "kernel", "5.10"),
        ({"btf_error": "the kernel has no BTF (/sys/kernel/btf/vmlinux)"}, "BTF", "CONFIG_DEBUG_INFO_BTF"),
        ({"ring_error": "the kernel has no BPF ring buffer (it came with 5.8): Invalid argument"}, "ring buffer", "5.10"),
        ({"libbpf_error": "libbpf.so is not installed"}, "libbpf", "libbpf1"),
        ({"privileges": with_capabilities("PERFMON")}, "capabilities", "[BPF]"),
        ({"privileges": with_capabilities("BPF")}, "capabilities", "[PERFMON]"),
        ({"privileges": with_capabilities()}, "capabilities", "[BPF, PERFMON]"),
        ({"privileges": with_capabilities(bounding=("BPF", "PERFMON")), "uid": 1000}, "capabilities", "runAsUser: 0"),
        ({"privileges": with_capabilities("BPF", "PERFMON"), "release": "5.10.0-33-amd64"}, "capabilities", "[SYS_RESOURCE]"),
        ({"user_namespace": 4026532345}, "user namespace", "hostUsers"),
        ({"lockdown": "none integrity [confidentiality]\n"}, "lockdown", "lockdown=integrity"),
        ({"ring_error": EPERM, "seccomp": 2}, "seccomp", "RuntimeDefault"),
        ({"ring_error": EPERM}, "security modules", "SELinux"),
        ({"bcc": None, "bcc_error": "ModuleNotFoundError: No module named 'bcc'"}, "BCC", "python3-bpfcc"),
        ({"bcc": "0.18.0"}, "BCC", "0.26"),
    ],
)
def test_each_problem_alone_is_named_with_its_cure(results_of, changes, name, cure):
    results = results_of(judge_node(replace(SOUND, **changes)))
    assert results.failed == [name]
    assert cure in results[name].cure


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
def test_what_is_sufficient_is_ok(results_of, changes):
    assert results_of(judge_node(replace(SOUND, **changes))).of("ok") == results_of(judge_node(SOUND)).of("ok")


def test_a_refusal_for_lack_of_a_capability_is_attributed_to_that_alone(results_of):
    results = results_of(judge_node(replace(SOUND, ring_error=EPERM, seccomp=2, privileges=with_capabilities())))
    assert results.failed == ["capabilities"]
    assert results.of("skipped") == ["ring buffer"]


def test_a_lockdown_that_can_not_be_read_is_skipped(results_of):
    assert results_of(judge_node(replace(SOUND, lockdown=None))).of("skipped") == ["lockdown"]


def test_an_unknown_version_is_a_warning(results_of):
    assert results_of(judge_node(replace(SOUND, release="next"))).of("warn") == ["kernel"]


def test_any_user_can_check_this_machine(results_of):
    assert results_of(judge_node(read_node())).results[0].name == "kernel"
