"""The JSON API for readers: query parameters in, answers of the shapes in `wire.api` out.

This package must not decide what an answer holds (`collector.views` does), and must not contain SQL.
"""
