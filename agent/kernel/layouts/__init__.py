"""How the maps of a program instance are read and written, whichever layout it has (agent.kernel.meta).

This package must not know pods, paths or rings.
"""
