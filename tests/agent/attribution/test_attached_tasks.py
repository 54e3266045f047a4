"""Tasks that were moved into a container are known for as long as their forks need it."""

from agent.attribution.attached_tasks import AttachedTasks

SECOND = 10**9


def test_an_attached_task_has_the_cgroup_that_it_was_moved_to():
    attached_tasks = AttachedTasks()
    attached_tasks.add(50, 90, 7, 100)
    assert attached_tasks.cgroup_of(50, 90) == 7


def test_a_reused_tid_is_another_task():
    attached_tasks = AttachedTasks()
    attached_tasks.add(50, 90, 7, 100)
    assert attached_tasks.cgroup_of(50, 91) is None
    assert attached_tasks.cgroup_of(51, 90) is None


def test_the_last_move_counts():
    attached_tasks = AttachedTasks()
    attached_tasks.add(50, 90, 7, 100)
    attached_tasks.add(50, 90, 8, 200)
    assert attached_tasks.cgroup_of(50, 90) == 8


def test_old_moves_are_forgotten():
    attached_tasks = AttachedTasks()
    attached_tasks.add(50, 90, 7, 0)
    attached_tasks.add(51, 91, 7, 20 * SECOND)
    assert (attached_tasks.cgroup_of(50, 90), len(attached_tasks)) == (None, 1)


def test_the_number_of_attached_tasks_is_bounded():
    attached_tasks = AttachedTasks()
    for tid in range(50_000):
        attached_tasks.add(tid, 90, 7, 100)
    assert len(attached_tasks) <= 10_000
    assert attached_tasks.cgroup_of(49_999, 90) == 7
