"""The columns of the table that `make kernels` makes, and the tests that each column stands for.

Used inside the guest (which tests to run) and outside (their results).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["COLUMNS", "Column", "chosen"]

_PROGRAMS, _CAPTURE, _CONTAINERS, _FLOOD = (
    f"tests/kernel/test_{name}.py::test_" for name in ("programs", "capture", "containers", "cgroup_flood")
)


@dataclass(frozen=True)
class Column:
    """`tests`: in every row. `once`: in one row of each kernel, because no cgroup hierarchy changes them."""

    title: str
    tests: tuple[str, ...]
    once: tuple[str, ...] = ()


COLUMNS: Final = (
    Column("loads", (f"{_PROGRAMS}the_compiler_is_gone_when_the_programs_are_loaded",)),
    Column(
        "every field",
        (f"{_PROGRAMS}a_fork_has_the_values_of_proc_for_both_tasks",),
        (f"{_PROGRAMS}a_thread_names_its_leader_and_its_process", f"{_PROGRAMS}clone_flags_arrive_by_name"),
    ),
    Column(
        "= /proc/stat",
        (f"{_PROGRAMS}every_task_that_proc_stat_counts_is_counted",),
        (f"{_PROGRAMS}a_worker_of_io_uring_is_not_counted_as_a_fork",),
    ),
    Column(
        "cgroups created, attached to, removed",
        (f"{_PROGRAMS}a_cgroup_emits_events_of_its_creation_its_attached_tasks_and_its_removal",),
    ),
    Column(
        "pins, take-over",
        (f"{_CAPTURE}forks_made_without_an_agent_are_in_the_ring_for_the_next_one",),
        (
            f"{_CAPTURE}an_instance_that_the_journal_does_not_know_is_replaced_and_can_be_read_to_its_end",
            f"{_CAPTURE}a_clean_exit_leaves_no_pins",
        ),
    ),
    Column(
        "storm limit",
        (f"{_CAPTURE}a_pod_above_its_limit_is_only_counted_and_other_pods_lose_nothing",),
        (f"{_CAPTURE}cgroups_created_by_a_container_are_counted_in_the_container",),
    ),
    Column(
        "ancestors",
        (f"{_FLOOD}a_new_pod_is_tracked_by_the_kernel_itself_and_counts_what_is_inside_it",),
        (
            f"{_FLOOD}cgroups_outside_pods_count_for_their_ancestor_at_level_2_and_take_no_pods_place",
            f"{_FLOOD}when_the_kubelets_root_is_made_again_its_pods_count_for_themselves_at_once",
            f"{_FLOOD}of_the_tasks_attached_to_a_container_64_in_a_second_have_a_record_and_all_are_counted",
        ),
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
    """The tests of a row, for pytest's command line. `closely`: with those that run once for each kernel."""
    return [test for column in COLUMNS for test in (*column.tests, *(column.once if closely else ()))]
