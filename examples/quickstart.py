"""Ask the model that ships with the package about the clips that ship with it.

    python examples/quickstart.py
    python examples/quickstart.py --audio my.wav --prompt "What is said?"

Prints question, answer, expected answer, forward passes and time, and draws in which order the
words of some answers were found.  Needs no download.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from dllm_audio import AudioDiffusionLM, toy
from dllm_audio.errors import DllmAudioError, MissingDependencyError
from dllm_audio.outputs import Generation, Trace
from dllm_audio.samplers import from_dict
from dllm_audio.samplers.plotting import plot_trace

PICTURED = 3  # the longest answers


def ask(model: AudioDiffusionLM, args: argparse.Namespace) -> list[tuple[str, Generation]]:
    """Ask about the clips and print what comes; questions and answers."""
    settings = {**model.default_sampler().to_dict(), "trace": True}
    if args.threshold is not None:
        settings["commit"] = {"name": "threshold", "settings": {"tau": args.threshold}}
    sampler, answers, right, asked = from_dict(settings), [], 0, 0
    clips = [(clip.path, [(q.prompt, q.answer) for q in clip.questions]) for clip in toy.clips()]
    if args.audio:
        clips = [(Path(args.audio), [(args.prompt or "What is said?", None)])]
    for path, questions in clips:
        print(path.name)
        for prompt, expected in questions:
            start = time.perf_counter()
            generation = model.generate(prompts=prompt, audio=path, sampler=sampler)
            milliseconds = 1000 * (time.perf_counter() - start)
            text, shown = (generation.texts or [""])[0], prompt.replace("\n", " | ")
            print(f"  question  {shown}\n  answer    {text}")
            if expected is not None:
                right, asked = right + (text == expected), asked + 1
                print(f"  expected  {expected}{'' if text == expected else '   (differs)'}")
            print(f"  {generation.output.nfe} forward passes, {milliseconds:.0f} ms\n")
            answers.append((f"{path.name}: {shown}", generation))
    if asked:
        print(f"{right} of {asked} answers are as expected")
    return answers


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audio", help="a file of your own (WAV, FLAC, OGG, MP3; at most 4 s)")
    parser.add_argument("--prompt", help="what to ask about it")
    parser.add_argument("--model", help="a saved model (default: the one that ships)")
    parser.add_argument("--threshold", type=float, help="commit what is surer (default: 0.9)")
    parser.add_argument("--picture", type=Path, default=Path("denoising_order.png"))
    args = parser.parse_args()
    if args.prompt and not args.audio:
        parser.error("--prompt needs --audio")
    try:
        start = time.perf_counter()
        model = AudioDiffusionLM.from_pretrained(args.model) if args.model else toy.small_model()
        print(f"model loaded in {time.perf_counter() - start:.1f} s\n")
        answers = ask(model, args)
    except DllmAudioError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    try:
        draw(model, answers, args.picture)
        print(f"order of denoising: {args.picture}")
    except MissingDependencyError as error:  # the answers are what was asked for
        print(f"no picture: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
