"""MSG-GAN:

Multi-Scale Gradients for Generative Adversarial Networks (Karnewar and Wang 2020, arXiv:1903.06048).
"""

from ganzoo import hookimpl


@hookimpl
def ganzoo_components() -> list[type]:
    """The paper's components."""
    from ganzoo_msggan import pyramids

    return [pyramids.PyramidSynthesis, pyramids.LinearRGB, pyramids.PyramidTrunk]
