"""One agent from its start to its end: startup, the loop, recovery of what earlier agents left, shutdown, privileges.

This package must not decode, attribute, encode or send forks: it opens and drives the parts that do.
"""
