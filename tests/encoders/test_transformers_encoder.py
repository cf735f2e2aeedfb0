"""Audio models of transformers as encoders: parity, independence of the batch, descriptions."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    ASTModel,
    HubertConfig,
    HubertForCTC,
    HubertModel,
    PreTrainedModel,
    Qwen2AudioEncoder,
    Qwen2AudioEncoderConfig,
    SequenceFeatureExtractor,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)

from dllm_audio import (
    AcousticAdapter,
    DualAdapter,
    SemanticAdapter,
    TransformersEncoder,
    WhisperEncoder,
)
from dllm_audio.errors import (
    AudioTooLongError,
    CheckpointError,
    InvalidArgumentError,
    NonFiniteAudioError,
    ShapeError,
)
from dllm_audio.parts import build, describe
from dllm_audio.training import LoRASettings, attach_lora

RAW = {
    "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24,
    "conv_dim": (8, 8), "conv_kernel": (10, 4), "conv_stride": (5, 4),
    "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
    "initializer_range": 0.3,
}  # fmt: skip
TOWER = {
    "d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 24,
    "num_mel_bins": 20, "max_source_positions": 50,
}  # fmt: skip
PATCHES = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "num_mel_bins": 32, "max_length": 64,
}  # fmt: skip
SPECTRAL = ("ast", "qwen2-audio", "whisper")
KINDS = (
    "hubert-layer", "hubert-group", "wav2vec2-layer", "wav2vec2-group", "wavlm-layer",
    "wavlm-group", *SPECTRAL,
)  # fmt: skip


def parts(kind: str) -> tuple[PreTrainedModel, SequenceFeatureExtractor]:
    torch.manual_seed(0)
    name, _, norm = kind.partition("-")
    raw: dict[str, Any] = {
        "hubert": (HubertConfig, HubertModel),
        "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model),
        "wavlm": (WavLMConfig, WavLMModel),
    }
    if name in raw:
        config, model = raw[name]
        settings = {**RAW, "feat_extract_norm": norm, "do_stable_layer_norm": norm == "layer"}
        return model(config(**settings)), Wav2Vec2FeatureExtractor()
    if kind == "ast":
        return ASTModel(ASTConfig(**PATCHES)), ASTFeatureExtractor(num_mel_bins=32, max_length=64)
    log_mel = WhisperFeatureExtractor(feature_size=20, chunk_length=1)
    if kind == "whisper":
        settings = {**TOWER, "decoder_layers": 1, "decoder_attention_heads": 2, "vocab_size": 9}
        ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
        ids |= {"decoder_start_token_id": 1, "decoder_ffn_dim": 8}
        return WhisperModel(WhisperConfig(**settings, **ids)), log_mel
    return Qwen2AudioEncoder(Qwen2AudioEncoderConfig(**TOWER)), log_mel


@pytest.fixture(scope="module", params=KINDS)
def encoder(request: pytest.FixtureRequest) -> TransformersEncoder:
    return TransformersEncoder(*parts(request.param))


def clips(*sizes: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(sizes))
    return [torch.randn(size, generator=generator) * 0.3 for size in sizes]


@torch.no_grad()
def test_a_single_clip_is_what_transformers_makes_of_it(encoder: TransformersEncoder) -> None:
    (clip,) = clips(8000)
    output = encoder(*encoder.features([clip]))
    made = encoder.feature_extractor(clip.numpy(), sampling_rate=16000, return_tensors="pt")
    inputs = made[encoder.model.main_input_name]
    theirs = encoder.model(inputs, output_hidden_states=True)
    assert len(output.hidden_states) == encoder.num_layers + 1 == len(theirs.hidden_states)
    for ours, expected in zip(output.hidden_states, theirs.hidden_states, strict=True):
        assert torch.equal(ours, expected)
    count = int(output.lengths)
    assert torch.equal(output.last_hidden_state, theirs.last_hidden_state[:, :count])
    assert output.last_hidden_state.shape[2] == encoder.hidden_size
    assert count == encoder.num_frames(8000)
    if encoder.window_seconds is None:
        assert count == theirs.last_hidden_state.shape[1]


@torch.no_grad()
def test_a_row_does_not_depend_on_its_batch(encoder: TransformersEncoder) -> None:
    waveforms = clips(8000, 3000, 9999, 3000, 700)
    features, lengths = encoder.features(waveforms)
    exact = copy.deepcopy(encoder).double()  # how a machine rounds float32 is no matter here
    together = exact(features.double(), lengths)
    assert together.hidden_lengths is not None
    assert together.last_hidden_state.shape[1] == int(together.lengths.max())
    for row, waveform in enumerate(waveforms):
        single, length = encoder.features([waveform])
        cut = single.shape[1]
        assert torch.equal(features[row, :cut], single[0])
        assert length[0] == lengths[row]
        alone = exact(single.double(), length)
        n, hidden = int(alone.lengths), int(alone.hidden_lengths)
        assert (n, hidden) == (int(together.lengths[row]), int(together.hidden_lengths[row]))
        assert n == encoder.num_frames(len(waveform))
        torch.testing.assert_close(
            together.last_hidden_state[row, :n],
            alone.last_hidden_state[0, :n],
            atol=1e-9,
            rtol=1e-9,
        )
        for ours, expected in zip(together.hidden_states, alone.hidden_states, strict=True):
            upto = min(hidden, expected.shape[1])
            torch.testing.assert_close(ours[row, :upto], expected[0, :upto], atol=1e-9, rtol=1e-9)


@torch.no_grad()
def test_adapters_on_top_do_not_depend_on_the_batch(encoder: TransformersEncoder) -> None:
    size = encoder.hidden_size
    acoustic = AcousticAdapter(size, 12, (0, 1), 2, num_queries=3, intermediate_size=16)
    adapter = DualAdapter(SemanticAdapter(size, 12), acoustic).eval()
    waveforms = clips(8000, 3000)
    together = adapter(encoder(*encoder.features(waveforms)))
    for row, waveform in enumerate(waveforms):
        alone = adapter(encoder(*encoder.features([waveform])))
        n = int(alone.lengths)
        assert n == int(together.lengths[row])
        assert n == adapter.positions(encoder.num_frames(len(waveform)))
        torch.testing.assert_close(
            together.embeds[row, :n], alone.embeds[0, :n], atol=1e-4, rtol=1e-4
        )


@torch.no_grad()
def test_it_comes_back_equal_from_its_description(encoder: TransformersEncoder) -> None:
    description = json.loads(json.dumps(describe("encoder", encoder)))
    assert description["name"] == "transformers"
    again = build("encoder", description)
    again.load_state_dict(encoder.state_dict())
    features, lengths = encoder.features(clips(8000, 3000))
    theirs, length = again.features(clips(8000, 3000))
    assert torch.equal(features, theirs)
    assert torch.equal(lengths, length)
    expected, got = encoder(features, lengths), again(features, lengths)
    assert torch.equal(expected.last_hidden_state, got.last_hidden_state)
    assert describe("encoder", again) == description
    assert not again.trainable
    assert not again.train().training


@torch.no_grad()
def test_the_shortest_clip_becomes_a_frame(encoder: TransformersEncoder) -> None:
    output = encoder(*encoder.features(clips(1, 2000)))
    assert int(output.lengths[0]) == encoder.num_frames(1) >= 1
    assert output.last_hidden_state.isfinite().all()


def test_the_window_is_kept(encoder: TransformersEncoder) -> None:
    (clip,) = clips(20_000)
    if encoder.window_seconds is None:
        assert int(encoder.features([clip])[1]) == 20_000
        return
    with pytest.raises(AudioTooLongError, match=r"waveforms\[0\]"):
        encoder.features([clip])
    samples = round(encoder.window_seconds * 16000)
    cropped, _ = encoder.features([clip], crop=True)
    assert torch.equal(cropped, encoder.features([clip[:samples]])[0])


def test_training_reaches_the_weights_where_asked(encoder: TransformersEncoder) -> None:
    unfrozen = TransformersEncoder(*parts("hubert-layer"), trainable=True)
    assert unfrozen.training
    unfrozen(*unfrozen.features(clips(8000))).last_hidden_state.sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in unfrozen.parameters())
    assert not encoder.trainable


@pytest.mark.parametrize("kind", ["hubert-layer", "wav2vec2-group", "wavlm-layer", *SPECTRAL])
def test_published_folders(kind: str, tmp_path: Path) -> None:
    model, extractor = parts(kind)
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    loaded = TransformersEncoder.from_pretrained(tmp_path)
    expected = TransformersEncoder(model, extractor).state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(loaded.state_dict()[name], expected[name]) for name in expected)
    half = TransformersEncoder.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    output = half(*half.features(clips(8000)))
    assert output.last_hidden_state.dtype == torch.bfloat16


@pytest.mark.parametrize("kind", ["hubert-layer", "ast"])
def test_heads_are_passed_over(kind: str, tmp_path: Path) -> None:
    model, extractor = parts(kind)
    cls = HubertForCTC if kind == "hubert-layer" else ASTForAudioClassification
    whole = cls(model.config)
    whole.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    loaded = TransformersEncoder.from_pretrained(tmp_path).model.state_dict()
    inside = getattr(whole, whole.base_model_prefix).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in inside.items())


def test_the_tower_of_a_larger_model(tmp_path: Path) -> None:
    tower, extractor = parts("qwen2-audio")
    tensors = {f"audio_tower.{n}": t.clone() for n, t in tower.state_dict().items()}
    save_file({**tensors, "language_model.x": torch.zeros(2)}, tmp_path / "model.safetensors")
    config = {"model_type": "qwen2_audio", "audio_config": tower.config.to_dict()}
    (tmp_path / "config.json").write_text(json.dumps(config))
    extractor.save_pretrained(tmp_path)
    loaded = TransformersEncoder.from_pretrained(tmp_path).model
    assert type(loaded) is Qwen2AudioEncoder
    assert all(torch.equal(t, tower.state_dict()[n]) for n, t in loaded.state_dict().items())


def change(folder: Path, **changes: Tensor | None) -> None:
    tensors = {**load_file(folder / "model.safetensors"), **changes}
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder.layers.1.final_layer_norm.bias": None}, r"missing.*layers\.1\.final_layer"),
        ({"encoder.layers.7.final_layer_norm.bias": torch.zeros(16)}, r"left over.*layers\.7"),
        ({"encoder.layer_norm.bias": torch.zeros(17)}, r"layer_norm\.bias|mismatched|size"),
    ],
)
def test_loading_is_strict(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    model, extractor = parts("hubert-layer")
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    change(tmp_path, masked_spec_embed=None)  # as many published models
    assert not TransformersEncoder.from_pretrained(tmp_path).model.masked_spec_embed.any()
    change(tmp_path, **changes)
    with pytest.raises(CheckpointError, match=message):
        TransformersEncoder.from_pretrained(tmp_path)


def test_code_and_pickles_of_a_folder_are_never_read(tmp_path: Path) -> None:
    model, extractor = parts("hubert-layer")
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "evil.Evil", "AutoConfig": "evil.EvilConfig"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    adapter = {"base_model_name_or_path": "somebody/else", "peft_type": "LORA"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(adapter))
    assert type(TransformersEncoder.from_pretrained(tmp_path).model) is HubertModel
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="safetensors"):
        TransformersEncoder.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"model_type": "no-such-model"}},
        {"model": {"model_type": "bert"}},
        {"model": {"_attn_implementation": "flash_attention_2"}},
        {"model": {"attn_implementation": "flash_attention_2"}},
        {"model": {"hidden_dropout": 5}},
        {"model": {"num_hidden_layers": 10**9}},
        {"model": {"hidden_size": 10**30}},
        {"model": {"hidden_size": "many"}},
        {"model": {"hidden_size": -16}},
        {"model": {"conv_kernel": [0, 0]}},
        {"model": {"conv_kernel": 3}},
        {"model": {"conv_stride": [5]}},
        {"model": {"add_adapter": True}},
        {"feature_extractor": {"feature_extractor_type": "AutoFeatureExtractor"}},
        {"feature_extractor": {"feature_extractor_type": "os.system"}},
        {"feature_extractor": {"feature_extractor_type": None}},
        {"feature_extractor": {"sampling_rate": 10**12}},
        {"more": 1},
    ],
)
def test_hostile_descriptions_are_refused(changes: dict[str, Any]) -> None:
    description = describe("encoder", TransformersEncoder(*parts("wav2vec2-layer")))
    for name, values in changes.items():
        if isinstance(values, dict):
            description["settings"][name].update(values)
        else:
            description["settings"][name] = values
    with torch.device("meta"), pytest.raises(CheckpointError):
        build("encoder", description)


@pytest.mark.parametrize(
    "changes",
    [
        {"_attn_implementation": "flash_attention_2"}, {"dropout": 5}, {"activation_dropout": -1},
        {"d_model": 10**12}, {"encoder_layers": 10**6}, {"d_model": None}, {"model_type": "hubert"},
        {"encoder_layerdrop": 0.5}, {"no_such": {"a": [10**30]}},
    ],
)  # fmt: skip
def test_hostile_descriptions_of_whisper_are_refused(changes: dict[str, Any]) -> None:
    description = describe("encoder", WhisperEncoder(WhisperConfig(**TOWER)))
    assert build("encoder", description).to_config() == description["settings"]
    description["settings"].update(changes)
    with torch.device("meta"), pytest.raises(CheckpointError):
        build("encoder", description)


def test_an_unregistered_subclass_is_not_saved_as_its_parent() -> None:
    class MyEncoder(TransformersEncoder):
        pass

    with pytest.raises(InvalidArgumentError, match=r"@register\('encoder', 'my-encoder'\)"):
        describe("encoder", MyEncoder(*parts("hubert-layer")))


def test_somebody_elses_extractor_is_used_but_not_saved() -> None:
    class Louder(Wav2Vec2FeatureExtractor):
        pass

    encoder = TransformersEncoder(parts("hubert-layer")[0], Louder())
    assert encoder.features(clips(500))[0].shape == (1, 500)
    with pytest.raises(InvalidArgumentError, match="feature_extractor"):
        describe("encoder", encoder)


def test_errors_name_the_argument() -> None:
    model, extractor = parts("hubert-layer")
    with pytest.raises(InvalidArgumentError, match="model: expected a model"):
        TransformersEncoder(torch.nn.Linear(2, 2), extractor)
    with pytest.raises(InvalidArgumentError, match="feature_extractor"):
        TransformersEncoder(model, None)
    with pytest.raises(InvalidArgumentError, match=r"feature_extractor\.max_length"):
        TransformersEncoder(parts("ast")[0], ASTFeatureExtractor(num_mel_bins=32))
    encoder = TransformersEncoder(model, extractor)
    with pytest.raises(NonFiniteAudioError, match=r"items \[1\]"):
        encoder.features([torch.zeros(500), torch.full((500,), float("nan"))])
    with pytest.raises(ShapeError, match="features"):
        encoder(torch.zeros(2, 3, 500), torch.tensor([500, 500]))
    with pytest.raises(ShapeError, match="lengths"):
        encoder(torch.zeros(2, 500), torch.tensor([500]))
    for count in (0, 501):
        with pytest.raises(InvalidArgumentError, match="lengths: expected 25 to 500 steps"):
            encoder(torch.zeros(1, 500), torch.tensor([count]))


class Added(TransformersEncoder):
    """With a layer and a setting of its own."""

    def __init__(self, *parts: Any, **options: Any) -> None:
        super().__init__(*parts, **options)
        self.scale, self.layer = 3.0, torch.nn.Linear(2, 2)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_pickle_holds_the_encoder_and_what_a_subclass_adds(kind: str) -> None:
    encoder = Added(*parts(kind), trainable=True).bfloat16()
    encoder.model.eval()
    features = encoder.features(clips(6000))
    expected = encoder(*features)  # from now on transformers' hooks are in the model
    twin = pickle.loads(pickle.dumps(encoder))
    assert (type(twin), twin.scale, twin.trainable) == (Added, 3.0, True)
    assert [module.training for module in twin.modules()] == [m.training for m in encoder.modules()]
    for ours, theirs in zip(
        (*encoder.named_parameters(), *encoder.named_buffers()),
        (*twin.named_parameters(), *twin.named_buffers()),
        strict=True,
    ):
        assert ours[0] == theirs[0]
        assert ours[1].requires_grad == theirs[1].requires_grad
        assert torch.equal(ours[1], theirs[1])
    assert torch.equal(twin(*features).last_hidden_state, expected.last_hidden_state)


def test_a_model_with_layers_put_in_is_not_pickled_as_one_without() -> None:
    encoder = TransformersEncoder(*parts("hubert-layer"))
    attach_lora(encoder, LoRASettings(rank=2, targets=("q_proj",)))
    with pytest.raises(InvalidArgumentError, match=r"to be pickled, got .*lora_A"):
        pickle.dumps(encoder)
    assert copy.deepcopy(encoder).state_dict().keys() == encoder.state_dict().keys()
