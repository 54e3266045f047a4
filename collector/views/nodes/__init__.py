"""Views of nodes and of the ledger."""
