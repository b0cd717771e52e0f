"""Files and networks of other projects, read without running anything in them. Imports io and interfaces.

Read `torchfile` first.
"""
