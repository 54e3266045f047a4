"""A CA of the installation's own, and the certificates that it signs: `forklore collector certificates`.

Must not know the collector's settings or store. Only `places` does I/O.
"""
