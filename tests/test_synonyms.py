"""Every option of other training programs is an option of ours, or is answered by the line to type."""

import re

import pytest
from typer.main import get_command

from commands import fails as fails
from ganzoo_cli import synonyms
from ganzoo_cli.app import app

NVIDIA = {
    "stylegan3 train.py": "outdir cfg data gpus batch gamma cond mirror aug resume freezed p target batch-gpu cbase "
    "cmax glr dlr map-depth mbstd-group desc metrics kimg tick snap seed fp32 nobench workers dry-run",
    "stylegan2-ada-pytorch train.py": "outdir gpus snap metrics seed dry-run data cond subset mirror cfg gamma kimg "
    "batch aug p target augpipe resume freezed fp32 nhwc allow-tf32 nobench workers",
    "stylegan2 run_training.py": "result-dir data-dir dataset config num-gpus total-kimg gamma mirror-augment metrics",
}
LUCIDRAINS = {
    "stylegan2_pytorch": "data results-dir models-dir name new load-from image-size network-capacity fmap-max "
    "transparent batch-size gradient-accumulate-every num-train-steps learning-rate lr-mlp "
    "ttur-mult rel-disc-loss num-workers save-every evaluate-every generate num-generate "
    "generate-interpolation interpolation-num-steps save-frames num-image-tiles trunc-psi "
    "mixed-prob fp16 no-pl-reg cl-reg fq-layers fq-dict-size attn-layers no-const aug-prob "
    "aug-types top-k-training generator-top-k-gamma generator-top-k-frac dual-contrast-loss "
    "dataset-aug-prob multi-gpus calculate-fid-every calculate-fid-num-images clear-fid-cache "
    "seed log",
    "lightweight_gan": "data results-dir models-dir name new load-from image-size optimizer fmap-max transparent "
    "greyscale batch-size gradient-accumulate-every num-train-steps learning-rate save-every "
    "evaluate-every generate generate-types generate-interpolation aug-test aug-prob aug-types "
    "dataset-aug-prob attn-res-layers freq-chan-attn disc-output-size dual-contrast-loss "
    "antialias interpolation-num-steps save-frames num-image-tiles num-workers multi-gpus "
    "calculate-fid-every calculate-fid-num-images clear-fid-cache seed amp show-progress use-aim "
    "aim-repo aim-run-hash load-strict",
}
GENERATE = {"stylegan3 gen_images.py": "network seeds trunc class noise-mode translate rotate outdir"}


def flags_of(*path: str) -> set[str]:
    """Names of a command's options, without dashes."""
    command = get_command(app)
    for name in path:
        command = command.commands[name]
        command = getattr(command, "real", command)
    return {opt.lstrip("-") for p in command.params for opt in (*p.opts, *p.secondary_opts) if opt.startswith("--")}


@pytest.mark.parametrize("program", [*NVIDIA, *LUCIDRAINS, *GENERATE])
def test_each_option_is_taken_or_answered(program):
    command, names = ("gz train", {**NVIDIA, **LUCIDRAINS}.get(program, "").split())
    if program in GENERATE:
        command, names = "gz generate", GENERATE[program].split()
    flags = flags_of(command.split()[1])
    missing = [name for name in names if name not in flags and name not in synonyms.BY_COMMAND[command]]
    assert missing == []


def test_no_option_of_ours_is_answered_as_one_of_others():
    """But for --mirror=1: here it takes no value."""
    assert flags_of("train") & synonyms.TRAIN.keys() == {"mirror"}
    assert flags_of("generate") & synonyms.GENERATE.keys() == set()


@pytest.mark.parametrize("command", synonyms.BY_COMMAND)
def test_other_commands_that_are_named_have_the_options_that_are_named(command):
    for name in synonyms.BY_COMMAND[command]:
        cure = synonyms.cure(command, f"--{name}", "3", [], {})
        for other, rest in re.findall(r"gz (generate|walk|mix|data pack)\b([^;,']*)", cure):
            flags = {flag for flag in re.findall(r"--([a-z-]+)", rest) if not rest.startswith(" on")}
            assert flags <= flags_of(*other.split()), (name, cure)


LINES = [
    (["--cfg=paper256"], "write gz train ada-paper256"),
    (["--aug=noaug"], "write --set augment=null"),
    (["--aug=fixed", "--p=0.2"], "--set augment.use=ada --set augment.target=null --set augment.p=0.2"),
    (["--fp32=0"], "leave it out"),
    (["--cond=1"], "--set labels=N, the number of classes"),
    (["--batch-size", "5", "--gradient-accumulate-every", "6"], "--batch 30 --batch-gpu 5"),
    (["--gradient-accumulate-every", "4"], "--batch-gpu 2"),
    # 150,000 steps on 5 x 6 images
    (["--num-train-steps=150000", "--batch-size=5", "--gradient-accumulate-every=6"], "--kimg 4500"),
    (["--ttur-mult", "1.5", "--learning-rate", "2e-4"], "--set training.d_lr=0.0003"),
    # capacity 16 at 128x128: 32 channels at the finest level, 1024 at 4x4
    (["--network-capacity", "16", "--image-size", "128"], "--set generator.channel_base=4096"),
    (["--aug-types", "[translation,cutout]"], "--set augment.policy=[translation,cutout]"),
]


@pytest.mark.parametrize(("args", "line"), LINES)
def test_what_is_counted_otherwise_is_converted(args, line):
    words = ["train", "r.yaml", *args]
    option = args[0].partition("=")[0]
    tree = {"training": {"batch": 8, "lr": 0.002}}
    assert line in synonyms.cure("gz train", option, synonyms.value_of(option[2:], words), words, tree)


def test_one_answer_says_all_of_a_command_line(fails):
    """That of NVIDIA's README, and that of lucidrains'."""
    words = ["--cfg is", "For --gamma write --set regularizers.0.gamma=8.2.", "For --mirror write --mirror."]
    args = ["--outdir=r", "--cfg=stylegan2", "--data=x", "--gpus=8", "--batch=32", "--gamma=8.2", "--mirror=1"]
    fails(2, words, "train", "stylegan2-tiny", *args)
    args = ["--data", "/path", "--name", "mine", "--batch-size", "8", "--new", "--image-size", "32"]
    sentence = fails(2, ["--name is", "write --desc mine."], "train", "stylegan2-tiny", *args)
    assert re.findall(r"For (--[\w-]+) (.*?)\.(?= |$)", sentence) == [
        ("--batch-size", "write --batch 8"),
        ("--new", "leave it out"),
        ("--image-size", "write --set image.size=32"),
    ]
