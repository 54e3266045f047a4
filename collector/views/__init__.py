"""Answers out of rows: what a pod forked, what a node's ledger says, what the page shows.

Pure functions over `collector.model`; "now" is an argument. Must not live here: I/O, SQL, the clock, HTML.
"""
