"""Questions to the store, as SQL."""
