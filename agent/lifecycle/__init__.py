"""One agent from its start to its end: what is built from the settings, what an earlier agent left, what is given up."""
