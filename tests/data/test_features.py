from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor, WhisperConfig

from dllm_audio import AcousticAdapter, ChatTemplate, TransformersEncoder, WhisperEncoder
from dllm_audio.data import (
    DiffusionCollator,
    EncoderFeatures,
    Example,
    StoredAudio,
    content_key,
    encoder_key,
    stored_encoder_output,
)
from dllm_audio.errors import DataError

from .chat_tokenizer import CharacterTokenizer

TAPS = (1, 2)


def make_encoder() -> WhisperEncoder:
    return WhisperEncoder(
        WhisperConfig(
            d_model=16,
            encoder_layers=2,
            encoder_attention_heads=2,
            encoder_ffn_dim=32,
            max_source_positions=50,
        )
    )


def clips(count: int) -> list[tuple[np.ndarray, int]]:
    rng = np.random.default_rng(0)
    return [(rng.uniform(-1, 1, 3000 + 2000 * i).astype(np.float32), 16000) for i in range(count)]


def test_a_batch_of_stored_features_is_the_encoders_output(tmp_path: Path) -> None:
    encoder, sources = make_encoder(), clips(3)
    store = EncoderFeatures(tmp_path, encoder, TAPS, torch.float32)
    assert store.compute(sources, encoder, progress=False) == 3
    batch = store.collate(sources)
    got = stored_encoder_output(batch["frames"], batch["frame_lengths"], batch["taps"], store.taps)
    features, lengths = encoder.features([torch.from_numpy(samples) for samples, _ in sources])
    with torch.no_grad():
        expected = encoder(features, lengths)
    assert torch.equal(got.lengths, expected.lengths)
    for i, length in enumerate(got.lengths.tolist()):
        torch.testing.assert_close(
            got.last_hidden_state[i, :length], expected.last_hidden_state[i, :length]
        )
    for tap in TAPS:
        torch.testing.assert_close(got.hidden_states[tap], expected.hidden_states[tap])
    assert got.hidden_states[0].shape == (3, 50, 0)


def test_only_missing_clips_are_computed(tmp_path: Path) -> None:
    encoder, sources = make_encoder(), clips(3)
    store = EncoderFeatures(tmp_path, encoder)
    assert store.compute(sources[:2], encoder, progress=False) == 2
    half = store.path(sources[1])
    half.write_bytes(half.read_bytes()[:-10])
    assert store.compute(sources, encoder, progress=False) == 2
    assert store.compute(sources, encoder, progress=False) == 0
    assert not list(tmp_path.rglob("*.partial"))


def test_another_clip_encoder_or_form_never_meets_stale_features(tmp_path: Path) -> None:
    encoder, (source, *_) = make_encoder(), clips(1)
    paths = {EncoderFeatures(tmp_path, encoder).path(source)}
    louder = (source[0] * 1.1, source[1])
    paths.add(EncoderFeatures(tmp_path, encoder).path(louder))
    paths.add(EncoderFeatures(tmp_path, encoder).path((source[0], 8000)))
    paths.add(EncoderFeatures(tmp_path, encoder, TAPS).path(source))
    paths.add(EncoderFeatures(tmp_path, encoder, dtype=torch.float32).path(source))
    before = encoder_key(encoder)
    with torch.no_grad():
        encoder.model.layers[0].fc1.bias[0] += 1
    assert encoder_key(encoder) != before
    paths.add(EncoderFeatures(tmp_path, encoder).path(source))
    assert len(paths) == 6


def test_the_key_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc")
    assert content_key(str(path)) == content_key(b"abc")
    with pytest.raises(DataError, match="cannot be read"):
        content_key(str(tmp_path / "none"))


def test_a_key_stands_for_the_clip(tmp_path: Path) -> None:
    encoder, sources = make_encoder(), clips(1)
    store = EncoderFeatures(tmp_path, encoder)
    store.compute(sources, encoder, progress=False)
    stand_in = StoredAudio(content_key(sources[0]))
    assert torch.equal(store.collate([stand_in])["frames"], store.collate(sources)["frames"])


def test_collation_with_stored_features(tmp_path: Path) -> None:
    encoder, sources = make_encoder(), clips(2)
    store = EncoderFeatures(tmp_path, encoder)
    store.compute(sources[:1], encoder, progress=False)
    collator = DiffusionCollator(ChatTemplate(CharacterTokenizer()), store)
    batch = collator([Example(0, sources[0], "What?", "That.")])
    assert batch["frames"].shape == (1, 10, 16)
    assert "features" not in batch
    with pytest.raises(DataError, match=r"no encoder features; run EncoderFeatures.compute"):
        collator([Example(1, sources[1], "What?", "That.")])


@torch.no_grad()
def test_encoders_of_any_length_store_what_counts(tmp_path: Path) -> None:
    config = HubertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        conv_dim=(8,), conv_kernel=(200,), conv_stride=(100,), num_feat_extract_layers=1,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    encoder, sources = (
        TransformersEncoder(HubertModel(config), Wav2Vec2FeatureExtractor()),
        clips(3),
    )
    adapter = AcousticAdapter(16, 8, TAPS, 2, num_queries=3, intermediate_size=16).eval()
    store = EncoderFeatures(tmp_path, encoder, adapter.taps, torch.float32)
    store.compute(sources, encoder, progress=False)
    batch = store.collate(sources)
    got = stored_encoder_output(
        batch["frames"], batch["frame_lengths"], batch["taps"], store.taps, batch["tap_lengths"]
    )
    waveforms = [torch.from_numpy(samples) for samples, _ in sources]
    expected = encoder(*encoder.features(waveforms))
    assert torch.equal(got.lengths, expected.lengths)
    assert torch.equal(got.hidden_lengths, expected.hidden_lengths)
    torch.testing.assert_close(adapter(got).embeds, adapter(expected).embeds, atol=1e-5, rtol=1e-5)
