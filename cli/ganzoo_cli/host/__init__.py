"""Console, options, drawing and processes for all commands; the only part of the command line that plugins may import.

Imports ganzoo, torch only when called. Read `console` first: results go to stdout, notes to stderr.
"""
