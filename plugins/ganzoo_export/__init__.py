"""Networks of a checkpoint for other programs. A command only; no component is registered."""
