"""What is stored beside a program instance's maps, for the next agent: one JSON object in a map of its own, `meta`.

The JSON keys never change: an agent reads what the version before it wrote.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final, NamedTuple

from agent.kernel.maps import BpfMap

__all__ = ["LAYOUT", "META_BYTES", "Meta", "RingMeta", "decode_meta", "encode_meta", "read_ring_meta"]

LAYOUT: Final = 2  # of records, counters and configuration
LAYOUTS: Final = frozenset({1, LAYOUT})  # what this code can read
META_BYTES: Final = 1024
_FIRST: Final = bytes(4)
# Fields whose JSON key is another word.
_KEYS: Final = {"instance_id": "epoch", "loaded_ns": "made", "all_delivered": "settled"}


@dataclass(frozen=True)
class Meta:
    """One load of the BPF programs.

    `slot`: bytes of a fork's record with its header. `fingerprint`: of the sources and options. `instance_id`: 64 random bits,
    in hex. `base`: its half of the dispatcher's slots. `loaded_ns`: CLOCK_BOOTTIME. `attached`, `stopped`: /proc/stat's
    `processes` just before and just after it became active, and just before and just after it stopped. `misses`: how many runs
    the kernel had skipped at those two moments. `all_delivered`: its last agent had delivered all that it read when it exited.
    `shares_ring`: its programs learn how full the ring is, and share a ring that fills. Written only where it is False: release
    0.1 reads no other keys.
    """

    layout: int
    slot: int
    fingerprint: str
    instance_id: str
    boot_id: str
    ring_bytes: int
    base: int
    loaded_ns: int
    attached: tuple[int, int] = (0, 0)
    stopped: tuple[int, int] | None = None
    misses: tuple[int, int | None] = (0, None)
    all_delivered: bool = False
    shares_ring: bool = True

    @property
    def stream(self) -> str:
        """The wire's name of this instance's numbers."""
        return f"{self.boot_id}.{self.instance_id}"


class RingMeta(NamedTuple):
    """The part of `meta` that every layout has."""

    stream: str
    ring_bytes: int
    slot: int


def encode_meta(meta: Meta) -> bytes:
    """META_BYTES bytes."""
    items = {_KEYS.get(name, name): value for name, value in asdict(meta).items()}
    if meta.shares_ring:
        del items["shares_ring"]
    return json.dumps(items).encode().ljust(META_BYTES, b"\0")


def decode_meta(raw: bytes) -> Meta:
    """Raises ValueError: this code cannot read the instance."""
    try:
        items = json.loads(raw.rstrip(b"\0"))
        fields = {name: items.pop(key) for name, key in _KEYS.items()}
        pairs = {"attached": tuple(items["attached"]), "misses": tuple(items["misses"])}
        stopped = items["stopped"] and tuple(items["stopped"])
        meta = Meta(**{**items, **fields, **pairs, "stopped": stopped})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"its meta is not readable: {raw[:80]!r}") from error
    if meta.layout not in LAYOUTS:
        raise ValueError(f"its records have layout {meta.layout}, and this version reads layouts 1 and {LAYOUT}")
    return meta


def read_ring_meta(descriptor: int) -> RingMeta:
    """Of an instance of any layout. Raises OSError, ValueError, TypeError or KeyError."""
    items = json.loads((BpfMap(descriptor, 4, META_BYTES, 1).get(_FIRST) or b"").rstrip(b"\0"))
    return RingMeta(f"{items['boot_id']}.{items[_KEYS['instance_id']]}", int(items["ring_bytes"]), int(items["slot"]))
