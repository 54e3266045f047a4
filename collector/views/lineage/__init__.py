"""Who forked whom: processes as trees, and pairs of names."""
