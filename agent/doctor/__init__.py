"""`forklore doctor`: checks what the agent needs on this node, and says what to do about what is missing. `forklore sinks
test`: sends one marked event to each sink.

This package must not change anything on the node, except for what `--clean` removes.
"""
