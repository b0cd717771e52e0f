"""The version of the installed distribution; no module needs the package root for it."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("ganzoo")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
