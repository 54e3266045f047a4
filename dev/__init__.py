"""What developers use: the demo, benchmarks, set-up scripts, generators of documents. Not part of any image."""
