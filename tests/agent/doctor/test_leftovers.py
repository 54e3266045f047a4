"""Pins: an agent's at work, an orphan's, another version's; and where there can be none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agent.doctor.checks.locks import Holder
from agent.doctor.checks.pinned_capture import Left, Pinned, judge_pinned, read_pinned
from agent.doctor.clean import clean

FOLDER = Path("/sys/fs/bpf/forklore")
NONE = Pinned(FOLDER, is_bpffs=True, standard=True, can_mount=True, trouble=None)
PROBE = Left("9f3c51d2a7e04b68", made=1_795_000_000.0, same=True, telling=True, pending=1234)


def test_where_nothing_is_pinned_all_is_well(said):
    findings = said(judge_pinned(NONE))
    assert findings.of("ok") == ["BPF file system", "pins"]
    assert "none in /sys/fs/bpf/forklore" in findings["pins"].text


def test_an_agent_s_pins_are_in_use(said):
    findings = said(judge_pinned(replace(NONE, holder=Holder(812), dispatcher=True, probes=(PROBE,))))
    assert findings.of("ok") == ["BPF file system", "pins"]
    assert "process 812" in findings["pins"].text
    assert "of this version since 2026-11-18" in findings["pins"].text
    assert "1,234 forks lie in its ring" in findings["pins"].text


@pytest.mark.parametrize(
    ("probe", "words"),
    [
        (PROBE, "tells; 1,234 forks lie in its ring"),
        (replace(PROBE, telling=False, orphaned=70_000), "only counts; 1,234 forks lie in its ring, 70,000 were counted"),
        (replace(PROBE, same=False), "of another version or other settings"),
        (Left("9f3c51d2a7e04b68", pending=77, trouble="of layout 2"), "can't be read (of layout 2); 77 forks lie in its ring"),
        (Left("9f3c51d2a7e04b68", trouble="Operation not permitted"), "can't be read (Operation not permitted)"),
    ],
)  # fmt: skip
def test_what_was_left_behind_is_described_with_both_cures(said, probe, words):
    finding = said(judge_pinned(replace(NONE, dispatcher=True, probes=(probe,))))["pins"]
    assert finding.verdict == "warn"
    assert words in finding.text
    assert "start an agent" in finding.cure and "--clean" in finding.cure


def test_hooks_without_a_probe_are_left_behind_too(said):
    assert said(judge_pinned(replace(NONE, dispatcher=True))).of("warn") == ["pins"]


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({"is_bpffs": False, "standard": False}, "ok", "the agent mounts it"),
        ({"is_bpffs": False, "standard": False, "can_mount": False}, "warn", "mount -t bpf bpf /sys/fs/bpf"),
        ({"is_bpffs": False, "standard": True}, "warn", "mount -t bpf bpf /sys/fs/bpf"),
        ({"is_bpffs": False, "standard": False, "folder": Path("/run/forklore/pins")}, "warn", "capture.pin: null"),
        ({"trouble": "Permission denied"}, "warn", "AppArmor"),
    ],
)
def test_where_nothing_can_be_pinned_it_says_what_that_means(said, changes, verdict, words):
    finding = said(judge_pinned(replace(NONE, **changes)))["BPF file system"]
    assert finding.verdict == verdict
    assert words in (finding.cure or finding.text)


def test_an_ordinary_folder_is_no_bpf_file_system(tmp_path):
    pinned = read_pinned(tmp_path / "pins/deep", None, can_mount=True)
    assert not pinned.is_bpffs
    assert not [*tmp_path.iterdir()], "looking makes nothing"


def test_there_is_nothing_to_clean_where_nothing_can_be_pinned(tmp_path, capsys):
    assert clean(tmp_path / "pins", yes=False) == 0
    assert clean(None, yes=False) == 0
    assert "nothing is pinned in" in capsys.readouterr().out
