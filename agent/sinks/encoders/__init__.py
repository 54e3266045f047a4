"""The schemas: what forks and events look like in each of them.

This package must not send anything, and must not know how items make a body.
"""
