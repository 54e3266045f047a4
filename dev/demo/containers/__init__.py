"""Real containers, started by runc, and their removal."""
