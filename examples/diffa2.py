"""DIFFA-2, put together part by part.

    python examples/diffa2.py
    python examples/diffa2.py --whisper openai/whisper-large-v3 \\
        --llada GSAI-ML/LLaDA-8B-Instruct --checkpoint FOLDER_OR_ID --audio my.wav

Beside DIFFA: a larger encoder, eight hidden states instead of four, and LoRA on the language
model.  Without flags: the published sizes, counted without memory; then the same parts in toy
sizes, with the weights that ship with the package, answer a question.
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
    SemanticAdapter,
    WhisperEncoder,
    load_diffa,
    toy,
)
from dllm_audio.samplers import preset
from dllm_audio.training import LoRASettings, attach_lora, merge_lora

# whisper-large-v3, the encoder half, frozen in every stage.
WHISPER = {"d_model": 1280, "encoder_layers": 32, "encoder_attention_heads": 20,
           "encoder_ffn_dim": 5120, "num_mel_bins": 128, "max_source_positions": 1500}  # fmt: skip
# LLaDA-8B-Instruct; its own weights are frozen in every stage.
LLADA = {"d_model": 4096, "n_layers": 32, "n_heads": 32, "mlp_hidden_size": 12288,
         "vocab_size": 126464, "max_sequence_length": 4096, "rope_theta": 500000.0,
         "mask_token_id": 126336, "eos_token_id": 126081}  # fmt: skip
LORA = LoRASettings(rank=8, alpha=16, targets=("q_proj", "k_proj", "v_proj", "ff_proj", "up_proj"))
TAPS = (3, 7, 11, 15, 19, 23, 27, 31)


def diffa2(encoder, backbone, tokenizer=None, *, taps=TAPS, queries=64, inner=3072):
    """The model as in its third and fourth stage; the defaults are the published sizes."""
    frames, width = encoder.hidden_size, backbone.config.d_model  # 1280 and 4096
    semantic = SemanticAdapter(frames, width, stride=4)  # what is said, 12.5 a second
    acoustic = AcousticAdapter(  # how it sounds, 64 whatever the length
        frames, width, taps, encoder.num_heads,
        num_queries=queries, num_layers=2, intermediate_size=inner,
    )  # fmt: skip
    attach_lora(backbone, LORA)  # starts as no change
    return AudioDiffusionLM.from_parts(
        encoder, DualAdapter(semantic, acoustic), backbone, tokenizer, sampler=preset("diffa-2")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--whisper", help="folder or hub id of whisper-large-v3")
    parser.add_argument("--llada", help="folder or hub id of LLaDA-8B-Instruct")
    parser.add_argument("--checkpoint", help="folder or hub id with DIFFA-2's own weights")
    clip = toy.clips()[0]
    parser.add_argument("--audio", default=clip.path, help="a recording of at most 30 s (toy: 4 s)")
    parser.add_argument("--prompt", default=clip.questions[0].prompt, help="what to ask about it")
    args = parser.parse_args()
    if bool(args.whisper) != bool(args.llada) or (args.checkpoint and not args.whisper):
        parser.error("--whisper and --llada belong together, and --checkpoint needs them")
    with torch.device("meta"):
        full = diffa2(WhisperEncoder(WhisperConfig(**WHISPER)), LLaDA(LLaDAConfig(**LLADA)))
    for name, part in full.named_children():
        print(f"{name:9}{sum(p.numel() for p in part.parameters()):14,} parameters")
    if args.checkpoint:  # the same, with the weights of adapters and LoRA
        model = load_diffa(args.checkpoint, whisper=args.whisper, llada=args.llada, stage=4)
    elif args.whisper:
        backbone = LLaDA.from_pretrained(args.llada, dtype=torch.bfloat16)
        tokenizer = AutoTokenizer.from_pretrained(args.llada)
        model = diffa2(WhisperEncoder.from_pretrained(args.whisper), backbone, tokenizer)
    else:
        small, sizes = toy.small_model(), {"taps": (1, 2, 3), "queries": 16, "inner": 512}
        model = diffa2(small.encoder, small.backbone, small.tokenizer, **sizes)
        model.adapter.load_state_dict(small.adapter.state_dict())
    merge_lora(model.backbone)  # an answer needs no factors beside the weights
    print(args.prompt, model.eval().generate(prompts=args.prompt, audio=args.audio).texts)


if __name__ == "__main__":
    main()
