"""Commands that belong to no plugin, one file each. They import ganzoo and `ganzoo_cli.host`, mostly when called.

Read `ckpt` first: it is short, and the others have the same form.
"""
