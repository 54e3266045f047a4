"""The collector: receives events from agents, stores each once, and shows them per pod.

Read along the way of the data: `__main__` (settings, exit codes) -> `server` (routes, start and stop) -> `ingest` (a batch from
request to checked events) -> `store` (events -> rows, inserts) -> `query` (reads) -> `views` (rows -> what a response shows;
pure) -> `pages` and `api`. `model` holds the values that they pass, `http` what all handlers use. `.importlinter` has the
layers.

This package must not run on a node (BPF, cgroups, /proc, the Kubernetes API). It shares with the agent only `wire`.
"""
