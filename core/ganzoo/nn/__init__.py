"""Arithmetic that several papers share, as functions and modules; nothing here is registered.

Imports `ganzoo.errors` and `ganzoo.types`. Read `act` first, then `equal` (equalized layers) and `resample` (filters).
"""
