"""`python -m ganzoo` is `gz`: the console script of this name, since core itself knows no command line."""

import sys
from importlib.metadata import entry_points

sys.exit(next(iter(entry_points(group="console_scripts", name="gz"))).load()())
