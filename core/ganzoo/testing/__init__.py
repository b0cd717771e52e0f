"""What every component must do, and how each kind is tried. A stranger's test is one line: `conformance("plugin")`.

May import everything below. Read `conformance` first.
"""

from ganzoo.testing.conformance import Nonconforming, conformance

__all__ = ["Nonconforming", "conformance"]
