"""Views of what happened over time."""
