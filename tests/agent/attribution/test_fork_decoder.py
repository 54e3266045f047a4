"""A raw record is decoded into the fields of a fork; what is unknown is None."""

import pytest

from agent.kernel.records import CHAIN, UNKNOWN_32, UNKNOWN_64
from agent.model import Attribution
from tests.agent.fakes import FakeAttributions, FakeWallClock, an_enricher

HOST = Attribution(1, "/init.scope", "host", None)


@pytest.fixture
def enricher():
    """On a node where every cgroup is the host's."""
    return an_enricher(
        FakeAttributions(lambda _cgroup: HOST), boot_key=0x0AC846B954B946DB, clock=FakeWallClock(1_000_000), wait_ns=0, most=0
    )


def one(enricher, raw):
    (fork,) = enricher.enrich(raw, 0)
    return fork


def test_a_fork_of_the_host_is_decoded_at_once_with_all_fields_of_the_record(enricher, records):
    fork = one(enricher, records.fork(9, time=123, cpu=3))
    assert (fork.sequence, fork.time, fork.cpu, fork.thread, fork.lag_ms) == (9, 1_000_123, 3, False, None)
    assert fork.child[:5] == (50, 5, 50, 5, 1_000_090)
    assert (fork.chain, fork.levels) == ((50, 5), 2)
    assert fork.parent_context.parent[:5] == fork.parent_context.parent_process[:5] == (40, 4, 40, 4, 1_000_080)
    assert (fork.parent_context.leader, fork.parent_context.comm, fork.parent_context.parent_comm) == (None, "sh", "bash")
    assert (fork.parent_context.uid, fork.parent_context.gid, fork.parent_context.namespaces) == (0, 0, tuple(range(11, 18)))
    assert (fork.attribution.state, fork.parent_attribution) == ("host", None)


def test_a_thread_has_a_leader_which_names_its_process(enricher, records):
    leader = (40, 4, 40, 4, 80)
    process = one(enricher, records.fork(1, child=leader, chain=(40, 4)))
    thread = one(
        enricher, records.fork(2, child=(51, 6, 40, 4, 95), kind=1, parent_context=records.parent_context(leader=leader))
    )
    assert thread.thread
    assert thread.parent_context.leader[:5] == (40, 4, 40, 4, 1_000_080)
    assert thread.child.entity == thread.parent_context.leader.entity == process.child.entity is not None


def test_a_process_id_depends_on_pid_and_start_only(enricher, records):
    children = [(50, 5, 50, 5, 90), (50, 6, 50, 6, 90), (51, 5, 51, 5, 90), (50, 5, 50, 5, 91)]
    names = [one(enricher, records.fork(1, child=child)).child.entity for child in children]
    assert names[0] == names[1]
    assert len(set(names)) == 3
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in names)


def test_a_parent_that_is_not_a_leader_has_no_process_id_of_its_own(enricher, records):
    fork = one(enricher, records.fork(1, parent_context=records.parent_context(parent=(44, 8, 40, 4, 80))))
    assert fork.parent_context.parent.entity is None
    assert fork.parent_context.parent_process.entity is not None


@pytest.mark.parametrize("levels", range(1, CHAIN + 1))
def test_a_chain_of_pids_is_complete_from_the_host_inwards(enricher, levels, records):
    chain = (50, *range(100, 98 + levels), 5)[:levels]
    fork = one(enricher, records.fork(1, chain=chain, levels=levels))
    assert (fork.chain, fork.levels) == (chain, levels)


@pytest.mark.parametrize("levels", [CHAIN + 1, 33])
def test_a_chain_that_is_too_deep_is_cut_and_keeps_its_true_depth(enricher, levels, records):
    fork = one(enricher, records.fork(1, chain=range(50, 50 + CHAIN), levels=levels))
    assert (fork.chain, fork.levels) == (tuple(range(50, 58)), levels)


def test_a_task_without_a_pid_structure_has_no_chain(enricher, records):
    assert one(enricher, records.fork(1, child=(50, UNKNOWN_32, 50, UNKNOWN_32, 90), chain=(), levels=0)).chain == ()


def test_fields_that_could_not_be_read_are_none(enricher, records):
    unknown = (UNKNOWN_32, UNKNOWN_32, UNKNOWN_32, UNKNOWN_32, UNKNOWN_64)
    parent_context = records.parent_context(
        unknown, unknown, unknown, UNKNOWN_64, comm=b"\xff" * 16, parent_comm=b"\xff" * 16,
        uid=UNKNOWN_32, gid=UNKNOWN_32, namespaces=[0] * 7,
    )  # fmt: skip
    fork = one(enricher, records.fork(1, child=unknown, chain=(UNKNOWN_32,) * 3, levels=3, parent_context=parent_context))
    nothing = (None,) * 6
    assert (
        fork.child == fork.parent_context.parent == fork.parent_context.parent_process == fork.parent_context.leader == nothing
    )
    assert fork.chain == (None,) * 3
    assert (
        fork.parent_context.comm,
        fork.parent_context.parent_comm,
        fork.parent_context.uid,
        fork.parent_context.gid,
        fork.parent_context.clone,
    ) == (None,) * 5
    assert fork.parent_context.namespaces == (None,) * 7


@pytest.mark.parametrize("hole", [1, 3, 4])
def test_one_unreadable_field_leaves_the_others_as_they_are(enricher, hole, records):
    child = [50, 5, 50, 5, 90]
    child[hole] = UNKNOWN_64 if hole == 4 else UNKNOWN_32
    fork = one(enricher, records.fork(1, child=child))
    expected = [50, 5, 50, 5, 1_000_090]
    expected[hole] = None
    assert list(fork.child[:5]) == expected


@pytest.mark.parametrize("child", [(UNKNOWN_32, 5, 50, 5, 90), (50, 5, UNKNOWN_32, 5, 90)])
def test_an_unknown_tid_or_pid_of_the_child_is_none(enricher, child, records):
    fork = one(enricher, records.fork(1, child=child))
    assert UNKNOWN_32 not in fork.child
    assert fork.child.entity is None


def test_an_unknown_number_in_a_short_chain_is_none(enricher, records):
    assert one(enricher, records.fork(1, child=(50, UNKNOWN_32, 50, UNKNOWN_32, 90), chain=(50, UNKNOWN_32))).chain == (
        50,
        None,
    )


def test_pid_0_and_uid_0_are_values(enricher, records):
    fork = one(enricher, records.fork(1, parent_context=records.parent_context(parent=(0, 0, 0, 0, 80))))
    assert fork.parent_context.parent[:4] == (0, 0, 0, 0)
    assert (fork.parent_context.uid, fork.parent_context.gid) == (0, 0)


@pytest.mark.parametrize(
    ("raw", "comm"),
    [
        (b"sh\0stale bytes\0\0", "sh"),
        (b"\0leftovers\0\0\0\0\0\0", ""),
        (b"fifteen-letters\0", "fifteen-letters"),
        (b"\xff" * 16, None),
        (b"caf\xe9\0", "caf\ufffd"),
        ("Käse".encode() + b"\0", "Käse"),
        (b'a"b\\\n\x1b\0', 'a"b\\\n\x1b'),
    ],
)
def test_a_comm_ends_at_its_first_nul_and_a_failed_read_is_none(enricher, raw, comm, records):
    assert one(enricher, records.fork(1, parent_context=records.parent_context(comm=raw))).parent_context.comm == comm


def test_clone_flags_are_decoded_to_names(enricher, records):
    flags = 0x00004000 | 0x20000000 | 0x100 | 17  # VFORK, NEWPID, VM, and SIGCHLD at the end
    assert set(one(enricher, records.fork(1, parent_context=records.parent_context(flags=flags))).parent_context.clone) == {
        "VFORK",
        "NEWPID",
        "VM",
    }
    assert one(enricher, records.fork(1, parent_context=records.parent_context(flags=17))).parent_context.clone == ()


def test_forks_of_one_task_share_their_parent_context_and_others_do_not(enricher, records):
    same = [one(enricher, records.fork(number)).parent_context for number in range(3)]
    other = one(enricher, records.fork(3, parent_context=records.parent_context(comm=b"ls\0"))).parent_context
    assert same[0] is same[1] is same[2] is not other


def test_the_number_of_cached_parent_contexts_is_bounded(enricher, records):
    raw = b"".join(
        records.fork(pid, parent_context=records.parent_context(parent=(pid, 1, pid, 1, 80))) for pid in range(10_000)
    )
    parents = [fork.parent_context.parent.tid for fork in enricher.enrich(raw, 0)]
    assert parents == list(range(10_000))
    assert len(enricher._decoder.parent_contexts) <= 2048
