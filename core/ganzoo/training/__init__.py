"""One optimizer's step, by any number of processes; seeds, batches, devices. Imports recipe and everything below.

Read `learner` first.
"""
