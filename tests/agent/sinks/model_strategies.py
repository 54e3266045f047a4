"""Values of agent.model for the encoders' tests: hypothesis strategies for any values, and functions for plain ones."""

from hypothesis import strategies as st

from agent.model import Attribution, Container, Fork, ParentContext, Pod, Task

u32, u64, moments = st.integers(0, 2**32 - 2), st.integers(0, 2**64 - 2), st.integers(0, 4 * 10**18)
# Text that a container may choose: any result of decoding with replacement.
hostile = st.binary(max_size=40).map(lambda raw: raw.decode(errors="replace")) | st.sampled_from(
    ['"', "\\", '","uid":0,"x":"', "\n", "\r\n", "\u2028", "\x00", "\x7f", "</script>", "\U0001f525", "{}", "%s{0}", "\u202e"]
)
texts = st.none() | hostile
entities = st.integers(0, 2**64 - 1).map(lambda number: f"{number:016x}")


def tasks(known=False):
    maybe = u32 if known else st.none() | u32
    return st.builds(
        Task,
        maybe,
        maybe,
        maybe,
        maybe,
        moments if known else st.none() | moments,
        entities if known else st.none() | entities,
    )


parent_contexts = st.builds(
    ParentContext,
    parent=tasks(),
    parent_process=tasks(),
    leader=st.none() | tasks(),
    clone=st.none() | st.lists(st.sampled_from(["VM", "VFORK", "NEWPID"]), unique=True).map(tuple),
    comm=texts,
    parent_comm=texts,
    uid=st.none() | u32,
    gid=st.none() | u32,
    namespaces=st.tuples(*[st.none() | u32] * 7),
)
kinds = st.sampled_from(["app", "init", "sidecar", "ephemeral", "sandbox", None])
images = st.sampled_from(
    ["busybox", "a/b:1", "r:5000/a", "r:5000/a:1", "a@sha256:00", "a:1@sha256:00", "sha256:00", ":", "@", ""]
)
containers = st.builds(Container, hostile, texts, texts | images, texts, kinds, st.none() | st.just("containerd"))
workloads = st.tuples(st.sampled_from(["Deployment", "CronJob", "Job", "Node", "Rollout"]) | hostile, hostile)
pods = st.builds(
    Pod,
    uid=hostile,
    namespace=hostile,
    name=hostile,
    aliases=st.just(frozenset()),
    labels=st.dictionaries(hostile, hostile, max_size=3),
    workload=st.none() | workloads,
    service_account=texts,
    qos=texts,
    annotations=st.dictionaries(hostile, hostile, max_size=2),
)
attributions = st.builds(
    Attribution,
    cgroup=u64,
    path=texts,
    state=st.sampled_from(["resolved", "host", "unresolved"]),
    by=st.sampled_from(["status", "cgroup", "attach", "birth", "spec", "order", None]),
    pod_uid=texts,
    pod=st.none() | pods,
    container=st.none() | containers,
)


@st.composite
def forks(draw):
    """A fork as Enricher makes it: what the chain has of the child, the child has, too."""
    child = draw(tasks(known=True)) if draw(st.booleans()) else draw(tasks())._replace(entity=None)
    levels = draw(st.integers(0, 3) | st.integers(0, 33))
    middle = tuple(draw(u32) for _ in range(min(levels, 8) - 2))
    chain = {0: (), 1: (child.tid,), 2: (child.tid, child.ns_tid)}.get(levels, (child.tid, *middle, child.ns_tid))
    return Fork(
        draw(u64), draw(moments), draw(st.integers(0, 4095)), draw(st.booleans()), child, chain, levels, draw(parent_contexts),
        draw(attributions), draw(st.none() | attributions), draw(st.none() | st.integers(0, 60_000)), draw(u64),
    )  # fmt: skip


def a_task(number, start=10**18):
    return Task(number, number, number, number, start, f"{number:016x}")


def a_parent_context(**fields):
    usual = {
        "parent": a_task(40), "parent_process": a_task(40), "leader": None, "clone": (), "comm": "sh", "parent_comm": "sh",
        "uid": 0, "gid": 0, "namespaces": tuple(range(1, 8)),
    }  # fmt: skip
    return ParentContext(**(usual | fields))


def a_pod(**fields):
    usual = {
        "uid": "a87d9c0e", "namespace": "shop", "name": "cart-1", "aliases": frozenset(), "labels": {"app": "cart"},
        "workload": ("Deployment", "cart"), "service_account": "default", "qos": "Burstable",
    }  # fmt: skip
    return Pod(**(usual | fields))


def a_fork(**fields):
    attribution = Attribution(7, "/init.scope", "host", None)
    return Fork(1, 10**18, 0, False, a_task(50), (50, 50), 2, a_parent_context(), attribution, None, None, 7)._replace(**fields)
