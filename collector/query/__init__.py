"""Reading the store: a module for each question, with its statement, its typed row and its function.

`reader` is what the API and the pages use. This package must not write, and must not make JSON: the views do.

A table may hold a row twice until its parts merge. Each query must count it once: `FINAL`, or `GROUP BY` with the columns' own
aggregates. `fork` is partitioned by `received`, and parts of two partitions never merge, so that a fork that came twice may
stay twice: each query of `fork` drops duplicates by stream, cpu and sequence itself (`forks/rows.newest` is one way).
"""

from collector.query.forks.received import ReceivedForks
from collector.query.reader import Sizes, StoreReader

__all__ = ["ReceivedForks", "Sizes", "StoreReader"]
