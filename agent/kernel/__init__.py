"""The kernel's side of capture: loads the BPF programs, reads their ring buffers and counters, converts their times.

This package knows tasks, cgroup ids and numbers. It must not know pods and containers (agent.attribution), output formats
(agent.sinks) or settings.
"""
