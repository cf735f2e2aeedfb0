"""A model of other people's parts goes all the way: answers, folder, training, evaluation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    BertConfig,
    BertForMaskedLM,
    HubertConfig,
    HubertModel,
    PreTrainedTokenizerFast,
    Wav2Vec2FeatureExtractor,
)

from dllm_audio import (
    AudioDiffusionLM,
    AudioEmbeddings,
    EncoderOutput,
    LowConfidenceSampler,
    MaskedLMBackbone,
    TransformersEncoder,
    register,
)
from dllm_audio.cli import main
from dllm_audio.data import DiffusionCollator, EosPadding, ExampleParser, RecordDataset
from dllm_audio.errors import InvalidArgumentError
from dllm_audio.prompts import ChatTemplate
from dllm_audio.protocols import AudioEncoder, Backbone
from dllm_audio.samplers import CachePolicy, Sampler
from dllm_audio.training import Foundation, Optimization, Stage, StageData, assemble, run_stage

WORDS = "what is said who are you a b c violin piano one two choose the answer . , : ? system user"


@register("adapter", "test-mean")
class MeanAdapter(nn.Module):
    """Somebody's own adapter: one embedding for every pair of frames."""

    def __init__(self, encoder_dim: int, lm_dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(encoder_dim, lm_dim)

    def to_config(self) -> dict[str, Any]:
        return {
            "encoder_dim": self.project.in_features,
            "lm_dim": self.project.out_features,
        }

    def forward(self, encoder_output: EncoderOutput) -> AudioEmbeddings:
        frames = encoder_output.last_hidden_state
        pairs = frames[:, : frames.shape[1] // 2 * 2].unflatten(1, (-1, 2)).mean(2)
        return AudioEmbeddings(self.project(pairs), encoder_output.lengths // 2)


def tokenizer() -> PreTrainedTokenizerFast:
    special = ["[PAD]", "[UNK]", "[SEP]", "[MASK]", "[CLS]"]
    words = {w: i for i, w in enumerate([*special, *sorted(set(WORDS.split()))])}
    made = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    names = dict(zip(("pad", "unk", "sep", "mask", "cls"), special, strict=True))
    return PreTrainedTokenizerFast(
        tokenizer_object=made, **{f"{name}_token": token for name, token in names.items()}
    )


def encoder() -> TransformersEncoder:
    torch.manual_seed(1)
    config = HubertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        conv_dim=(8, 8), conv_kernel=(10, 8), conv_stride=(8, 8), num_feat_extract_layers=2,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, feat_extract_norm="layer",
        do_stable_layer_norm=True,
    )  # fmt: skip
    return TransformersEncoder(HubertModel(config), Wav2Vec2FeatureExtractor())


def backbone() -> MaskedLMBackbone:
    torch.manual_seed(2)
    words = tokenizer()
    config = BertConfig(
        vocab_size=len(words), hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=256, initializer_range=0.4,
    )  # fmt: skip
    return MaskedLMBackbone(BertForMaskedLM(config), words)


@pytest.fixture
def model() -> AudioDiffusionLM:
    sampler = LowConfidenceSampler(4, 4)
    made = AudioDiffusionLM.from_parts(
        encoder(), MeanAdapter(16, 24), backbone(), tokenizer(), sampler=sampler
    )
    return made.eval()


def sound(seed: int, samples: int = 4000) -> Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed)) * 0.1


def test_it_answers_and_comes_back_equal(model: AudioDiffusionLM, tmp_path: Path) -> None:
    arguments = {"prompts": ["what is said ?", "who are you ?"], "audio": [sound(0), sound(1, 900)]}
    before = model.generate(**arguments)
    model.save_pretrained(tmp_path)
    loaded = AudioDiffusionLM.from_pretrained(tmp_path)
    assert [type(loaded.encoder), type(loaded.adapter), type(loaded.backbone)] == [
        TransformersEncoder, MeanAdapter, MaskedLMBackbone,
    ]  # fmt: skip
    assert loaded.default_sampler().to_dict() == model.default_sampler().to_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    after = loaded.generate(**arguments)
    assert after.texts == before.texts
    assert torch.equal(after.output.tokens, before.output.tokens)
    card = (tmp_path / "README.md").read_text()
    assert "`test-mean`" in card
    assert "`masked-lm`" in card


def test_it_chooses_among_given_answers(model: AudioDiffusionLM) -> None:
    found = model.generate(
        prompts=["what is said ?", "who are you ?"], audio=[sound(0), None],
        choices=["violin", "piano", "one two"],
    )  # fmt: skip
    assert found.choice_probabilities is not None
    for text, row in zip(found.texts or [], found.choice_probabilities, strict=True):
        assert sum(row) == pytest.approx(1.0)
        assert text == ["violin", "piano", "one two"][row.index(max(row))]


def test_an_unregistered_part_is_refused_with_the_line_that_would_register_it(
    model: AudioDiffusionLM, tmp_path: Path
) -> None:
    class Mine(MeanAdapter):
        pass

    model.save_pretrained(tmp_path)
    model.adapter = Mine(16, 24)
    with pytest.raises(InvalidArgumentError, match=r"@register\('adapter', 'mine'\)"):
        model.save_pretrained(tmp_path)
    assert type(AudioDiffusionLM.from_pretrained(tmp_path).adapter) is MeanAdapter
    assert model.generate(prompts="what ?", audio=sound(0)).texts  # it still answers


def test_the_command_evaluates_it(
    model: AudioDiffusionLM, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model.save_pretrained(tmp_path / "model")
    items = []
    for number in range(3):
        soundfile.write(tmp_path / f"{number}.wav", sound(number).numpy(), 16000)
        items.append(
            {
                "id": str(number), "audio_id": f"{number}.wav", "question": "what is said ?",
                "choices": ["violin", "piano"], "answer": "violin", "task": "music",
                "difficulty": "easy", "category": "c", "sub-category": "s",
            }
        )  # fmt: skip
    (tmp_path / "mmau.json").write_text(json.dumps(items))
    code = main(
        [
            "eval", "mmau", "--data", str(tmp_path / "mmau.json"), "--audio-root", str(tmp_path),
            "--model", str(tmp_path / "model"), "--output", str(tmp_path / "out"),
        ]
    )  # fmt: skip
    assert code == 0, capsys.readouterr().err
    assert "3" in capsys.readouterr().out


def test_two_steps_of_a_stage_train_it_and_leave_a_model_that_loads(
    model: AudioDiffusionLM, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    shared = Foundation.from_model(model)
    optimization = Optimization(max_steps=2, warmup_steps=0, batch_size=2, bf16=False)
    stage = Stage("own", "test-mean", "qa", optimization)
    rows = [
        {"audio": (sound(number).numpy(), 16000), "question": "what is said ?", "answer": "one two"}
        for number in range(4)
    ]
    template = ChatTemplate(shared.tokenizer)
    collator = DiffusionCollator(template, shared.encoder.features, EosPadding(4))
    data = StageData(RecordDataset(rows, ExampleParser()), collator)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    run_stage(stage, assemble(shared, stage), data, tmp_path / "own")
    trained = AudioDiffusionLM.from_pretrained(tmp_path / "own")
    changed = {n for n, t in trained.state_dict().items() if not torch.equal(t, before[n])}
    assert changed == {"adapter.project.weight", "adapter.project.bias"}
    assert trained.default_sampler() == model.default_sampler()
    assert trained.generate(prompts="what ?", audio=sound(0)).texts


class BareEncoder:
    """What the protocol lists, and no more; no module either."""

    hidden_size, num_layers, sampling_rate, window_seconds = 16, 1, 16000, None

    def features(self, waveforms: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        lengths = torch.tensor([len(each) // 16 for each in waveforms])
        pairs = zip(waveforms, lengths.tolist(), strict=True)
        rows = [each[: count * 16].view(-1, 16) for each, count in pairs]
        return pad_sequence(rows, batch_first=True), lengths

    def __call__(self, features: Tensor, lengths: Tensor) -> EncoderOutput:
        return EncoderOutput(features, (features, features), lengths)


class BareBackbone(nn.Module):
    """As above: embed, hidden, head and a config; nothing that caches, no forward."""

    def __init__(self, inner: MaskedLMBackbone) -> None:
        super().__init__()
        self.config, self.embed, self.head = inner.config, inner.embed, inner.head
        self.inner = inner

    def hidden(self, inputs_embeds: Tensor, **arguments: Any) -> Tensor:
        assert arguments.pop("cache", None) is None
        return self.inner.hidden(inputs_embeds, **arguments)


def test_parts_that_are_the_protocols_and_no_more_answer_with_the_default_sampler() -> None:
    assert isinstance(BareEncoder(), AudioEncoder)
    assert isinstance(BareBackbone(backbone()), Backbone)
    model = AudioDiffusionLM.from_parts(
        BareEncoder(), MeanAdapter(16, 24), BareBackbone(backbone().eval()), tokenizer()
    )
    sampler = model.default_sampler()
    assert sampler.cache.kind is not None
    question = {"audio": [sound(0, 900), sound(1, 400)], "prompts": ["what is said", "who"]}
    with pytest.warns(UserWarning, match="cannot cache; decoding without a cache") as said:
        answer = model.generate(**question)
    assert len(said) == 1
    uncached = Sampler(
        sampler.gen_length, sampler.block_length, sampler.commit,
        cache=CachePolicy(None), options=sampler.options,
    )  # fmt: skip
    assert answer.texts == model.generate(**question, sampler=uncached).texts
