"""The agent of one node: kernel -> identity -> enrich -> sinks, in the order of `pipeline.py`, where a newcomer starts.

Must not live here: anything that the collector needs, too (that is `wire`), and any view of the data (that is the collector's).
"""
