"""One module per check of `forklore doctor`: it reads one thing and judges it. Judging is pure, and takes what was read."""
