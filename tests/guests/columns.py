"""What `make kernels` shows of a kernel: the columns of its table, and the tests that each stands for.

Read inside the guest (which tests to run) and outside (what came of them). Must not live here: running, drawing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["COLUMNS", "Column", "chosen"]

_PROBE, _CAPTURE, _CONTAINERS = (f"tests/kernel/test_{name}.py::test_" for name in ("probe", "capture", "containers"))


@dataclass(frozen=True)
class Column:
    """`tests`: in every row. `once`: only where the kernel is looked at closely, for no cgroup hierarchy changes them."""

    title: str
    tests: tuple[str, ...]
    once: tuple[str, ...] = ()


COLUMNS: Final = (
    Column("loads", (f"{_PROBE}the_compiler_is_gone_when_the_probe_is_open",)),
    Column(
        "every field",
        (f"{_PROBE}a_fork_carries_what_proc_says_of_both_sides",),
        (f"{_PROBE}a_thread_names_its_leader_and_its_process", f"{_PROBE}clone_flags_arrive_by_name"),
    ),
    Column(
        "= /proc/stat",
        (f"{_PROBE}every_task_that_proc_stat_counts_is_counted",),
        (f"{_PROBE}a_worker_that_io_uring_makes_is_told_apart_from_a_fork",),
    ),
    Column("cgroups born, entered, dead", (f"{_PROBE}a_cgroup_tells_of_its_birth_its_entrants_and_its_death",)),
    Column(
        "pins, take-over",
        (f"{_CAPTURE}what_was_forked_while_nobody_was_there_lies_in_the_ring",),
        (
            f"{_CAPTURE}a_probe_whose_history_nobody_knows_is_put_out_of_charge_and_can_be_read_to_its_end",
            f"{_CAPTURE}a_clean_end_leaves_nothing_behind",
        ),
    ),
    Column(
        "storm limit",
        (f"{_CAPTURE}above_its_limit_a_pod_is_only_counted_and_others_lose_nothing",),
        (f"{_CAPTURE}what_a_container_makes_below_itself_counts_for_the_container",),
    ),
    Column("23 of 23 (runc)", (f"{_CONTAINERS}23_forks_are_23_events_with_the_pids_that_the_container_saw",)),
    Column(
        "ledger",
        (f"{_CONTAINERS}the_last_ledger_accounts_for_every_fork",),
        (f"{_CONTAINERS}a_pid_namespace_inside_the_pod_shows_its_whole_chain_host_first",),
    ),
    Column("two capabilities", (), ("tests/kernel/test_capabilities.py",)),
)


def chosen(*, closely: bool) -> list[str]:
    """The tests of a row, for pytest's command line."""
    return [test for column in COLUMNS for test in (*column.tests, *(column.once if closely else ()))]
