"""Files and networks of other projects, read without running anything in them. Imports interfaces, io and below.

Read `torchfile` first: it opens both of torch's formats by the interpreter in `pickles`.
"""
