"""What agent, collector and commands share: events, batches, ids, golden examples, and how values are written and read.

This package is pure, except `wire.http`: it must not do I/O, read a clock, start threads, or know the kernel, Kubernetes or a
store.
"""

VERSION = "0.1.0"
