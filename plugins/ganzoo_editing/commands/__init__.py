"""The commands of editing (edit, mix, walk), and `workbench`, which they share.

They import `ganzoo_cli.host`. Read `walk` first.
"""
