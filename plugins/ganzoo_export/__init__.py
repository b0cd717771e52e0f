"""Networks of a checkpoint for other programs. A command only; no component is registered.

It imports the core; its command imports `ganzoo_cli.host`. Read `export` first.
"""
