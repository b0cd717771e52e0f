"""`gz stylize`: pictures of all kinds in, a picture out, interrupted and resumed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganzoo.extractors.conv_random import ConvRandom
from ganzoo.model.checkpoint import Header, write
from ganzoo_data.decode import Target, decode
from ganzoo_style_transfer import pictures as stylize_input
from ganzoo_style_transfer.adain import Decoder
from ganzoo_style_transfer.gatys import Pixels
from stylizing import QUICK, colours, opened
from stylizing import gz as gz
from stylizing import pictures as pictures
from stylizing import refused as refused


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


class TestAdaIN:
    @pytest.fixture
    def snapshot(self, pictures) -> Path:
        torch.manual_seed(0)
        decoder = {f"decoder.{n}": t for n, t in Decoder(ConvRandom.plan("relu3")).state_dict().items()}
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
