"""Forks on a terminal: `forklore top`, `tree` and `tail`, which ask a collector over HTTP as anyone may.

`collector.py` is the one speaker to it; what it says becomes text in pure modules (`words`, `forks`, `lineage`, `top.rows`),
where every name passes `wire.names.visible`. Textual is imported by `top` alone. Must not live here: anything of the
collector's own code; the two meet in HTTP.
"""
