"""A trained model: its file, loading, sampling, and training that starts from its weights. Imports gan and below.

Read `model` first: it is what Python users and commands sample from.
"""
