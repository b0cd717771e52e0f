"""Editing: style codes changed, mixed and walked through. Commands only; no component is registered."""
