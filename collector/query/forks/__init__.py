"""Questions for single forks."""
