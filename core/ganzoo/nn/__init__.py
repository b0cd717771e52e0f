"""Arithmetic that several papers share; nothing here is registered. Imports `ganzoo.errors` and `ganzoo.types`.

Read `act` first.
"""
