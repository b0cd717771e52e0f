"""A training from the command to its directory: loop, snapshots, states, plots. Imports evaluation and below.

Read `loop` first: it trains, reports and keeps. `api` is the interface for Python users.
"""
