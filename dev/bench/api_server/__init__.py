"""What API servers see of agents, measured and simulated."""
