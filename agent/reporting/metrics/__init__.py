"""What Prometheus is told: the state at the moment of a scrape, in names and labels by its conventions, bounded in number.

Must not live here: HTTP (status), where the numbers come from (reports).
"""

from agent.reporting.metrics.exposition import Exposition
from agent.reporting.metrics.measures import Measures, PodCounts, Reports, SinkMeasures

__all__ = ["Exposition", "Measures", "PodCounts", "Reports", "SinkMeasures"]
