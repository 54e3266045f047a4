"""Generators of documents and tables."""
