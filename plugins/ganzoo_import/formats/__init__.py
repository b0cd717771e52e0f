"""A format of another project a file. Read `rosinality` first."""
