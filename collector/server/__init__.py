"""The HTTP server: routes, access, limits, responses."""
