"""What the agent reports about itself: events of its own, status endpoints, metrics."""
