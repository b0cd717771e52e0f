"""Files, images, films and logs; nothing here knows what a GAN is. Imports `ganzoo.errors` only.

Read `files` first: a file is whole or absent, whatever interrupts its writing.
"""
