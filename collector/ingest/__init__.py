"""`POST /v1/events`: bodies, lines, checks."""
