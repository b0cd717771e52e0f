"""`python -m ganzoo_cli` is `gz`, as `python -m ganzoo` is; torchrun starts its processes by it."""

import sys

from ganzoo_cli import main

sys.exit(main())
