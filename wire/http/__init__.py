"""The HTTP server that agent and collector both run: bounded before anything of a request is believed.

This package must not know a route, a token or an event. It is the one part of `wire` that does I/O.
"""
