"""Real images into latent space: how images are compared, and how latents are searched for."""

from ganzoo import hookimpl

GANZOO_API = 1


@hookimpl
def ganzoo_components() -> list[type]:
    """The perceptual distances and projectors of this plugin, and the training of encoders."""
    from ganzoo_projection.encoder import EncoderProjector
    from ganzoo_projection.image2stylegan import Image2StyleGAN
    from ganzoo_projection.perceptual import LPIPSDistance, Pixel, RandomFeatures, VGGFeatures
    from ganzoo_projection.stylegan2 import StyleGAN2
    from ganzoo_projection.training import Encoding

    return [Pixel, RandomFeatures, VGGFeatures, LPIPSDistance, Image2StyleGAN, StyleGAN2, EncoderProjector, Encoding]
