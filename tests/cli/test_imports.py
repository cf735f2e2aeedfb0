"""Parts of somebody's own from the command line: what is named is imported, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from dllm_audio import AudioDiffusionLM
from dllm_audio.cli import main
from dllm_audio.cli.exit_codes import ERROR, OK
from dllm_audio.errors import InvalidArgumentError
from dllm_audio.parts import import_parts
from dllm_audio.training import RunConfig

ADAPTER = """
from torch import nn

from dllm_audio import AudioEmbeddings, register


@register("adapter", "every-fourth")
class EveryFourth(nn.Module):
    def __init__(self, encoder_dim, lm_dim):
        super().__init__()
        self.sizes = {"encoder_dim": encoder_dim, "lm_dim": lm_dim}
        self.projection = nn.Linear(encoder_dim, lm_dim)

    def to_config(self):
        return self.sizes

    def forward(self, heard):
        embeds = self.projection(heard.last_hidden_state[:, ::4])
        return AudioEmbeddings(embeds, (heard.lengths - 1) // 4 + 1)
"""
RULE = """
from dataclasses import dataclass

from dllm_audio import register
from dllm_audio.samplers import CommitRule


@register("commit", "all-at-once")
@dataclass(frozen=True)
class AllAtOnce(CommitRule):
    def commit(self, state):
        return state.candidates
"""
SAVE = """
import sys

import own_adapter
from dllm_audio import AudioDiffusionLM

model = AudioDiffusionLM.from_pretrained(sys.argv[1])
adapter = own_adapter.EveryFourth(model.encoder.hidden_size, model.backbone.config.d_model)
own = AudioDiffusionLM.from_parts(
    model.encoder, adapter, model.backbone, model.tokenizer, sampler=model.default_sampler()
)
own.save_pretrained("own")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own_adapter.py").write_text(ADAPTER)
    (tmp_path / "own_rule.py").write_text(RULE)
    soundfile.write(tmp_path / "clip.wav", [0.1] * 4000, 16000)
    return tmp_path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(folder)]))
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip


@pytest.mark.slow
def test_a_model_of_own_parts_answers(folder: Path, model_folder: Path) -> None:
    (folder / "save.py").write_text(SAVE)
    assert run(folder, "save.py", str(model_folder)).returncode == 0
    command = ["-P", "-m", "dllm_audio.cli", "answer", "clip.wav", "-q", "?", "--model", "own"]
    alone = run(folder, *command)
    assert alone.returncode == ERROR
    assert "every-fourth" in alone.stderr
    for source in ("own_adapter", "own_adapter.py", str(folder / "own_adapter.py")):
        named = run(folder, *command, "--json", "--import", source)
        assert (named.returncode, named.stderr) == (OK, "")
        assert json.loads(named.stdout)["answer"] is not None


def test_a_rule_of_ones_own_decodes(folder: Path, model_folder: Path, capsys) -> None:
    sampler = json.dumps({"gen_length": 8, "commit": {"name": "all-at-once"}})
    command = ["answer", str(folder / "clip.wav"), "-q", "?", "--model", str(model_folder)]
    command += ["--sampler", sampler, "--json"]
    assert main(command) == ERROR
    assert "all-at-once" in capsys.readouterr().err
    for _ in range(2):  # imported once, whatever is asked for
        assert main([*command, "--import", str(folder / "own_rule.py")]) == OK
        assert json.loads(capsys.readouterr().out)["windows"][0]["nfe"] == 1


def test_what_cannot_be_imported_is_one_line(folder: Path, capsys) -> None:
    (folder / "broken.py").write_text("raise ValueError('two\\nlines')")
    (folder / "leaves.py").write_text("import sys; sys.exit(0)")
    (folder / "folder.py").mkdir()
    sources = [str(folder / name) for name in ("broken.py", "leaves.py", "folder.py", "none.py")]
    for source in (*sources, "no_such_module_anywhere", ".relative", "../up"):
        assert main(["answer", "x.wav", "-q", "?", "--import", source]) == ERROR
        error = capsys.readouterr().err
        assert error.startswith("dllm-audio: error: --import: expected a module, or a .py file")
        assert source in error
        assert error.count("\n") == 1


def run_file(folder: Path, **changes: object) -> Path:
    values = {"data": {"qa": {"train": ["rows.jsonl"]}}, "encoder": "e", "backbone": "b"}
    (folder / "run.json").write_text(json.dumps(values | changes))
    return folder / "run.json"


def test_a_run_file_names_modules_of_parts(folder: Path) -> None:
    (folder / "run_encoder.py").write_text(
        "from dllm_audio import register\n"
        "@register('encoder', 'of-a-run-file')\n"
        "class Own:\n"
        "    def to_config(self): return {}\n"
    )
    own = {"name": "of-a-run-file", "settings": {}}
    with pytest.raises(InvalidArgumentError, match="of-a-run-file"):
        RunConfig.from_file(run_file(folder, encoder=own))
    source = str(folder / "run_encoder.py")
    assert RunConfig.from_file(run_file(folder, encoder=own, **{"import": [source]})).encoder == own


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["no_such_module"], r"run.json: import\[0\]: expected a module.*'no_such_module'"),
        ("parts.py", "run.json: import: expected a list"),
        ([1], r"run.json: import\[0\]: expected a text"),
    ],
)
def test_a_run_file_says_which_import_failed(folder: Path, value: object, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        RunConfig.from_file(run_file(folder, **{"import": value}))


def test_a_models_folder_names_no_code(folder: Path, model_folder: Path) -> None:
    """A config that asks for an import is not obeyed."""
    marker = folder / "ran"
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')")
    own = folder / "model"
    AudioDiffusionLM.from_pretrained(model_folder).save_pretrained(own)
    config = json.loads((own / "config.json").read_text())
    config |= {"import": [str(folder / "evil.py")], "auto_map": {"AutoModel": "evil.Model"}}
    (own / "config.json").write_text(json.dumps(config))
    (own / "evil.py").write_text((folder / "evil.py").read_text())
    main(["answer", str(folder / "clip.wav"), "-q", "?", "--model", str(own)])
    assert not marker.exists()


def test_a_file_runs_once(folder: Path) -> None:
    (folder / "counts.py").write_text("import sys; sys.counted = getattr(sys, 'counted', 0) + 1")
    for _ in range(3):
        import_parts(str(folder / "counts.py"))
    assert sys.__dict__.pop("counted") == 1
