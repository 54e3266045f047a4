"""The agent's metrics for Prometheus: the state at the moment of a scrape, with names and labels by its conventions.

This package must not know HTTP, nor where the numbers come from.
"""

from agent.reporting.metrics.exposition import Exposition
from agent.reporting.metrics.measures import Measures, PodCounts, Reports, SinkMeasures

__all__ = ["Exposition", "Measures", "PodCounts", "Reports", "SinkMeasures"]
