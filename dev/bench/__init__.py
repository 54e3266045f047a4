"""What forklore costs, beside other ways of doing the same, in one run: `make bench`.

Timings live here and in no test. Ratios within a run can be trusted on a noisy machine; single times can't.
"""
