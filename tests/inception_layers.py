"""Inception by a description of its own: layer by layer."""

from typing import Any

# block: {layer: (inputs, outputs, kernel, stride, padding)}; kernels are (height, width)
STEM = {
    "Conv2d_1a_3x3": (3, 32, (3, 3), 2, (0, 0)),
    "Conv2d_2a_3x3": (32, 32, (3, 3), 1, (0, 0)),
    "Conv2d_2b_3x3": (32, 64, (3, 3), 1, (1, 1)),
    "Conv2d_3b_1x1": (64, 80, (1, 1), 1, (0, 0)),
    "Conv2d_4a_3x3": (80, 192, (3, 3), 1, (0, 0)),
}


def block_a(inputs: int, pooled: int) -> dict[str, Any]:
    return {
        "branch1x1": (inputs, 64, (1, 1), 1, (0, 0)),
        "branch5x5_1": (inputs, 48, (1, 1), 1, (0, 0)),
        "branch5x5_2": (48, 64, (5, 5), 1, (2, 2)),
        "branch3x3dbl_1": (inputs, 64, (1, 1), 1, (0, 0)),
        "branch3x3dbl_2": (64, 96, (3, 3), 1, (1, 1)),
        "branch3x3dbl_3": (96, 96, (3, 3), 1, (1, 1)),
        "branch_pool": (inputs, pooled, (1, 1), 1, (0, 0)),
    }


def block_b(inputs: int) -> dict[str, Any]:
    return {
        "branch3x3": (inputs, 384, (3, 3), 2, (0, 0)),
        "branch3x3dbl_1": (inputs, 64, (1, 1), 1, (0, 0)),
        "branch3x3dbl_2": (64, 96, (3, 3), 1, (1, 1)),
        "branch3x3dbl_3": (96, 96, (3, 3), 2, (0, 0)),
    }


def block_c(c7: int) -> dict[str, Any]:
    row, column = ((1, 7), 1, (0, 3)), ((7, 1), 1, (3, 0))
    return {
        "branch1x1": (768, 192, (1, 1), 1, (0, 0)),
        "branch7x7_1": (768, c7, (1, 1), 1, (0, 0)),
        "branch7x7_2": (c7, c7, *row),
        "branch7x7_3": (c7, 192, *column),
        "branch7x7dbl_1": (768, c7, (1, 1), 1, (0, 0)),
        "branch7x7dbl_2": (c7, c7, *column),
        "branch7x7dbl_3": (c7, c7, *row),
        "branch7x7dbl_4": (c7, c7, *column),
        "branch7x7dbl_5": (c7, 192, *row),
        "branch_pool": (768, 192, (1, 1), 1, (0, 0)),
    }


def block_d() -> dict[str, Any]:
    return {
        "branch3x3_1": (768, 192, (1, 1), 1, (0, 0)),
        "branch3x3_2": (192, 320, (3, 3), 2, (0, 0)),
        "branch7x7x3_1": (768, 192, (1, 1), 1, (0, 0)),
        "branch7x7x3_2": (192, 192, (1, 7), 1, (0, 3)),
        "branch7x7x3_3": (192, 192, (7, 1), 1, (3, 0)),
        "branch7x7x3_4": (192, 192, (3, 3), 2, (0, 0)),
    }


def block_e(inputs: int) -> dict[str, Any]:
    row, column = ((1, 3), 1, (0, 1)), ((3, 1), 1, (1, 0))
    return {
        "branch1x1": (inputs, 320, (1, 1), 1, (0, 0)),
        "branch3x3_1": (inputs, 384, (1, 1), 1, (0, 0)),
        "branch3x3_2a": (384, 384, *row),
        "branch3x3_2b": (384, 384, *column),
        "branch3x3dbl_1": (inputs, 448, (1, 1), 1, (0, 0)),
        "branch3x3dbl_2": (448, 384, (3, 3), 1, (1, 1)),
        "branch3x3dbl_3a": (384, 384, *row),
        "branch3x3dbl_3b": (384, 384, *column),
        "branch_pool": (inputs, 192, (1, 1), 1, (0, 0)),
    }


BLOCKS = {
    "Mixed_5b": block_a(192, 32),
    "Mixed_5c": block_a(256, 64),
    "Mixed_5d": block_a(288, 64),
    "Mixed_6a": block_b(288),
    **{name: block_c(c7) for name, c7 in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192))},
    "Mixed_7a": block_d(),
    "Mixed_7b": block_e(1280),
    "Mixed_7c": block_e(2048),
}
LAYERS = {**STEM, **{f"{block}.{name}": layer for block, layers in BLOCKS.items() for name, layer in layers.items()}}
