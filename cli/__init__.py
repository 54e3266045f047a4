"""The `forklore` command, and its terminal views of a collector: `forklore top`, `tree` and `tail`.

`cli.client` reads the collector over HTTP; pure modules in `cli.text` and `cli.top` turn its answers into text, and pass every
name through `wire.names.visible`. Only the screens of `top` import Textual. The views must not import the agent's or the
collector's code.
"""
