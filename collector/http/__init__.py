"""What every handler of an HTTP request uses: who may ask, how much, the checks of query parameters, responses, metrics.

This package must not read the store and must not know a route.
"""
