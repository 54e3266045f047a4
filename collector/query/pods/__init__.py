"""Questions about pods, and about their counter sources and the hosts'."""
