"""The numbers that each stream gave out, which of them were received, and what is known of the others."""
