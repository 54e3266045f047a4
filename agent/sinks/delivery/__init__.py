"""How a batch reaches its receiver, and what the response means for it.

This package must not know what is in an event or how items make a body.
"""
