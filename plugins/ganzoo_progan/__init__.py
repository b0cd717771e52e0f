"""ProGAN:

Progressive Growing of GANs for Improved Quality, Stability, and Variation (Karras et al. 2018, arXiv:1710.10196).
"""

from ganzoo import hookimpl


@hookimpl
def ganzoo_components() -> list[type]:
    """The paper's components."""
    from ganzoo_progan import discriminator, generator, growth

    return [
        generator.PixelNorm,
        generator.Normalize,
        generator.Dense,
        generator.Conv,
        generator.ConvRGB,
        generator.PlainBlock,
        generator.LastSynthesis,
        generator.ProgressiveSynthesis,
        discriminator.FromRGB,
        discriminator.PlainDown,
        discriminator.PlainTrunk,
        discriminator.ProgressiveTrunk,
        discriminator.MinibatchStd,
        discriminator.DenseHead,
        growth.Progressive,
    ]
