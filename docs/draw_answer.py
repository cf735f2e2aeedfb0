"""Draws ``images/answer.svg``: the small model answers, and the picture moves.

python docs/draw_answer.py
"""

from __future__ import annotations

from pathlib import Path

from dllm_audio.samplers import preset
from dllm_audio.samplers.animation import animate_trace
from dllm_audio.toy import clips, small_model

CLIP, QUESTION = "four_digits", "What do you hear?"


def main() -> None:
    model, clip = small_model(), next(clip for clip in clips() if clip.name == CLIP)
    sampler = preset("answers", gen_length=16, block_length=16, trace=True)
    output = model.generate(audio=clip.path, prompts=QUESTION, sampler=sampler).output
    labels = [
        model.tokenizer.decode([token], skip_special_tokens=True).strip()
        for token in output.tokens[0].tolist()
    ]
    path = Path(__file__).parent / "images" / "answer.svg"
    animate_trace(output.trace, labels, path, question=QUESTION, waveform=clip.waveform)
    print(f"{path}: {' '.join(label for label in labels if label)}")


if __name__ == "__main__":
    main()
