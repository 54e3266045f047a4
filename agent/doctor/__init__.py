"""`forklore doctor`: what the agent needs, looked at from where the agent is or would be; each finding with its cure.

Reading and judging are apart: facts are values, and judgements are pure. Nothing here changes anything but what `--clean`
removes. Must not live here: the agent's own work.
"""
