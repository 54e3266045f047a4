"""The JSON API for readers."""
