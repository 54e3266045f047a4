"""Batches of events: from the request to checked rows for the store, and the receipt.

Read in this order: `endpoint` (HTTP) -> `bodies` (decompression, limits) -> `lines` (NDJSON) -> `kinds`, `attribution`,
`fields` (checks). This package must not hold SQL.
"""
