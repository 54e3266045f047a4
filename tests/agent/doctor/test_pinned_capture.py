"""Pins: of a running agent, left behind, of another version; and where nothing can be pinned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agent.doctor.checks.locks import LockOwner
from agent.doctor.checks.pinned_capture import Pinned, PinnedInstance, judge_pinned, read_pinned
from agent.doctor.clean import clean

FOLDER = Path("/sys/fs/bpf/forklore")
NOTHING_PINNED = Pinned(FOLDER, is_bpffs=True, default_mounted=True, can_mount=True, error=None)
INSTANCE = PinnedInstance("9f3c51d2a7e04b68", loaded_at=1_795_000_000.0, current=True, sends_events=True, pending=1234)


def test_where_nothing_is_pinned_the_result_is_ok(results_of):
    results = results_of(judge_pinned(NOTHING_PINNED))
    assert results.of("ok") == ["BPF file system", "pins"]
    assert "none in /sys/fs/bpf/forklore" in results["pins"].text


def test_the_pins_of_a_running_agent_are_in_use(results_of):
    results = results_of(
        judge_pinned(replace(NOTHING_PINNED, lock_owner=LockOwner(812), dispatcher=True, instances=(INSTANCE,)))
    )
    assert results.of("ok") == ["BPF file system", "pins"]
    assert "process 812" in results["pins"].text
    assert "of this version, loaded 2026-11-18" in results["pins"].text
    assert "1,234 forks in its ring" in results["pins"].text


@pytest.mark.parametrize(
    ("instance", "text"),
    [
        (INSTANCE, "sends events; 1,234 forks in its ring"),
        (replace(INSTANCE, sends_events=False, orphaned=70_000), "only counts; 1,234 forks in its ring, 70,000 counted"),
        (replace(INSTANCE, current=False), "of another version or other settings"),
        (
            PinnedInstance("9f3c51d2a7e04b68", pending=77, error="of layout 2"),
            "can't be read (of layout 2); 77 forks in its ring",
        ),
        (PinnedInstance("9f3c51d2a7e04b68", error="Operation not permitted"), "can't be read (Operation not permitted)"),
    ],
)  # fmt: skip
def test_an_instance_that_was_left_behind_is_described_with_both_cures(results_of, instance, text):
    result = results_of(judge_pinned(replace(NOTHING_PINNED, dispatcher=True, instances=(instance,))))["pins"]
    assert result.verdict == "warn"
    assert text in result.text
    assert "start an agent" in result.cure and "--clean" in result.cure


def test_dispatch_programs_without_an_instance_are_reported_too(results_of):
    assert results_of(judge_pinned(replace(NOTHING_PINNED, dispatcher=True))).of("warn") == ["pins"]


@pytest.mark.parametrize(
    ("changes", "verdict", "text"),
    [
        ({"is_bpffs": False, "default_mounted": False}, "ok", "the agent mounts it"),
        ({"is_bpffs": False, "default_mounted": False, "can_mount": False}, "warn", "mount -t bpf bpf /sys/fs/bpf"),
        ({"is_bpffs": False, "default_mounted": True}, "warn", "mount -t bpf bpf /sys/fs/bpf"),
        ({"is_bpffs": False, "default_mounted": False, "folder": Path("/run/forklore/pins")}, "warn", "capture.pin: null"),
        ({"error": "Permission denied"}, "warn", "AppArmor"),
    ],
)
def test_where_nothing_can_be_pinned_the_result_says_what_to_do(results_of, changes, verdict, text):
    result = results_of(judge_pinned(replace(NOTHING_PINNED, **changes)))["BPF file system"]
    assert result.verdict == verdict
    assert text in (result.cure or result.text)


def test_an_ordinary_folder_is_no_bpf_file_system(tmp_path):
    pinned = read_pinned(tmp_path / "pins/deep", None, can_mount=True)
    assert not pinned.is_bpffs
    assert not [*tmp_path.iterdir()], "reading creates nothing"


def test_there_is_nothing_to_clean_where_nothing_can_be_pinned(tmp_path, capsys):
    assert clean(tmp_path / "pins", yes=False) == 0
    assert clean(None, yes=False) == 0
    assert "nothing is pinned in" in capsys.readouterr().out
