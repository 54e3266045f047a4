"""The agent of one node: kernel -> attribution -> sinks -> journal -> collector. `pipeline.py` is the place to start reading.

This package must not have what the collector needs, too (that is `wire`), nor any view of the data (that is the collector's).
"""
