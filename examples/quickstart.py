"""Ask the model that ships with the package about the clips that ship with it.

    python examples/quickstart.py
    python examples/quickstart.py --audio my.wav --prompt "What is said?"

Prints question, answer, expected answer, forward passes and time, and draws in which order the
words of some answers were found.  Needs no download.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from dllm_audio import AudioDiffusionLM, CachedParallelSampler, Threshold
from dllm_audio.errors import DllmAudioError, MissingDependencyError
from dllm_audio.outputs import Generation, Trace
from dllm_audio.samplers.plotting import plot_trace
from dllm_audio.toy import ASSETS

PICTURED = 3  # the longest answers


def answer(
    model: AudioDiffusionLM, audio: Path, prompt: str, threshold: float
) -> tuple[Generation, float]:
    """One answer and the seconds it took."""
    settings = model.generation
    sampler = CachedParallelSampler(
        settings["gen_length"],
        min(settings["block_length"], settings["gen_length"]),
        Threshold(threshold),
        trace=True,
    )
    start = time.perf_counter()
    generation = model.generate(audio=audio, prompts=prompt, sampler=sampler)
    return generation, time.perf_counter() - start


def draw(model: AudioDiffusionLM, answers: list[tuple[str, Generation]], path: Path) -> None:
    """A picture of the order in which the longest answers were denoised."""
    import torch

    longest = sorted(answers, key=lambda each: -int(each[1].output.lengths[0]))[:PICTURED]
    outputs = [generation.output for _, generation in longest]
    labels = [
        [model.tokenizer.decode([token]).strip() or "␣" for token in output.tokens[0].tolist()]
        for output in outputs
    ]
    short = {"<|endoftext|>": "end", "<|eot_id|>": "eot"}
    labels = [[short.get(label, label) for label in row] for row in labels]
    trace = Trace(
        torch.cat([output.trace.step for output in outputs]),
        torch.cat([output.trace.confidence for output in outputs]),
    )
    plot_trace(trace, labels, path, titles=[title for title, _ in longest])


def run(args: argparse.Namespace) -> None:
    """Load, ask, print, draw."""
    start = time.perf_counter()
    model = AudioDiffusionLM.from_pretrained(args.model)
    print(f"model loaded in {time.perf_counter() - start:.1f} s from {args.model}\n")
    folder = ASSETS / "clips"
    clips = json.loads((folder / "questions.json").read_text())
    if args.audio:
        question = {"prompt": args.prompt or "What is said?", "expected": None}
        clips = [{"file": args.audio, "questions": [question]}]
        folder = Path()
    answers, right, asked = [], 0, 0
    for clip in clips:
        print(clip["file"])
        for question in clip["questions"]:
            prompt, expected = question["prompt"], question["expected"]
            generation, seconds = answer(model, folder / clip["file"], prompt, args.threshold)
            text = (generation.texts or [""])[0]
            shown = prompt.replace("\n", " | ")
            print(f"  question  {shown}")
            print(f"  answer    {text}")
            if expected is not None:
                right, asked = right + (text == expected), asked + 1
                print(f"  expected  {expected}{'' if text == expected else '   (differs)'}")
            print(f"  {generation.output.nfe} forward passes, {1000 * seconds:.0f} ms\n")
            answers.append((f"{Path(clip['file']).name}: {shown}", generation))
    if asked:
        print(f"{right} of {asked} answers are as expected")
    try:
        draw(model, answers, args.picture)
    except MissingDependencyError as error:  # the answers are what was asked for
        print(f"no picture: {error}")
    else:
        print(f"order of denoising: {args.picture}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audio", help="a file of your own (WAV, FLAC, OGG, MP3; at most 4 s)")
    parser.add_argument("--prompt", help="what to ask about it")
    parser.add_argument("--model", type=Path, default=ASSETS / "tiny", help="a saved model")
    parser.add_argument("--threshold", type=float, default=0.9, help="commit what is surer")
    parser.add_argument("--picture", type=Path, default=Path("denoising_order.png"))
    args = parser.parse_args()
    if args.prompt and not args.audio:
        parser.error("--prompt needs --audio")
    try:
        run(args)
    except DllmAudioError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
