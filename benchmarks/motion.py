"""Generators that are asked to move their images: what moves along, and what sticks to the pixels, as an animation.

    python benchmarks/motion.py CKPT [CKPT ...] --picture FILE.webp [--reach 0.1] [--seeds 0,1,2,3]

Above, the images as their generators move them from side to side; below, the same frames moved back by Lanczos
interpolation, in which the parts that moved along stand still. Prints the PSNR between frames moved back and the image
at rest, over pixels that are known in both.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import ganzoo
from ganzoo.io import film
from ganzoo.nn.pixels import to_uint8
from ganzoo.training.seeds import latents
from ganzoo_stylegan3.motion import fractionally_translated

FRAMES = 48  # of one period
ZOOM = 4  # screen pixels of an image's pixel
FPS = 20  # frames a second


def frames(path: str, seeds: list[int], reach: float) -> tuple[list[NDArray[np.uint8]], float]:
    """Frames [C, 2 H, N W] of a checkpoint's images, moved above and moved back below; and the PSNR in dB."""
    G = ganzoo.load(path, device="cpu").G
    z, pictures, squares, count = latents(seeds, G.z_dim), [], 0.0, 0.0
    with torch.inference_mode(), G.noise("const"):
        ws = G.truncate(G.styles(z), 0.7)
        still = G.synthesize(ws)[-1].clamp(-1, 1)
        for i in range(FRAMES):
            shift = reach * math.sin(2 * math.pi * i / FRAMES)
            with G.moved((shift, 0.0)):
                moved = G.synthesize(ws)[-1].clamp(-1, 1)
            back, known = fractionally_translated(moved, -shift * still.shape[3], 0.0)
            squares += float(((back - still).square() * known).sum())
            count += float(known.sum()) * still.shape[0] * still.shape[1]
            rows = [torch.cat(list(x), dim=2) for x in (moved, torch.where(known, back, torch.ones_like(back)))]
            pictures.append(to_uint8(torch.cat(rows, dim=1)).numpy())
    return pictures, 10 * math.log10(4 / (squares / count))


def main() -> None:
    """Draw the checkpoints beside one another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+")
    parser.add_argument("--picture", type=Path, required=True)
    parser.add_argument("--reach", type=float, default=0.1)
    parser.add_argument("--seeds", default="0,1,2,3")
    args = parser.parse_args()
    seeds, columns = [int(seed) for seed in args.seeds.split(",")], []
    for path in args.checkpoints:
        pictures, psnr = frames(path, seeds, args.reach)
        columns.append(pictures)
        print(f"{path}: {psnr:.1f} dB")
    tiles = [np.concatenate(parts, axis=2) for parts in zip(*columns)]
    pictures = (tile.repeat(ZOOM, axis=1).repeat(ZOOM, axis=2) for tile in tiles)
    film.write(args.picture, pictures, FRAMES, fps=FPS, loop=True, about={"checkpoints": args.checkpoints})


if __name__ == "__main__":
    main()
