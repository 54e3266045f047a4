"""Benchmarks: the cost of forklore beside other programs' in one run, `make bench`.

Timings are measured here and in no test. On a noisy machine the ratios within one run are reliable; single times are not.
"""
