"""What the API and the pages show, made out of rows: pure functions over `collector.model`.

This package must not do I/O, contain SQL or HTML, or read a clock ("now" is an argument).
"""
