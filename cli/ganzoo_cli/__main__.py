"""`python -m ganzoo_cli` is `gz`, as `python -m ganzoo` is; the processes of a training are started by it."""

import sys

from ganzoo_cli import main

sys.exit(main())
