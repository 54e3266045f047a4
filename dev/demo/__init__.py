"""The whole product on one machine: real containers, a stand-in Kubernetes API, and forklore's own commands as processes.

`containers` and `kubernetes_api` serve the tests, too. Nothing of agent or collector is imported here: the demo starts them as
a user does, and reads their HTTP endpoints.
"""
