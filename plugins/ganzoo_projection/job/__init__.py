"""A projection of many images: pictures in, results and a report out. Read `job` first."""
