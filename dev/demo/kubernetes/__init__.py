"""A stand-in Kubernetes API server."""
