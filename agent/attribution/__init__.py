"""Attributes forks: cgroup id -> container -> pod.

Two caches (cgroups of the kernel, pods of the Kubernetes API), one answer from both, and the enricher that adds it to forks. A
lookup never waits. This package must not know how an event is encoded, counted or sent.
"""
