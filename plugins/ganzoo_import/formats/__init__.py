"""Formats of other projects, one module each. Read `rosinality` first."""
