"""`make attack`: attacks on a real agent and a real collector under the chart's memory limits, one after the other.

For each it prints what happened, what it cost the attacked and those beside it, and what was left afterwards. It reaches local
addresses only, is bounded in size and time, and ends what it starts. Read `__main__` first. It must not be part of the product.
"""
