"""MSG-GAN: Multi-Scale Gradients for Generative Adversarial Networks (Karnewar and Wang 2020, arXiv:1903.06048).

Topologies that pass images at every resolution, in `pyramids`, and the paper's recipes. Imports `ganzoo` only.
"""

from ganzoo import hookimpl


@hookimpl
def ganzoo_components() -> list[type]:
    """List the paper's components."""
    from ganzoo_msggan import pyramids

    return [pyramids.PyramidSynthesis, pyramids.LinearRGB, pyramids.PyramidTrunk]
