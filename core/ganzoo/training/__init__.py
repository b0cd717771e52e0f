"""One optimizer step on any number of processes, with its seeds, batches and devices. Imports recipe and below.

Read `learner` first: it computes, averages, checks and applies gradients, whatever is trained.
"""
