"""What the agent says and the collector hears: events, batches, ids, and golden examples of each.

The one place where the two meet. Pure: no I/O, no clock, no threads, and nothing of the kernel, of Kubernetes or of a store.
"""

VERSION = "0.1.0"
