"""The HTTP client of a collector."""
