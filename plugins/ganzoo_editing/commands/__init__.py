"""The commands of editing: edit, mix, walk."""
