"""What the agent reports of itself: its own events, ledger, status endpoints and metrics.

This package must not change what it reports of; the parts count, and it reads the counts.
"""
