"""ProGAN: Progressive Growing of GANs for Improved Quality, Stability, and Variation (Karras et al. 2018).

arXiv:1710.10196. Layers, norms, topologies, heads and growth, and the paper's recipes. Imports `ganzoo` only; read
`generator` first.
"""

from ganzoo import hookimpl


@hookimpl
def ganzoo_components() -> list[type]:
    """List the paper's components."""
    from ganzoo_progan import discriminator, generator, growth, heads

    return [
        generator.PixelNorm,
        generator.BatchNorm,
        generator.LayerNorm,
        generator.Identity,
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
        heads.MinibatchStd,
        heads.MinibatchDiscrimination,
        heads.DenseHead,
        heads.SelectionHead,
        heads.ProjectionHead,
        heads.EmbeddingHead,
        heads.ACGANHead,
        heads.ACGANDiscriminator,
        heads.ACGANGenerator,
        growth.Progressive,
    ]
