"""What other systems lack or encode otherwise: no `resource` module, no opening of directories, narrow encodings."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from ganzoo.io import files
from ganzoo.io.log import read_json_lines
from ganzoo.training.device import peak_memory
from sampling import snapshots as snapshots

HIDDEN = "import sys; sys.modules.update(dict.fromkeys(('resource', 'fcntl', 'termios')));"


def python(code: str, *args: str | Path, **env: str) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.run(command, capture_output=True, env={**os.environ, **env}, timeout=300)


@pytest.mark.parametrize(
    "arguments",
    [
        ["env"],
        ["generate", "CKPT", "--seeds", "0", "--outdir", "OUT"],
        ["train", "stylegan2-tiny", "--data", "shapes", "--kimg", "0.016", "--metrics", "none", "--outdir", "OUT"],
    ],
    ids=lambda words: words[0],
)
def test_modules_of_unix_alone_are_not_needed(arguments, snapshots, tmp_path):
    names = {"CKPT": str(snapshots("stylegan2")), "OUT": str(tmp_path)}
    code = f"{HIDDEN} from ganzoo_cli import main; sys.exit(main(sys.argv[1:]))"
    done = python(code, *(names.get(word, word) for word in arguments))
    assert done.returncode == 0, done.stderr.decode()


def test_peak_memory_without_the_resource_module(monkeypatch):
    import torch

    usual = peak_memory(torch.device("cpu"))
    monkeypatch.setitem(sys.modules, "resource", None)
    assert 0.3 * usual < peak_memory(torch.device("cpu")) <= 1.1 * usual


def test_a_file_is_synced_where_directories_cannot_be_opened(tmp_path, monkeypatch):
    real = os.open

    def windows(path, flags, *args, **kwargs):
        if Path(path).is_dir():
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", windows)
    with files.atomic_write(tmp_path / "a.txt", synced=True) as temporary:
        temporary.write_text("whole")
    assert (tmp_path / "a.txt").read_text() == "whole"


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8", "latin-1"])
@pytest.mark.parametrize("arguments", [["components", "list"], ["recipe", "show", "stylegan2-tiny"], ["--help"]])
def test_output_in_narrow_encodings(encoding, arguments):
    done = python("import sys; from ganzoo_cli import main; sys.exit(main(sys.argv[1:]))", *arguments,
                  PYTHONIOENCODING=encoding)  # fmt: skip
    assert done.returncode == 0, done.stderr.decode(encoding)
    assert len(done.stdout.decode(encoding)) > 100


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes exist on Linux")
def test_file_names_that_are_no_utf8(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    for i in range(4):
        Image.new("RGB", (32, 32), (i * 60, 0, 0)).save(folder / os.fsdecode(b"\xff%d.png" % i))
    name, out = str(folder), str(tmp_path / "out")
    code = "import sys; from ganzoo_cli import main; sys.exit(main(sys.argv[1:]))"
    refused = python(code, "train", "stylegan2-tiny", "--data", name, "--outdir", out)
    assert refused.returncode == 2 and refused.stderr.count(b"error: ") == 1
    assert b"holds bytes that are no UTF-8" in refused.stderr
    odd = str(tmp_path / os.fsdecode(b"out\xfe"))
    refused = python(code, "train", "stylegan2-tiny", "--data", "shapes", "--outdir", odd)
    assert refused.returncode == 2 and b"bytes that are no UTF-8" in refused.stderr
    link = tmp_path / "link"
    link.symlink_to(folder)
    for arguments in (
        ["data", "info", str(link)],
        ["train", "stylegan2-tiny", "--data", str(link), "--kimg", "0.016", "--metrics", "none", "--outdir", out],
        ["train", "--resume", "latest", "--kimg", "0.032", "--outdir", out],
    ):
        done = python(code, *arguments)
        assert done.returncode == 0, done.stderr


def test_damaged_lines_of_statistics_are_left_out(tmp_path):
    file = tmp_path / "stats.jsonl"
    file.write_bytes(b'{"kimg": 1}\n\xff\xfe\n[1, 2]\n"word"\n{"kimg": 2}\n{"ki')
    assert read_json_lines(file) == [{"kimg": 1}, {"kimg": 2}]
    assert json.dumps(read_json_lines(tmp_path / "none.jsonl")) == "[]"
