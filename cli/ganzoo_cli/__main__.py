"""`python -m ganzoo_cli` is `gz`."""

import sys

from ganzoo_cli import main

sys.exit(main())
