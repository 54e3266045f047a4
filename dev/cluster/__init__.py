"""`make cluster`: the rendered chart on a node with real containers, beside workloads whose forks are known.

`node/` is a node without a kubelet's control loops; `installation.py` starts the chart's pods there. tests/images use both.
"""
