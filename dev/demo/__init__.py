"""The whole product on one machine: real containers, a fake Kubernetes API, and forklore's own commands as child processes.

The tests use `containers` and `kubernetes`, too. This package must not import agent or collector, except for
`agent.kernel.pins`: it starts them as a user does, and reads their HTTP.
"""
