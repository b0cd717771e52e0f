"""A projection of many images: pictures in, results and a report out. Imports the core and this plugin's search.

Read `job` first.
"""
