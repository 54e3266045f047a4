"""How a batch reaches its receiver, and what the answer means."""
