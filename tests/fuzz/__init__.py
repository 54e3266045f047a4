"""Fuzz targets: one module for each kind of foreign bytes, with `SEEDS` (real inputs) and `check(data)`.

`check` asserts what is so of every input: no error but the parser's own, output and steps bounded by the input's size, what an
encoder makes comes back, and no control characters in messages. `python -m tests.fuzz TARGET` runs one under atheris, libFuzzer
for Python: it is the only engine here that is guided by the coverage of Python and of its libraries in C, and keeps a corpus.
"""
