"""Where forks were on their way: in the rings, waiting for their pods, and in the open batch of a sink."""

from __future__ import annotations

import struct
from array import array
from typing import Final, NamedTuple

import orjson

from agent.state_records.versions import VERSION, RecordError, check_version, raising_record_error, read_object

__all__ = ["OpenBatchRecord", "PositionRecord", "SinkFormatRecord", "WaitingForkRecord"]


class PositionRecord(NamedTuple):
    """How far a program instance's rings had been read: positions in bytes; `received`: forks taken out until then."""

    forks: int
    changes: int
    received: int

    def encode(self) -> bytes:
        return orjson.dumps({"version": VERSION, **self._asdict()})

    @classmethod
    @raising_record_error
    def decode(cls, raw: bytes) -> PositionRecord:
        fields = read_object(raw)
        return cls(fields["forks"], fields["changes"], fields["received"])


class WaitingForkRecord(NamedTuple):
    """A fork that waits for its pod. `since`: ns of the boot clock; `attached`: its task was moved to `cgroup` after the fork;
    `raw`: as the kernel wrote it."""

    since: int
    cgroup: int
    attached: bool
    raw: bytes

    def encode(self) -> bytes:
        return _WAITING.pack(self.since, self.cgroup, self.attached) + self.raw

    @classmethod
    @raising_record_error
    def decode(cls, raw: bytes) -> WaitingForkRecord:
        if len(raw) < _WAITING.size:
            raise RecordError(f"a waiting fork of {len(raw)} bytes")
        since, cgroup, flags = _WAITING.unpack_from(raw)
        check_version((flags >> 1) + 1)
        return cls(since, cgroup, flags & 1 == 1, raw[_WAITING.size :])


_WAITING: Final = struct.Struct("<QQB")  # since, cgroup, flags: bit 0 attached, the others the version less 1


class SinkFormatRecord(NamedTuple):
    """What a sink's bodies are like: its protocol, schema, framing and compression, in words. Only ever compared as a whole."""

    format: str

    def encode(self) -> bytes:
        return self.format.encode()

    @classmethod
    @raising_record_error
    def decode(cls, raw: bytes) -> SinkFormatRecord:
        return cls(raw.decode(errors="replace"))


class OpenBatchRecord(NamedTuple):
    """Items of a sink that are not yet a batch. `opened`: seconds of the wall clock; `cgroups`: as in model.Batch; `body`: the
    items in the sink's framing."""

    opened: float
    stream: str
    cgroups: array[int]
    body: bytes

    def encode(self) -> bytes:
        head = _OPEN_BATCH.pack(self.opened, self.stream.encode(), VERSION - 1, len(self.cgroups))
        return head + self.cgroups.tobytes() + self.body

    @classmethod
    @raising_record_error
    def decode(cls, raw: bytes) -> OpenBatchRecord:
        if len(raw) < _OPEN_BATCH.size:
            raise RecordError(f"an open batch of {len(raw)} bytes")
        opened, stream, version, count = _OPEN_BATCH.unpack_from(raw)
        check_version(version + 1)
        body_at = _OPEN_BATCH.size + 8 * count
        cgroups = array("Q", raw[_OPEN_BATCH.size : body_at])
        return cls(opened, stream.rstrip(b"\0").decode(), cgroups, raw[body_at:])


_OPEN_BATCH: Final = struct.Struct("<d63sBI")  # opened, stream, version less 1, number of items
