"""What must outlive the agent: bodies that wait for their sinks, accounts, other rooms' small state. One SQLite file.

Everything is staged in memory and saved by one `commit` in one transaction; a kill at any step leaves what some commit left.
Trouble of the disk is said and counted, and stops nothing. Must not live here: HTTP, encoding, what a shelf's bytes mean.
"""

from agent.journal.directory import JournalTaken
from agent.journal.journal import Journal
from agent.journal.queue import Queue

__all__ = ["Journal", "JournalTaken", "Queue"]
