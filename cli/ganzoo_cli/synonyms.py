"""Options of other training programs, and the line that says the same to `gz`.

The names are those of NVlabs/stylegan3 train.py, gen_images.py and their forerunners in stylegan2-ada-pytorch and
stylegan2, and of lucidrains/stylegan2-pytorch and lightweight-gan. A line may hold {value}, what was given; {r1}, the
index of the R1 penalty; and what `_numbers` computes of the command line and the recipe that it names.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganzoo.io.files import quoted

BOTH = "--set generator.{name}={{{value}}} --set discriminator.{name}={{{value}}}"
FIXED = "--set augment.use=ada --set augment.target=null --set augment.p={value}"
CLASSES = "--set labels=N, the number of classes"
AGAIN = "gz generate CKPT; 'gz import {value}' makes one of a file of another project"
OMIT = ""  # the option is the default here, or has no meaning
NONE = "-"  # there is nothing like it here

TRAIN = {
    # NVIDIA
    "cfg": "gz train NAME, with a name of 'gz recipe list {family}'",
    "gamma": "--set regularizers.{r1}.gamma={value}",
    "cond": CLASSES,
    "mirror": "--mirror",
    "aug": "--set augment=ada for adaptive augmentation, or --set augment=null for none",
    "augpipe": "--set augment.use=ada --set augment.pipeline={value}",
    "p": FIXED,
    "target": "--set augment.use=ada --set augment.target={value}",
    "freezed": "--set training.freeze_d={value}",
    "cbase": BOTH.format(name="channel_base", value="value"),
    "cmax": BOTH.format(name="channel_max", value="value"),
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
    "result-dir": "--outdir {value}",
    "data-dir": "--data {value}",
    "dataset": "--data {value}",
    "num-gpus": "--gpus {value}",
    "total-kimg": "--kimg {value}",
    "mirror-augment": "--mirror",
    # lucidrains
    "name": "--desc {value}",
    "results-dir": "--outdir {value}",
    "models-dir": "--outdir {value}",
    "new": OMIT,
    "load-from": "--resume latest",
    "load-strict": OMIT,
    "image-size": "--set image.size={value}",
    "network-capacity": BOTH.format(name="channel_base", value="channel_base"),
    "fmap-max": BOTH.format(name="channel_max", value="value"),
    "transparent": "--set image.channels=4",
    "greyscale": "--set image.channels=1",
    "batch-size": "--batch {value}",
    "gradient-accumulate-every": "--batch-gpu N, the batch divided by {value}",
    "num-train-steps": "--kimg {kimg}",
    "learning-rate": "--set training.lr={value}",
    "lr-mlp": "--set generator.mapping.lr_mul={value}",
    "ttur-mult": "--set training.d_lr={d_lr}",
    "rel-disc-loss": "--set loss=relativistic_average",
    "num-workers": "--workers {value}",
    "save-every": "--snap {ticks}",
    "evaluate-every": "--snap {ticks}",
    "num-image-tiles": "gz generate CKPT --seeds 0-63 --grid {value}x{value}",
    "num-generate": "gz generate CKPT --seeds 0-{value}",
    "generate": "gz generate CKPT",
    "generate-types": "gz generate CKPT",
    "generate-interpolation": "gz walk CKPT",
    "interpolation-num-steps": "gz walk CKPT --frames {value}",
    "save-frames": "gz walk CKPT --out FOLDER",
    "trunc-psi": "gz generate CKPT --trunc {value}",
    "mixed-prob": "--set generator.mixing={value}",
    "fp16": "--precision fp16",
    "amp": "--precision auto",
    "no-pl-reg": "--set regularizers=[r1], a list without path_length",
    "no-const": "--set generator.synthesis.stem=dense",
    "aug-prob": FIXED,
    "aug-types": "--set augment.use=diffaugment --set augment.policy={policy}",
    "aug-test": NONE,
    "dataset-aug-prob": "--mirror",
    "multi-gpus": "--gpus N",
    "calculate-fid-every": "--metrics fid50k_full",
    "calculate-fid-num-images": "--set metrics.0.use=fid --set metrics.0.num={value}",
    "clear-fid-cache": OMIT,
    "attn-layers": NONE,
    "attn-res-layers": NONE,
    "freq-chan-attn": NONE,
    "fq-layers": NONE,
    "fq-dict-size": NONE,
    "cl-reg": NONE,
    "top-k-training": NONE,
    "generator-top-k-gamma": NONE,
    "generator-top-k-frac": NONE,
    "dual-contrast-loss": NONE,
    "disc-output-size": NONE,
    "antialias": OMIT,
    "optimizer": NONE,
    "show-progress": OMIT,
    "use-aim": "--log tensorboard",
    "aim-repo": NONE,
    "aim-run-hash": NONE,
    # used widely
    "lr": "--set training.lr={value}",
    "epochs": "--kimg N, epochs x images / 1000",
    "resolution": "--set image.size={value}",
    "size": "--set image.size={value}",
    "conditional": CLASSES,
    "config": "gz train RECIPE.yaml",
}
GENERATE = {
    "network": AGAIN,
    "pkl": AGAIN,
    "load-from": "gz generate CKPT",
    "num-generate": "--seeds 0-N",
    "num-image-tiles": "--grid COLUMNSxROWS",
    "rows": "gz mix CKPT --rows SEEDS --cols SEEDS",
    "projected-w": "gz walk CKPT --latents {value}",
    "latents": "gz walk CKPT --latents {value} --frames 1 --out DIR",
    "trunc-psi": "--trunc {value}",
    "truncation": "--trunc {value}",
    "truncation-psi": "--trunc {value}",
    "result-dir": "--outdir {value}",
}
BY_COMMAND = {"gz train": TRAIN, "gz generate": GENERATE}
SWITCHES = {"mirror", "mirror-augment", "cond", "fp32", "new", "transparent", "greyscale", "fp16", "amp", "no-const"}
SWITCHES |= {"conditional", "multi-gpus", "generate", "no-pl-reg", "rel-disc-loss"}  # options that are on or off
OFF = ("0", "false", "no", "off", "none")
FOREIGN = (".pkl", ".pt", ".pth", ".ckpt", ".bin")
PUBLISHED = ("ffhq", "celebahq", "lsundog", "afhq", "metfaces", "brecahad", "cifar")  # --resume=ffhq256 and the like


def cure(
    command: str, option: str, value: str | None, words: Sequence[str], recipe: Mapping[str, Any] | None = None
) -> str | None:
    """Say what to write in place of an option of another program; None where none of them has it.

    Args:
        command: as 'gz train'
        option: its name, as '--gamma'
        value: what was given; None where nothing was
        words: the command line, in which the recipe is named
        recipe: its values, where they are known; None to read them
    """
    name = option.lstrip("-").replace("_", "-")
    line = BY_COMMAND.get(command, {}).get(name)
    if line is None:
        return None
    if line == NONE:
        return "leave it out, as ganzoo has nothing like it"
    switched_off = name in SWITCHES and (value or "").lower() in OFF
    if name == "mirror" and switched_off:
        return "write --no-mirror"
    if line == OMIT or switched_off:
        return "leave it out"
    tree = _tree(words) if recipe is None else recipe
    if (exact := EXACT.get(name)) and (answer := exact(value, words, tree)):
        return f"write {answer}"
    given = {"value": quoted(value) if value is not None else "N", "r1": _r1(tree)}
    return f"write {line.format(**given, **_numbers(value, words, tree))}"


def further(command: str, option: str, words: Sequence[str]) -> list[str]:
    """Say the same of each other option of the command line that is one of another program, once."""
    table, first = BY_COMMAND[command], option.lstrip("-").replace("_", "-")
    flags = [word.partition("=")[:2] for word in words if word.startswith("--")]
    names = [(flag.lstrip("-").replace("_", "-"), equals) for flag, equals in flags]
    others = [name for name, equals in dict.fromkeys(names) if name in table and (name != "mirror" or equals)]
    tree = _tree(words)
    return [f"For --{n} {cure(command, n, value_of(n, words), words, tree)}." for n in others if n != first]


def _cfg(value: str | None, words: Sequence[str], tree: Mapping[str, Any]) -> str | None:
    """The recipe of a configuration of NVIDIA's, where one has its name."""
    from ganzoo.errors import ZooError
    from ganzoo.recipe.merge import read

    for name in (value, f"ada-{value}") if value and "/" not in value else ():
        try:
            return f"gz train {Path(read(name).name).stem}"
        except ZooError:
            continue
    return None


def _aug(value: str | None, words: Sequence[str], tree: Mapping[str, Any]) -> str | None:
    """The line for a mode of augmentation: adaptive, none, or with a fixed probability."""
    p = value_of("p", words) or "P"
    return {"noaug": "--set augment=null", "ada": "--set augment=ada", "fixed": FIXED.format(value=p)}.get(value or "")


def _batch(value: str | None, words: Sequence[str], tree: Mapping[str, Any]) -> str | None:
    """The line for lucidrains' batch, which is gradient_accumulate_every times batch_size."""
    size, parts = _number(value_of("batch-size", words)), _number(value_of("gradient-accumulate-every", words))
    if size and parts:
        return f"--batch {size * parts} --batch-gpu {size}"
    batch = _number(value_of("batch", words)) or _section(tree, "training").get("batch", 32)
    return f"--batch-gpu {batch // parts}" if parts and batch % parts == 0 else None


EXACT = {"cfg": _cfg, "aug": _aug, "batch-size": _batch, "gradient-accumulate-every": _batch}


def value_of(name: str, words: Sequence[str]) -> str | None:
    """The value of an option in a command line, however it is written; None where none is given."""
    for word, following in zip(words, [*words[1:], ""]):
        flag, equals, value = word.partition("=")
        if flag.startswith("--") and flag.lstrip("-").replace("_", "-") == name:
            return (value if equals else None if following.startswith("-") else following) or None
    return None


def _tree(words: Sequence[str]) -> Mapping[str, Any]:
    """The values of the recipe that a command line names; none where there is no telling."""
    from ganzoo.errors import ZooError
    from ganzoo.recipe.merge import read

    for word in words[1:]:
        if word.startswith("-"):
            continue
        try:
            return read(word).tree
        except ZooError:
            continue  # the value of another option
    return {}


def _r1(tree: Mapping[str, Any]) -> int:
    """Index of the penalty with a gamma in a recipe; 0 where there is none."""
    regularizers = tree.get("regularizers") or []
    names = [entry.get("use") if isinstance(entry, dict) else entry for entry in regularizers]
    return names.index("r1") if "r1" in names else 0


def _section(tree: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A group of a recipe's options; none where it is not written as one."""
    section = tree.get(name)
    return section if isinstance(section, dict) else {}


def _numbers(value: str | None, words: Sequence[str], tree: Mapping[str, Any]) -> dict[str, Any]:
    """Convert what lucidrains' options say in other units: steps of the whole batch, widths and rates as multiples.

    A level of side s has 2 network_capacity image_size / s channels; D's learning rate is ttur_mult times G's.
    """
    numbers: dict[str, Any] = {
        "family": (value or "").partition("-")[0],
        "policy": f"[{','.join(re.findall('[a-z]+', value or '')) or 'translation,cutout'}]",
        "channel_base": "N, 2 x capacity x image size",
        "kimg": "N, steps x batch / 1000",
        "d_lr": "LR, the discriminator's rate itself",
        "ticks": "TICKS",
    }
    training, given = _section(tree, "training"), _number(value)
    size = _number(value_of("image-size", words)) or _section(tree, "image").get("size")
    lr = _number(value_of("learning-rate", words)) or training.get("lr", 0.002)
    batch = _number(value_of("batch-size", words)) or _number(value_of("batch", words)) or training.get("batch", 32)
    batch *= _number(value_of("gradient-accumulate-every", words)) or 1
    if given is None:
        return numbers
    kimg = given * batch / 1000
    numbers |= {"kimg": f"{kimg:g}", "ticks": max(1, round(kimg / training.get("tick_kimg", 4.0)))}
    if isinstance(size, int):
        numbers["channel_base"] = round(2 * given * size)
    return numbers | ({"d_lr": f"{given * lr:g}"} if isinstance(lr, int | float) else {})


def _number(text: str | None) -> Any:
    """The number that a text is; None for any other."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return int(number) if number == int(number) else number


def foreign_network(resume: str) -> str | None:
    """Say how a network of another project is trained on, where `--resume` names one; None for anything else."""
    published = re.fullmatch(rf"({'|'.join(PUBLISHED)})[a-z]*[0-9]*u?", resume) and not Path(resume).exists()
    if "://" in resume or published:
        return "download it, run 'gz import FILE --out imported.safetensors', and add --init-from imported.safetensors"
    if resume.lower().endswith(FOREIGN):
        return f"run 'gz import {quoted(resume)} --out imported.safetensors', and add --init-from imported.safetensors"
    return None
