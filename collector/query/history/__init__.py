"""What a pod did in a span of time."""
