"""`make attack`: attacks on a real collector under the chart's memory limit, one after the other.

For each it prints what happened, what it cost the server and its other clients, and what was left afterwards. It reaches local
addresses only, is bounded in size and time, and ends what it starts. Read `__main__` first. It must not be part of the product.
"""
