"""Written for the next plugin interface."""

GANZOO_API = 3
