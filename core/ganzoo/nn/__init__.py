"""Arithmetic that several papers share. Nothing here is registered; plugins wrap it in components."""
