"""The HTTP server that agent and collector both run: with bounds that hold before a request is read.

This package must not know a route, a token or an event. It is the one part of `wire` that does I/O.
"""
