"""Names that an agent of another version has pinned, or will open: they never change."""

from agent.kernel.pins import DISPATCH, MAP_PINS


def test_maps_keep_the_names_of_their_pins():
    assert DISPATCH == "dispatch"
    assert MAP_PINS == {
        "config": "map-config",
        "forks": "map-forks",
        "cgroup_events": "map-changes",
        "cgroup_counters": "map-tally",
        "cpu_counters": "map-cpus",
        "cgroup_attributions": "map-subjects",
        "storms": "map-storms",
    }
