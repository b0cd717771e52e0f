"""The contract of components, and how each kind is tried. A plugin's test is one line: `conformance("plugin")`.

Imports everything below. Read `conformance` first.
"""

from ganzoo.testing.conformance import Nonconforming, conformance

__all__ = ["Nonconforming", "conformance"]
