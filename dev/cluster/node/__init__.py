"""A node: containerd, and what a kubelet requests from it. It must not know the chart or the agent."""
