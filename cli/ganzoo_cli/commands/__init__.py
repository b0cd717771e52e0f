"""The commands that belong to no plugin."""
