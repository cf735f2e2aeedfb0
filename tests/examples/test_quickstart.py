"""The quickstart answers, draws and explains what it cannot do."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

SCRIPT = Path(__file__).parents[2] / "examples" / "quickstart.py"


def run(*options, cwd, **environment):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, options)],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_it_answers_the_shipped_questions_and_draws(tmp_path):
    result = run("--picture", tmp_path / "order.png", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    right, asked = map(int, re.search(r"(\d+) of (\d+) answers", result.stdout).groups())
    assert asked >= 20
    assert len(re.findall(r"\d+ forward passes, \d+ ms", result.stdout)) == asked
    assert (tmp_path / "order.png").read_bytes().startswith(b"\x89PNG")
    assert right >= 0.7 * asked


@pytest.mark.slow
def test_it_takes_a_file_of_one_s_own_and_refuses_what_is_none(tmp_path):
    tone = 0.3 * np.sin(2 * np.pi * 1000 * np.arange(4000) / 8000)
    sf.write(tmp_path / "mine.wav", tone, 8000)
    result = run("--audio", "mine.wav", "--prompt", "Which sound do you hear?", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Which sound do you hear?" in result.stdout
    assert (tmp_path / "denoising_order.png").exists()
    (tmp_path / "text.wav").write_text("no sound")
    result = run("--audio", "text.wav", cwd=tmp_path)
    assert result.returncode == 1
    assert "text.wav" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_without_matplotlib_it_answers_and_says_what_a_picture_needs(tmp_path):
    (tmp_path / "matplotlib.py").write_text("raise ModuleNotFoundError('matplotlib')")
    sf.write(tmp_path / "mine.wav", np.zeros(8000), 16000)
    result = run("--audio", "mine.wav", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert "no picture: matplotlib is needed" in result.stdout
    assert not (tmp_path / "denoising_order.png").exists()
