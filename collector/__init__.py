"""The collector: hears what agents say, files each event once, and shows it per pod.

Read in the way of the data: `__main__` (settings, exit codes) -> `server` (the doors) -> `intake` (one batch, from request to
receipt) -> `bodies` (bytes, limits) -> `ingest` (lines -> checked events, by `kinds`, `subjects`, `fields`) -> `store` (all
the SQL; `runs` is its arithmetic) -> `views` (rows -> answers; pure) -> `pages`. `rows` holds the nouns that they pass;
`tokens`, `metrics` and `answers` stand by the doors.

Must not live here: anything that runs on a node (BPF, cgroups, /proc, the Kubernetes API). The agent is met in `wire` only.
"""
