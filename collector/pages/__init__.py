"""The HTML pages: pods, a pod, a workload, nodes, a node, the ledger, the search.

A page keeps itself up to date by fetching its own address again whenever /v1/stream reports something new. This package must
not decide what a page shows (`collector.views` does), and its Python must not contain HTML (`templates/` does).
"""
