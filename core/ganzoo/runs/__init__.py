"""A training from command to directory: the loop, snapshots, states, plots. Imports evaluation and everything below.

Read `loop` first.
"""
