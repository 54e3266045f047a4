"""Forks whose ids had been received before: are they the same forks? The same id with other content is a conflict.

The first content is kept, the other is counted with who sent it. A fork is compared only when its id is known already, so a
batch of new forks costs nothing. Read in this order: `repeats` (which forks came again) -> `content` (what is compared) ->
`comparison` (with the stored rows) -> `rows` (what is stored of conflicts).
"""
