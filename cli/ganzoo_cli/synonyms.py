"""Options of other training programs, and the line that says the same to `gz`.

The names are those of NVlabs/stylegan3 train.py, NVlabs/stylegan2-ada-pytorch train.py and gen_images.py, and of
lucidrains/stylegan2-pytorch. A line may hold {value}, what was given, and {r1}, the index of the R1 penalty.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from ganzoo.io.files import quoted

BOTH = "--set generator.{name}={{value}} --set discriminator.{name}={{value}}"
FIXED = "--set augment.use=ada --set augment.target=null --set augment.p={value}"
OMIT = ""  # the option is the default here, or has no meaning

TRAIN = {
    # NVIDIA
    "cfg": "gz train NAME, with a name of 'gz recipe list {value}'",
    "gamma": "--set regularizers.{r1}.gamma={value}",
    "cond": "--set labels=N, the number of classes",
    "mirror": "--mirror, or --no-mirror",
    "aug": "--set augment=ada for adaptive augmentation, or --set augment=null for none",
    "augpipe": "--set augment.use=ada --set augment.pipeline={value}",
    "p": FIXED,
    "target": "--set augment.use=ada --set augment.target={value}",
    "freezed": "--set training.freeze_d={value}",
    "cbase": BOTH.format(name="channel_base"),
    "cmax": BOTH.format(name="channel_max"),
    "glr": "--set training.lr={value}",
    "dlr": "--set training.d_lr={value}",
    "map-depth": "--set generator.mapping.depth={value}",
    "mbstd-group": "--set discriminator.head.statistic.group={value}",
    "tick": "--set training.tick_kimg={value}",
    "fp32": "--precision fp32",
    "nobench": OMIT,
    "allow-tf32": OMIT,
    "nhwc": OMIT,
    "subset": "gz data pack on the images wanted, then --data",
    # lucidrains
    "name": "--desc {value}",
    "results-dir": "--outdir {value}",
    "models-dir": "--outdir {value}",
    "new": OMIT,
    "load-from": "--resume latest",
    "image-size": "--set image.size={value}",
    "network-capacity": BOTH.format(name="channel_base"),
    "fmap-max": BOTH.format(name="channel_max"),
    "transparent": "--set image.channels=4",
    "batch-size": "--batch {value}",
    "gradient-accumulate-every": "--batch-gpu N, the batch divided by {value}",
    "num-train-steps": "--kimg N, steps x batch / 1000",
    "learning-rate": "--set training.lr={value}",
    "lr-mlp": "--set generator.mapping.lr_mul={value}",
    "ttur-mult": "--set training.d_lr=LR, the discriminator's rate itself",
    "rel-disc-loss": "--set loss=relativistic_average",
    "num-workers": "--workers {value}",
    "save-every": "--snap TICKS",
    "evaluate-every": "--snap TICKS",
    "num-image-tiles": "gz generate CKPT --grid COLUMNSxROWS",
    "generate": "gz generate CKPT",
    "generate-interpolation": "gz walk CKPT",
    "trunc-psi": "gz generate CKPT --trunc {value}",
    "mixed-prob": "--set generator.mixing={value}",
    "fp16": "--precision fp16",
    "no-pl-reg": "--set regularizers=[r1], a list without path_length",
    "no-const": "--set generator.synthesis.stem=dense",
    "aug-prob": FIXED,
    "aug-types": "--set augment.use=ada --set augment.pipeline=bgc; 'gz components show ada' lists others",
    "dataset-aug-prob": "--mirror",
    "multi-gpus": "--gpus N",
    "calculate-fid-every": "--metrics fid50k_full",
    "calculate-fid-num-images": "--set metrics.0.use=fid --set metrics.0.num={value}",
    # used widely
    "lr": "--set training.lr={value}",
    "epochs": "--kimg N, epochs x images / 1000",
    "resolution": "--set image.size={value}",
    "size": "--set image.size={value}",
    "conditional": "--set labels=N, the number of classes",
    "config": "gz train RECIPE.yaml",
}
GENERATE = {
    "network": "gz generate CKPT; 'gz import {value}' makes one of a file of another project",
    "pkl": "gz generate CKPT; 'gz import {value}' makes one of a file of another project",
    "load-from": "gz generate CKPT",
    "num-generate": "--seeds 0-N",
    "num-image-tiles": "--grid COLUMNSxROWS",
    "rows": "gz mix CKPT --rows SEEDS --cols SEEDS",
    "projected-w": "gz walk CKPT --latents {value}",
    "latents": "gz walk CKPT --latents {value} --frames 1 --out DIR",
    "trunc-psi": "--trunc {value}",
    "truncation": "--trunc {value}",
    "truncation-psi": "--trunc {value}",
}
BY_COMMAND = {"gz train": TRAIN, "gz generate": GENERATE}
FOREIGN = (".pkl", ".pt", ".pth", ".ckpt", ".bin")
PUBLISHED = ("ffhq", "celebahq", "lsundog", "afhq", "metfaces", "brecahad", "cifar")  # --resume=ffhq256 and the like


def cure(command: str, option: str, value: str | None, words: Sequence[str]) -> str | None:
    """Say what to write in place of an option of another program; None where none of them has it.

    Args:
        command: as 'gz train'
        option: its name, as '--gamma'
        value: what was given; None where nothing was
        words: the command line, in which the recipe is named
    """
    name = option.lstrip("-").replace("_", "-")
    line = BY_COMMAND.get(command, {}).get(name)
    if line is None:
        return None
    if name == "mirror" and value is not None:
        return f"write {'--no-mirror' if value.lower() in ('0', 'false', 'no', 'off') else '--mirror'}"
    if line == OMIT:
        return "leave it out"
    return f"write {line.format(value=quoted(value) if value is not None else 'N', r1=_r1(words))}"


def _r1(words: Sequence[str]) -> int:
    """Index of the penalty with a gamma in the recipe that the command names; 0 where there is no telling."""
    from ganzoo.errors import ZooError
    from ganzoo.recipe.merge import read

    for word in words[1:]:
        if word.startswith("-"):
            continue
        try:
            regularizers = read(word).tree.get("regularizers") or []
        except ZooError:
            continue  # the value of another option
        names = [entry.get("use") if isinstance(entry, dict) else entry for entry in regularizers]
        return names.index("r1") if "r1" in names else 0
    return 0


def foreign_network(resume: str) -> str | None:
    """Say how a network of another project is trained on, where `--resume` names one; None for anything else."""
    published = re.fullmatch(rf"({'|'.join(PUBLISHED)})[a-z]*[0-9]*u?", resume) and not Path(resume).exists()
    if "://" in resume or published:
        return "download it, run 'gz import FILE --out imported.safetensors', and add --init-from imported.safetensors"
    if resume.lower().endswith(FOREIGN):
        return f"run 'gz import {quoted(resume)} --out imported.safetensors', and add --init-from imported.safetensors"
    return None
