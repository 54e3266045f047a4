"""A fork's record out of the ring, and the line that is made of it: comm and cgroup are a container's choice."""

import orjson

from agent.attribution.fork_decoder import ForkDecoder, RecordLayout
from agent.kernel.records import CHAIN, FORK, NUMBERS, PARENT_CONTEXT
from agent.model import Attribution
from agent.sinks.encoders.native import NativeEncoder
from tests.agent.conftest import Records
from tests.agent.fakes import FakeWallClock

COVERS = ["agent.attribution.fork_decoder", "agent.sinks.encoders.native"]
SEEDS = [
    Records().fork(9, time=123, cpu=3),
    Records().fork(2, child=(51, 6, 40, 4, 95), kind=1, parent_context=Records().parent_context(leader=(40, 4, 40, 4, 80))),
    Records().fork(3, chain=(50, *range(CHAIN - 1)), levels=33, parent_context=Records().parent_context(flags=2**64 - 1)),
    Records().fork(4, parent_context=Records().parent_context(comm=b"\x01<b>\"\n\xff'\0", uid=2**32 - 1)),
]
LAYOUT = RecordLayout(FORK.size, FORK.iter_unpack, PARENT_CONTEXT.unpack, NUMBERS.unpack)
HOST = Attribution(1, "/init.scope", "host", None)
STREAM = "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68"


def check(data):
    decoder = ForkDecoder(LAYOUT, 0x0AC846B954B946DB, FakeWallClock(1_000_000))
    raw = bytes(data)[: 4 * FORK.size]
    raw += b"\0" * (-len(raw) % FORK.size)
    forks = [decoder.fork(record, HOST, None, 0) for record in FORK.iter_unpack(raw)]
    for fork, line in zip(forks, NativeEncoder("demo", "node1").forks(STREAM, forks), strict=True):
        assert "\n" not in line and len(line) < 4096
        event = orjson.loads(line)
        assert event["id"] == f"{STREAM}.{fork.cpu}.{fork.sequence}"
        assert event["comm"] == fork.parent_context.comm
        for name, value in (("child_pid", fork.child.pid), ("child_tid", fork.child.tid)):
            assert event[name] == value
