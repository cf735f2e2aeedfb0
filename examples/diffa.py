"""DIFFA (arXiv 2507.18452), put together part by part.

    python examples/diffa.py
    python examples/diffa.py --whisper openai/whisper-small --llada GSAI-ML/LLaDA-8B-Instruct \\
        --checkpoint FOLDER_OR_ID --audio my.wav

Without flags: the published sizes, counted without memory; then the same parts in toy sizes, with
the weights that ship with the package, answer a question.  The two flags take the real encoder and
language model; adapters are fresh unless --checkpoint names the published ones.
"""

from __future__ import annotations

import argparse

import torch
from transformers import AutoTokenizer, WhisperConfig

from dllm_audio import (
    AcousticAdapter,
    AudioDiffusionLM,
    DualAdapter,
    LLaDA,
    LLaDAConfig,
    LowConfidenceSampler,
    SemanticAdapter,
    WhisperEncoder,
    load_diffa,
    toy,
)

# whisper-small, the encoder half: 88 million parameters, frozen.
WHISPER = {"d_model": 768, "encoder_layers": 12, "encoder_attention_heads": 12,
           "encoder_ffn_dim": 3072, "num_mel_bins": 80, "max_source_positions": 1500}  # fmt: skip
# LLaDA-8B-Instruct, frozen.
LLADA = {"d_model": 4096, "n_layers": 32, "n_heads": 32, "mlp_hidden_size": 12288,
         "vocab_size": 126464, "max_sequence_length": 4096, "rope_theta": 500000.0,
         "mask_token_id": 126336, "eos_token_id": 126081}  # fmt: skip


def diffa(encoder, backbone, tokenizer=None, *, taps=(2, 5, 8, 11), queries=64, inner=3072):
    """The model as in its second stage; the defaults are the published sizes."""
    frames, width = encoder.hidden_size, backbone.config.d_model  # 768 and 4096
    # What is said: the last hidden state, four frames (50 a second) to one embedding.
    semantic = SemanticAdapter(frames, width, stride=4)
    # How it sounds: 64 queries read each of four hidden states, padding of the window included.
    acoustic = AcousticAdapter(
        frames,
        width,
        taps=taps,
        num_heads=encoder.num_heads,
        num_queries=queries,
        num_layers=2,
        intermediate_size=inner,
        dropout=0.1,
    )
    return AudioDiffusionLM.from_parts(
        encoder,
        DualAdapter(semantic, acoustic),  # acoustic embeddings first
        backbone,
        tokenizer,
        sampler=LowConfidenceSampler(steps=16, gen_length=16),  # one token a step
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--whisper", help="folder or hub id of whisper-small")
    parser.add_argument("--llada", help="folder or hub id of LLaDA-8B-Instruct")
    parser.add_argument("--checkpoint", help="folder or hub id with DIFFA's own weights")
    clip = toy.clips()[0]
    parser.add_argument("--audio", default=clip.path, help="a recording of at most 30 s (toy: 4 s)")
    parser.add_argument("--prompt", default=clip.questions[0].prompt, help="what to ask about it")
    args = parser.parse_args()
    if bool(args.whisper) != bool(args.llada) or (args.checkpoint and not args.whisper):
        parser.error("--whisper and --llada belong together, and --checkpoint needs them")
    with torch.device("meta"):
        full = diffa(WhisperEncoder(WhisperConfig(**WHISPER)), LLaDA(LLaDAConfig(**LLADA)))
    for name, part in full.named_children():
        print(f"{name:9}{sum(p.numel() for p in part.parameters()):14,} parameters")
    if args.checkpoint:  # the same, with the adapters' weights
        model = load_diffa(args.checkpoint, whisper=args.whisper, llada=args.llada, stage=2)
    elif args.whisper:
        backbone = LLaDA.from_pretrained(args.llada, dtype=torch.bfloat16)
        tokenizer = AutoTokenizer.from_pretrained(args.llada)
        model = diffa(WhisperEncoder.from_pretrained(args.whisper), backbone, tokenizer)
    else:
        small, sizes = toy.small_model(), {"taps": (1, 2, 3), "queries": 16, "inner": 512}
        model = diffa(small.encoder, small.backbone, small.tokenizer, **sizes)
        model.adapter.load_state_dict(small.adapter.state_dict())
    print(args.prompt, model.eval().generate(prompts=args.prompt, audio=args.audio).texts)


if __name__ == "__main__":
    main()
