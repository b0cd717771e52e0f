"""A trained model: its file, loading, sampling, beginning from its weights. Imports gan and everything below.

Read `model` first.
"""
