"""Style transfer: the statistics of feature maps that make up a style, moved from one image to another."""
