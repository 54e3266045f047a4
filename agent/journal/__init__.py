"""What must outlive the agent: batches that wait for their sinks, accounts, and the state of other packages. One SQLite file.

Changes are staged in memory and written by one `commit` in one transaction, so a kill at any step leaves the last commit.
Errors of the disk are reported and counted, and stop nothing. This package must not know HTTP, the encoding of a batch, or what
the bytes in a state table mean.
"""

from agent.journal.errors import JournalTaken
from agent.journal.journal import Journal
from agent.journal.queue import Queue

__all__ = ["Journal", "JournalTaken", "Queue"]
