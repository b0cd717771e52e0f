"""Needs what is not there."""

raise RuntimeError("needs libfoo 2")
