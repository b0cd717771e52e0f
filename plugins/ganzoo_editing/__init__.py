"""Editing: style codes changed, mixed and walked through. Commands only; no component is registered.

Its commands may import `ganzoo_cli.host`; the rest imports the core. Read `style_codes` first.
"""
