"""One module per check of `forklore doctor`: reads one thing and judges it."""
