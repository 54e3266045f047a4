"""The kernel door: loads the probe, drains its rings, reads its tally, tells its time.

Knows tasks, cgroup ids and numbers. Must not live here: paths, pods and names (identity), JSON (sinks), settings.
"""
