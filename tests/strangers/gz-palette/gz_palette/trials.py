"""How a palette is tried."""

import torch


def check_palette(make, cls, size):
    """Colours of the promised shape, in range, the same every time."""
    for count in (1, 5):
        palette = make(count)
        for channels in (1, 3, 4):
            colours = palette(channels)
            if tuple(colours.shape) != (count, channels):
                yield f"gives {tuple(colours.shape)}, not {(count, channels)}"
            if not (colours.abs() <= 1).all():
                yield "gives colours outside of [-1, 1]"
            if not torch.equal(colours, make(count)(channels)):
                yield "gives other colours every time"
