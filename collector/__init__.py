"""The collector: hears what agents say, files each event once, and shows it per pod.

Read in the way of the data: `__main__` (settings, exit codes) -> `server` (the doors; `runner` is aiohttp made silent) ->
`intake` (one batch, from request to receipt) -> `bodies` (bytes, limits) -> `ingest` (lines -> checked events, by `kinds`,
`subjects`, `fields`) -> `store` (all the SQL; `runs` is its arithmetic) -> `views` (rows -> answers; pure) -> `pages`, and the
API: `readers` (pods, trees, timelines), `search` and `exports` (forks, as JSON and as files), `stream` (forks as they come),
all of which are asked in the words of `questions`. `rows` holds the nouns that they pass; `access` (who may, by `tokens`),
`places` (how much), `metrics` and `answers` stand by the doors.

Must not live here: anything that runs on a node (BPF, cgroups, /proc, the Kubernetes API). The agent is met in `wire` only.
"""
