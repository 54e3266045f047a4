"""The HTTP server of the collector: it puts the parts together, adds the routes, and starts and stops.

This package must not hold what a single route answers (`collector.api`, `collector.pages`, `collector.ingest`).
"""
