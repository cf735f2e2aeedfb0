"""Parts of one's own train like the library's: a raw-waveform encoder, an adapter, a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from dllm_audio import AudioDiffusionLM, AudioEmbeddings, EncoderOutput, parts, register
from dllm_audio.data import DiffusionCollator, EosPadding
from dllm_audio.errors import InvalidArgumentError
from dllm_audio.prompts import ChatTemplate
from dllm_audio.training import (
    DiffusionTask,
    Foundation,
    LoRASettings,
    Stage,
    StageData,
    assemble,
    attach_lora,
    run_stage,
)
from dllm_audio.training.run_data import audio_positions, front_end

from .tiny import OPTIMIZATION, SETTINGS, TOKENIZER, VOCABULARY, loop, rows


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is registered here is forgotten afterwards."""
    kinds = ("encoder", "adapter", "backbone")
    kept = {kind: parts.registered(kind) for kind in parts.KINDS}
    monkeypatch.setattr(parts, "_registry", kept)
    for kind, cls in zip(kinds, (Chunks, Linear, Mixer), strict=True):
        register(kind, f"test-{cls.__name__.lower()}")(cls)


class Chunks(nn.Module):
    """Waveforms in pieces of 160 samples."""

    num_layers, sampling_rate, window_seconds = 1, 16000, None

    def __init__(self, hidden_size: int = 8) -> None:
        super().__init__()
        self.hidden_size, self.project = hidden_size, nn.Linear(160, hidden_size)

    def to_config(self) -> dict[str, int]:
        return {"hidden_size": self.hidden_size}

    def features(self, waveforms: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        lengths = torch.tensor([len(w) // 160 for w in waveforms])
        padded = pad_sequence([w[: len(w) // 160 * 160] for w in waveforms], batch_first=True)
        return padded.unflatten(1, (-1, 160)), lengths

    def forward(self, features: Tensor, lengths: Tensor) -> EncoderOutput:
        frames = self.project(features)
        return EncoderOutput(frames, (frames, frames), lengths)


class Linear(nn.Module):
    """One projection, and a gain that must be set."""

    def __init__(self, encoder_dim: int, lm_dim: int, gain: float = 1.0) -> None:
        super().__init__()
        self.sizes, self.gain = (encoder_dim, lm_dim), gain
        self.project = nn.Linear(encoder_dim, lm_dim)

    def to_config(self) -> dict[str, Any]:
        return {"encoder_dim": self.sizes[0], "lm_dim": self.sizes[1], "gain": self.gain}

    def forward(self, output: EncoderOutput) -> AudioEmbeddings:
        return AudioEmbeddings(self.gain * self.project(output.last_hidden_state), output.lengths)


@dataclass
class MixerConfig:
    mask_token_id: int
    eos_token_id: int
    vocab_size: int


class Mixer(nn.Module):
    """Every position sees the mean of all."""

    def __init__(self, **config: int) -> None:
        super().__init__()
        self.config = MixerConfig(**config)
        self.table = nn.Embedding(self.config.vocab_size, 12)
        self.mix, self.out = nn.Linear(12, 12), nn.Linear(12, self.config.vocab_size)

    def to_config(self) -> dict[str, int]:
        return dict(vars(self.config))

    def embed(self, input_ids: Tensor) -> Tensor:
        return self.table(input_ids)

    def hidden(
        self, inputs_embeds: Tensor, *, attention_mask=None, output_positions=None, **_: Any
    ) -> Tensor:
        shown = torch.ones(inputs_embeds.shape[:2]) if attention_mask is None else attention_mask
        shown = shown[..., None].to(inputs_embeds.dtype)
        mean = (inputs_embeds * shown).sum(1, keepdim=True) / shown.sum(1, keepdim=True)
        states = inputs_embeds + torch.tanh(self.mix(inputs_embeds + mean))
        if output_positions is None:
            return states
        return states.gather(1, output_positions[..., None].expand(-1, -1, 12))

    def head(self, hidden: Tensor) -> Tensor:
        return self.out(hidden)


def foundation() -> Foundation:
    torch.manual_seed(0)
    tokens = TOKENIZER
    mixer = Mixer(
        mask_token_id=tokens.mask_token_id,
        eos_token_id=tokens.eos_token_id,
        vocab_size=len(VOCABULARY),
    )
    return Foundation(Chunks(), mixer, tokens, {"test-linear": {"gain": 0.5}})


LORA = LoRASettings(rank=2, alpha=4, targets=("mix",))


def stage() -> Stage:
    return Stage("own", "test-linear", "qa", OPTIMIZATION, ("adapter", "lora"), lora=LORA)


def data(shared: Foundation) -> StageData:
    template = ChatTemplate(TOKENIZER, system=None)
    return StageData(rows(8), DiffusionCollator(template, front_end(shared.encoder), EosPadding(8)))


def test_a_stage_of_own_parts_learns(tmp_path: Path) -> None:
    shared = foundation()
    model = assemble(shared, stage())
    assert model.adapter.gain == 0.5
    assert model.adapter.sizes == (8, 12)
    made = loop(DiffusionTask(model), tmp_path, rows(8), collate=data(shared).collator)
    losses = [entry["loss"] for entry in made.run().history]
    assert len(losses) == 4


def test_it_leaves_a_model_that_loads(tmp_path: Path) -> None:
    shared = foundation()
    run_stage(stage(), assemble(shared, stage()), data(shared), tmp_path, settings=SETTINGS)
    loaded = AudioDiffusionLM.from_pretrained(tmp_path)
    assert type(loaded.adapter) is Linear
    with pytest.warns(UserWarning, match="without a cache"):
        answer = loaded.generate(audio=torch.zeros(1600), prompts="what?")
    assert answer.output.tokens.shape[0] == 1


def test_positions_of_its_audio_are_bounded() -> None:
    positions = audio_positions(foundation(), stage())
    for seconds in (0.1, 1.0, 3.7, 25.0):
        assert 0 <= positions(seconds) - int(seconds * 100) <= 2


def test_what_is_not_registered_is_refused_before_it_trains(tmp_path: Path) -> None:
    class Louder(Linear):
        pass

    shared = foundation()
    model = assemble(shared, stage())
    model.adapter = Louder(8, 12)
    with pytest.raises(InvalidArgumentError, match=r"@register\('adapter', 'louder'\)"):
        run_stage(stage(), model, data(shared), tmp_path, settings=SETTINGS)
    with pytest.raises(InvalidArgumentError, match=r"adapter: .*got 'louder'"):
        Stage("own", "louder", "qa", OPTIMIZATION)


def test_linear_layers_are_listed_where_lora_finds_none() -> None:
    with pytest.raises(InvalidArgumentError, match=r"linear layers \['mix', 'out'\]"):
        attach_lora(foundation().backbone, LoRASettings())
