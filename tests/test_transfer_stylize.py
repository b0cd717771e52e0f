"""`gz stylize`: pictures of all kinds in, a picture out, interrupted and resumed; what it refuses, in a sentence."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from ganzoo import stylize as styling
from ganzoo import stylize_input
from ganzoo.checkpoint import Header, write
from ganzoo_cli import main
from ganzoo_data.decode import Target, decode
from ganzoo_transfer.adain import Decoder
from ganzoo_transfer.eyes import ConvRandom
from ganzoo_transfer.gatys import Pixels

QUICK = ("--features", "conv-random", "--steps", "4", "--optimizer", "adam")


@dataclass
class Result:
    code: int
    out: str
    err: str


@pytest.fixture
def gz(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*args: object) -> Result:
        capsys.readouterr()
        code = main(["stylize", *(str(a) for a in args)])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def refused(gz):
    def run(code: int, *args: object) -> str:
        result = gz(*args)
        assert (result.code, result.out) == (code, ""), result.err
        last = result.err.strip().splitlines()[-1]
        assert last.startswith("error: ")
        assert last.endswith(".")
        assert "Traceback" not in result.err
        return last

    return run


def colours(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture(autouse=True)
def pictures(tmp_path) -> Path:
    Image.fromarray(colours(24, 40)).save(tmp_path / "content.png")
    Image.fromarray(colours(30, 20, 1)).save(tmp_path / "style.png")
    Image.fromarray(colours(16, 16, 2)).save(tmp_path / "other.png")
    return tmp_path


def opened(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as file:
        return np.asarray(file)


class TestPictures:
    def test_keeps_size_and_proportions(self, gz, pictures) -> None:
        result = gz("content.png", "style.png", *QUICK)
        assert (result.code, result.out) == (0, "stylized.png\n"), result.err
        assert opened(pictures / "stylized.png").shape == (24, 40, 3)
        assert "40x24 pixels" in result.err

    def test_larger_ones_are_scaled_down(self, gz, pictures) -> None:
        Image.fromarray(colours(150, 100)).save(pictures / "large.jpg", quality=95)
        assert gz("large.jpg", "style.png", *QUICK, "--size", "33").code == 0
        assert opened(pictures / "stylized.png").shape == (33, 22, 3)

    def test_alpha_is_put_back(self, gz, pictures) -> None:
        alpha = np.random.default_rng(0).integers(0, 256, (24, 40, 1), np.uint8)
        Image.fromarray(np.concatenate([colours(24, 40), alpha], axis=2)).save(pictures / "rgba.png")
        assert gz("rgba.png", "style.png", *QUICK).code == 0
        assert (opened(pictures / "stylized.png")[:, :, 3:] == alpha).all()

    def test_hidden_colours_do_not_matter(self, gz, pictures) -> None:
        made = []
        for hidden in (0, 200):
            rgba = np.full((24, 40, 4), 255, np.uint8)
            rgba[:, :, :3] = colours(24, 40)
            rgba[:12] = (hidden, hidden, 0, 0)
            Image.fromarray(rgba).save(pictures / "rgba.png")
            assert gz("rgba.png", "style.png", *QUICK, "--out", f"{hidden}.png").code == 0
            made.append(opened(pictures / f"{hidden}.png"))
        assert (made[0] == made[1]).all()

    def test_a_style_shows_white_through(self, pictures) -> None:
        rgba = np.zeros((8, 8, 4), np.uint8)
        Image.fromarray(rgba).save(pictures / "rgba.png")
        read = stylize_input.read(pictures / "rgba.png", 512, flat=True)
        assert (read.rgb == 255).all()
        assert read.alpha is None

    @pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "CMYK"])
    def test_every_mode_is_read(self, gz, pictures, mode) -> None:
        suffix = "jpg" if mode == "CMYK" else "png"
        Image.fromarray(colours(24, 40)).convert(mode).save(pictures / f"odd.{suffix}")
        assert gz(f"odd.{suffix}", f"odd.{suffix}", *QUICK, "--preserve-color").code == 0
        assert opened(pictures / "stylized.png").shape == (24, 40, 4 if mode == "LA" else 3)

    def test_16_bits_become_8_as_datasets_make_them(self, pictures) -> None:
        path = pictures / "deep.png"
        Image.fromarray(np.arange(65_536, dtype=np.uint16).reshape(256, 256)).save(path)
        wanted = decode(path.read_bytes(), Target((256, 256), 3), is_npy=False).pixels
        assert (stylize_input.read(path, 512).rgb == wanted).all()

    def test_a_turned_photo_is_upright(self, pictures) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by 90 degrees clockwise
        Image.fromarray(colours(24, 40)).save(pictures / "turned.png", exif=exif)
        assert (
            stylize_input.read(pictures / "turned.png", 512).rgb == np.rot90(colours(24, 40), -1).transpose(2, 0, 1)
        ).all()

    def test_untouched_content_comes_back_exactly(self, gz, pictures) -> None:
        assert gz("content.png", "style.png", *QUICK, "--style-weight", "0", "--steps", "1").code == 0
        assert (opened(pictures / "stylized.png") == colours(24, 40)).all()

    def test_says_what_it_is(self, gz, pictures) -> None:
        result = gz("content.png", "style.png", *QUICK, "--stat", "bn", "--seed", "3", "--json")
        record = json.loads(result.out)
        assert (record["width"], record["height"], record["seed"], record["step"]) == (40, 24, 3, 4)
        assert record["transfer"]["statistic"]["use"] == "bn"
        assert set(record["losses"]) == {"total", "content", "style", "relu1", "relu2", "relu3"}
        with Image.open(pictures / "stylized.png") as file:
            assert json.loads(file.text["transfer"]) == record["transfer"]

    def test_options_by_dotted_name(self, gz) -> None:
        more = ("--stat", "mmd-gauss", "--set", "statistic.bandwidth=0.5", "--set", "style_layers=[relu1]", "--json")
        record = json.loads(gz("content.png", "style.png", *QUICK, *more).out)
        assert record["transfer"]["statistic"] == {"use": "mmd-gauss", "bandwidth": 0.5, "positions": 1024}
        assert set(record["losses"]) == {"total", "content", "style", "relu1"}

    def test_several_styles(self, gz) -> None:
        record = json.loads(gz("content.png", "style.png", "other.png", *QUICK, "--mix", "3,1", "--json").out)
        assert record["styles"] == {"style.png": 0.75, "other.png": 0.25}

    @pytest.mark.parametrize("name", ["way.gif", "way.webp", "way"])
    def test_a_film_of_the_way(self, gz, pictures, name) -> None:
        result = gz("content.png", "style.png", *QUICK, "--film", name, "--every", "2")
        assert result.out == f"stylized.png\n{name}\n", result.err
        if "." in name:
            with Image.open(pictures / name) as film:
                assert film.n_frames == 3
        else:
            frames = sorted((pictures / name).iterdir())
            assert len(frames) == 3
            assert (opened(frames[0]) == colours(24, 40)).all()
            assert (opened(frames[-1]) == opened(pictures / "stylized.png")).all()

    def test_a_film_of_lbfgs_keeps_every_step_asked_for(self, gz, pictures) -> None:
        args = ("content.png", "style.png", "--features", "conv-random", "--steps", "7", "--every", "3")
        assert gz(*args, "--film", "way").code == 0
        assert len(list((pictures / "way").iterdir())) == 3  # steps 0, 3 and 6

    def test_a_reader_that_goes_away_loses_no_picture(self, pictures) -> None:
        command = [sys.executable, "-m", "ganzoo_cli", "stylize", "content.png", "style.png", *QUICK]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        read, write_ = os.pipe()
        os.close(read)
        done = subprocess.run(
            command, cwd=pictures, stdout=subprocess.PIPE, stderr=write_, env=environment, check=False
        )
        os.close(write_)
        assert (done.returncode, done.stdout) == (0, b"stylized.png\n")
        assert opened(pictures / "stylized.png").shape == (24, 40, 3)


class TestInterrupted:
    COMMAND = ("content.png", "style.png", "--features", "conv-random", "--film", "way.gif", "--stat", "mmd-gauss")

    @pytest.fixture
    def interrupt(self, monkeypatch):
        """A signal during the step after so many."""

        def at(step: int, number: int = signal.SIGINT) -> None:
            advance = Pixels.advance

            def interrupted(painting: Pixels) -> None:
                if painting.done == step:
                    signal.raise_signal(number)
                advance(painting)

            monkeypatch.setattr(Pixels, "advance", interrupted)

        return at

    @pytest.mark.parametrize(("optimizer", "at", "steps"), [("adam", 3, 8), ("lbfgs", 10, 30)])
    def test_the_same_command_goes_on(self, gz, pictures, monkeypatch, interrupt, optimizer, at, steps) -> None:
        command = (*self.COMMAND, "--optimizer", optimizer, "--steps", steps)
        assert gz(*command, "--out", "whole.png").code == 0
        whole, film = opened(pictures / "whole.png"), (pictures / "way.gif").read_bytes()
        with monkeypatch.context():
            interrupt(at)
            result = gz(*command)
        monkeypatch.undo()
        monkeypatch.chdir(pictures)
        assert result.code == 130
        assert f"stopped by SIGINT at step {at + 1} of {steps}" in result.err
        so_far = opened(pictures / "stylized.png")
        assert (so_far != whole).any()
        assert (so_far != colours(24, 40)).any()
        result = gz(*command)
        assert result.code == 0, result.err
        assert "Going on from step" in result.err
        assert (opened(pictures / "stylized.png") == whole).all()
        assert not (pictures / "stylized.state.safetensors").exists()
        with Image.open(pictures / "way.gif") as again:
            assert again.n_frames == steps + 1
        assert len((pictures / "way.gif").read_bytes()) == len(film)

    def test_a_state_of_another_transfer_is_refused(self, gz, refused, pictures, interrupt) -> None:
        interrupt(3)
        assert gz(*self.COMMAND, "--optimizer", "adam", "--steps", 8).code == 130
        said = refused(1, *self.COMMAND, "--optimizer", "adam", "--steps", 8, "--seed", 1)
        assert "stylized.state.safetensors was left by a transfer of other pictures or other options: remove it" in said
        Image.fromarray(colours(24, 40, 9)).save(pictures / "content.png")
        assert "other pictures" in refused(1, *self.COMMAND, "--optimizer", "adam", "--steps", 8)

    def test_a_damaged_state_is_refused(self, gz, refused, pictures, interrupt) -> None:
        interrupt(3, signal.SIGTERM)
        result = gz(*self.COMMAND, "--optimizer", "adam", "--steps", 8)
        assert "SIGTERM" in result.err
        state = pictures / "stylized.state.safetensors"
        state.write_bytes(state.read_bytes()[:-100])
        assert "remove it to begin anew" in refused(1, *self.COMMAND, "--optimizer", "adam", "--steps", 8)


class TestRefused:
    @pytest.mark.parametrize(
        ("code", "args", "said"),
        [
            (2, ("--method", "gatis"), "Did you mean 'gatys'?"),
            (2, ("--stat", "gramm"), "Did you mean 'gram'?"),
            (2, ("--features", "vgg"), "no feature_maps named 'vgg'"),
            (2, ("--alpha", "0.5"), "gatys has no option 'alpha'"),
            (2, ("--method", "adain"), "--weights"),
            (2, ("--method", "adain", "--stat", "bn"), "adain has no option 'statistic'"),
            (1, (), "vgg19-dcbb9e9d.pth is not in"),
            (2, (*QUICK, "--out", "x.jpg"), "ends in .png"),
            (2, (*QUICK, "--out", "content.png"), "one of the pictures it is made from"),
            (2, (*QUICK, "--mix", "1,2"), "which are 1"),
            (2, (*QUICK, "--mix", "a"), "numbers with commas"),
            (2, (*QUICK, "--mix", "0"), "not all 0"),
            (2, (*QUICK, "--film", "content.png"), "content.png"),
            (2, (*QUICK, "--init", "nothing"), "'content' or 'noise'"),
            (2, (*QUICK, "--set", "style_layers=[relu9]"), "has no layer 'relu9'"),
            (2, (*QUICK, "--set", "statistic.power=2"), "gram has no option 'power'"),
            (2, (*QUICK, "--set", "nonsense"), "option=value"),
            (2, (*QUICK, "--device", "abacus"), "no such device"),
        ],
    )
    def test_options(self, refused, monkeypatch, tmp_path, code, args, said) -> None:
        monkeypatch.setenv("GZ_CACHE", str(tmp_path / "cache"))
        assert said in refused(code, "content.png", "style.png", *args)

    def test_files(self, refused, pictures) -> None:
        (pictures / "text.png").write_text("no picture")
        (pictures / "cut.png").write_bytes((pictures / "content.png").read_bytes()[:200])
        (pictures / "empty.png").write_bytes(b"")
        Image.fromarray(np.zeros((8, 8), np.float32)).save(pictures / "float.tif")
        Image.fromarray(np.full((8, 8), 70_000, np.int32)).save(pictures / "deep.tif")
        for name, said in {
            "nothing.png": "is no file",
            ".": "is no file",
            "text.png": "is no PNG, JPEG, WebP, BMP, GIF, TIFF or PPM image: remove it or replace it.",
            "empty.png": "is empty (0 bytes): remove it or copy it again.",
            "cut.png": "cannot be decoded",
            "float.tif": "holds floating-point values",
            "deep.tif": "holds 32-bit values",
        }.items():
            for pair in ((name, "style.png"), ("content.png", name)):
                message = refused(1, *pair, *QUICK)
                assert name in message
                assert said in message

    @pytest.mark.parametrize("size", [(1, 1), (3, 40), (4, 1)])
    def test_tiny_pictures(self, refused, pictures, size) -> None:
        Image.fromarray(colours(*size)).save(pictures / "tiny.png")
        for pair in (("tiny.png", "style.png"), ("content.png", "tiny.png")):
            said = refused(1, *pair, *QUICK, "--stat", "bn")
            assert "at least 4x4" in said
            assert "tiny.png" in said

    def test_a_map_of_one_position_has_no_deviation(self, refused, pictures) -> None:
        Image.fromarray(colours(4, 4)).save(pictures / "tiny.png")
        assert "too small for this layer" in refused(1, "tiny.png", "style.png", *QUICK, "--stat", "bn")

    def test_huge_pictures(self, refused, monkeypatch) -> None:
        monkeypatch.setattr(stylize_input, "PIXELS", 100)
        assert "40x24 pixels, too many to open" in refused(1, "content.png", "style.png", *QUICK)

    def test_more_memory_than_there_is(self, refused, gz, monkeypatch) -> None:
        monkeypatch.setattr(styling, "room", lambda device: 200_000)
        said = refused(2, "content.png", "style.png", *QUICK)
        assert "choose --size" in said
        size = said.partition("--size ")[2].partition(",")[0]
        assert gz("content.png", "style.png", *QUICK, "--size", size).code == 0

    def test_places_that_cannot_be_written(self, refused, monkeypatch, pictures) -> None:
        monkeypatch.setattr(styling, "read", None)  # nothing is read before
        (pictures / "taken.png").mkdir()
        for option, path, said in [
            ("--out", "/proc/x.png", "--out /proc/x.png: cannot write into /proc"),
            ("--film", "/proc/x.gif", "--film /proc/x.gif: cannot write into /proc"),
            ("--film", "/proc/new", "--film /proc/new: cannot write into /proc"),
            ("--out", "taken.png", "taken.png is a folder"),
        ]:
            assert said in refused(2, "content.png", "style.png", *QUICK, option, path)

    def test_a_film_of_one_step(self, refused, pictures) -> None:
        recipe = {"use": "adain", "features": {"use": "conv-random"}}
        decoder = {f"decoder.{n}": t for n, t in Decoder(ConvRandom.plan).state_dict().items()}
        write(pictures / "d.safetensors", decoder, Header("snapshot", recipe, 0))
        args = ("content.png", "style.png", "--method", "adain", "--weights", "d.safetensors")
        assert "in one step" in refused(2, *args, "--film", "way.gif")

    def test_help_names_no_torch(self, gz) -> None:
        assert gz("--help").code == 0


class TestAdaIN:
    @pytest.fixture
    def snapshot(self, pictures) -> Path:
        torch.manual_seed(0)
        decoder = {f"decoder.{n}": t for n, t in Decoder(ConvRandom.plan).state_dict().items()}
        path = pictures / "snapshot-000000.safetensors"
        write(path, decoder, Header("snapshot", {"use": "adain", "features": {"use": "conv-random"}}, 0))
        return path

    def test_odd_sizes_and_strengths(self, gz, pictures, snapshot) -> None:
        Image.fromarray(colours(23, 37)).save(pictures / "odd.png")
        made = []
        for alpha in ("0", "0.5", "1"):
            args = ("odd.png", "style.png", "other.png", "--method", "adain", "--weights", snapshot.name)
            assert gz(*args, "--alpha", alpha, "--out", f"{alpha}.png").code == 0
            made.append(opened(pictures / f"{alpha}.png"))
        assert made[0].shape == (23, 37, 3)
        assert (made[0] != made[2]).any()

    def test_a_folder_means_its_newest_snapshot(self, gz, snapshot) -> None:
        assert gz("content.png", "style.png", "--method", "adain", "--weights", ".").code == 0

    def test_another_encoder_does_not_fit(self, refused, snapshot, monkeypatch, tmp_path) -> None:
        monkeypatch.setenv("GZ_CACHE", str(tmp_path / "cache"))
        args = ("content.png", "style.png", "--method", "adain", "--weights", snapshot.name)
        assert "vgg_normalised.pth" in refused(1, *args, "--features", "vgg19-normalised")

    def test_a_snapshot_of_a_gan(self, refused, pictures) -> None:
        write(pictures / "gan.safetensors", {"G.x": torch.zeros(1)}, Header("snapshot", {"use": "gan"}, 0))
        args = ("content.png", "style.png", "--method", "adain", "--weights", "gan.safetensors")
        assert "no snapshot of a decoder" in refused(1, *args)
