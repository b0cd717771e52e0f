"""Text that may come from a file, made safe to print on a terminal."""

import re

# C0 and C1 controls but tab and newline, line separators, and the marks that turn the direction of writing
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Replace the characters that steer a terminal by "?": titles, versions and file names may hold any."""
    return CONTROL.sub("?", text)


def one_line(text: str) -> str:
    """Return a text as `printable` does, on one line, so that it does not pass for lines of the program."""
    return printable(text).replace("\n", " ").replace("\t", " ")
