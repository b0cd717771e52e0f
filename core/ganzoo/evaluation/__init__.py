"""One pass of images and extractors for all metrics, and a record of what was measured. Imports model and below.

Read `evaluate` first: training measures by it, and so does `score`, for `gz metrics`.
"""
