"""Train the tiny model from nothing: about an hour on 2 CPU cores; stop and start as you like.

    python examples/tiny/train.py --run runs/tiny [--human-data DIR]

Stages: clips (made by the generator), language model, encoder, adapters and their ablation side by
side, then the table of held-out accuracy.  Every stage goes on where it was
stopped, and a finished one is skipped.  ``--human-data`` is a folder of the Free Spoken Digit
Dataset (https://github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0); the last of its
speakers in the alphabet is kept for validation.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from clips import People, make_clips
from make_tokenizer import make_tokenizer

from dllm_audio.toy import HumanDigits

HERE = Path(__file__).resolve().parent
# Without these glibc hands large blocks back and gets them again at every step.
ENVIRONMENT = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "1000000000000",
}


def side_by_side(*commands: list[str]) -> None:
    """Run scripts of this folder at the same time, each with its own progress bar."""
    threads = max((os.cpu_count() or 1) // len(commands), 1)
    environment = {**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": str(threads)}
    running = [
        subprocess.Popen(
            [sys.executable, str(HERE / command[0]), *command[1:]],
            env={**environment, "TQDM_POSITION": str(position)},
        )
        for position, command in enumerate(commands)
    ]
    try:
        codes = [process.wait() for process in running]
    except KeyboardInterrupt:
        for process in running:
            process.terminate()
        raise
    if any(codes):
        sys.exit(f"a stage failed (exit codes {codes}); start again to go on")


def validation_split(folder: Path, validation: str | None) -> tuple[People, People]:
    """People to learn from, and the one to validate on."""
    speakers = HumanDigits(folder).speakers
    kept = validation or speakers[-1]
    learned = tuple(speaker for speaker in speakers if speaker != kept)
    return People(str(folder), learned), People(str(folder), (kept,))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="folder of everything made")
    parser.add_argument("--human-data", type=Path, help="folder of {digit}_{speaker}_{n}.wav")
    parser.add_argument("--validation-speaker", help="default: the last in the alphabet")
    parser.add_argument("--clips", type=int, default=48000)
    parser.add_argument("--encoder-steps", type=int, default=6500)
    parser.add_argument("--lm-steps", type=int, default=1400)
    parser.add_argument("--adapter-steps", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=200, help="questions per family in the table")
    args = parser.parse_args()
    learned = kept = None
    if args.human_data:
        learned, kept = validation_split(args.human_data, args.validation_speaker)
    train, check = args.run / "clips_train", args.run / "clips_heldout"
    workers = min(os.cpu_count() or 1, 8)
    make_clips(train, "train", args.clips, learned, workers)
    make_clips(check, "heldout", 1500, kept, workers)
    make_tokenizer(args.run / "tokenizer")
    run = ["--run", str(args.run)]
    data = ["--clips", str(train), *run]
    side_by_side(["train_lm.py", *run, "--steps", str(args.lm_steps)])
    encoder = ["train_encoder.py", *data, "--check", str(check)]
    side_by_side([*encoder, "--steps", str(args.encoder_steps)])
    steps = ["--steps", str(args.adapter_steps)]
    side_by_side(
        ["train_adapters.py", *data, *steps],
        ["train_adapters.py", *data, *steps, "--semantic-only"],
    )
    command = ["evaluate.py", "--model", str(args.run / "model"), "--rows", str(args.rows)]
    command += ["--ablation", str(args.run / "model_semantic_only"), "--out", str(args.run)]
    if kept:
        command += ["--human-data", kept.folder, "--speakers", *kept.speakers]
    side_by_side(command)


if __name__ == "__main__":
    main()
