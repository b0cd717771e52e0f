"""Files that are whole, pictures, what is said: nothing here knows what a GAN is. Imports `ganzoo.errors`.

Read `files` first.
"""
