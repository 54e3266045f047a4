"""Names that an agent of another version has pinned, or will open: they never change."""

import json

from agent.kernel.meta import Meta, decode_meta, encode_meta
from agent.kernel.pins import ATTRIBUTIONS_PIN_1, COUNTERS_PIN_1, DISPATCH, MAP_PINS


def test_maps_keep_the_names_of_their_pins():
    assert DISPATCH == "dispatch"
    assert MAP_PINS == {
        "config": "map-config",
        "forks": "map-forks",
        "cgroup_events": "map-changes",
        "cpu_counters": "map-cpus",
        "storms": "map-storms",
        "over_budget": "map-budgets",
        "tracked": "map-tracked",
        "pod_counters": "map-pod-counters",
        "host_counters": "map-host-counters",
        "attach_windows": "map-attach-windows",
    }
    assert (COUNTERS_PIN_1, ATTRIBUTIONS_PIN_1) == ("map-tally", "map-subjects"), "of version 0.1"


# What version 0.1 wrote into the map `meta` of an instance that was upgraded.
VERSION_0_1 = (
    b'{"layout": 1, "slot": 256, "fingerprint": "0011223344556677", "epoch": "8899aabbccddeeff",'
    b' "boot_id": "b5a4e3d2-0000-4000-8000-000000000000", "ring_bytes": 16777216, "base": 8, "made": 123456789,'
    b' "attached": [10, 12], "stopped": [50, 51], "misses": [3, 4], "settled": true}'
).ljust(1024, b"\0")


def test_the_meta_of_version_0_1_is_read():
    meta = decode_meta(VERSION_0_1)
    assert meta == Meta(
        layout=1,
        slot=256,
        fingerprint="0011223344556677",
        instance_id="8899aabbccddeeff",
        boot_id="b5a4e3d2-0000-4000-8000-000000000000",
        ring_bytes=16777216,
        base=8,
        loaded_ns=123456789,
        attached=(10, 12),
        stopped=(50, 51),
        misses=(3, 4),
        all_delivered=True,
    )


def test_the_meta_is_written_as_version_0_1_reads_it():
    meta = decode_meta(VERSION_0_1)
    assert json.loads(encode_meta(meta).rstrip(b"\0")) == json.loads(VERSION_0_1.rstrip(b"\0"))


def test_the_meta_says_when_its_programs_do_not_share_the_ring():
    meta = decode_meta(VERSION_0_1)
    assert meta.shares_ring
    without = Meta(**{**vars(meta), "shares_ring": False})
    assert decode_meta(encode_meta(without)) == without
