"""Sinks: each selects and encodes forks, collects them in batches, and sends these to its receiver.

A slow sink delays no other. This package must not attribute forks, and must not count anything that is not of one sink.
"""
