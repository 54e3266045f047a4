"""Where forks go: an encoder (what a fork looks like there), a journal (what waits) and a sender (how it gets there), per sink.

A slow sink delays no other. Must not live here: whose a fork is, and counting that is not of a sink's own.
"""
