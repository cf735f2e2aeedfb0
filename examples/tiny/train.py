"""Train the small model: about two hours on 2 CPU cores; stop and start as you like.

    python examples/tiny/train.py --run runs/tiny [--whisper DIR] [--human-data DIR]
        [--people DIR ...] [--music DIR ...]

Stages: bank of voices; the language model, and beside it the clips (which the frozen encoder hears
once) and the adapters by naming alone; the adapters by answers; then the table of held-out
accuracy.  Every stage goes on where it was stopped, and a finished one is skipped.  With
``--ablation`` a model with the semantic adapter alone is trained alike, and measured beside it.

``--whisper`` is a folder or hub id of the encoder.  ``--human-data`` is a folder of the Free Spoken
Digit Dataset (https://github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0); the last of
its speakers in the alphabet is kept for validation.  ``--people`` and ``--music`` are folders of
recordings outside the toy world (``other_sounds.py``).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from clips import Sources, make_clips
from make_bank import make_bank
from make_tokenizer import make_tokenizer
from voices import choose_voices

from dllm_audio.toy import HumanDigits

HERE = Path(__file__).resolve().parent
# Without these glibc hands large blocks back and gets them again at every step.
ENVIRONMENT = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "1000000000000",
}


def start(threads: int, position: int, script: str, *options: str) -> subprocess.Popen:
    """Start a script of this folder with its own progress bar."""
    settings = {**ENVIRONMENT, "OMP_NUM_THREADS": str(threads), "TQDM_POSITION": str(position)}
    command = [sys.executable, str(HERE / script), *options]
    return subprocess.Popen(command, env={**os.environ, **settings})


def finish(*running: subprocess.Popen) -> None:
    """Wait for scripts; stop all where one fails."""
    try:
        codes = [process.wait() for process in running]
    except KeyboardInterrupt:
        for process in running:
            process.terminate()
        raise
    if any(codes):
        sys.exit(f"a stage failed (exit codes {codes}); start again to go on")


def validation_split(
    folder: Path, validation: str | None
) -> tuple[tuple[Path, tuple[str, ...]], tuple[Path, tuple[str, ...]]]:
    """People to learn from, and the one to validate on."""
    speakers = HumanDigits(folder).speakers
    kept = validation or speakers[-1]
    return (folder, tuple(name for name in speakers if name != kept)), (folder, (kept,))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="folder of everything made")
    parser.add_argument("--whisper", default="openai/whisper-base", help="folder or hub id")
    parser.add_argument("--human-data", type=Path, help="folder of {digit}_{speaker}_{n}.wav")
    parser.add_argument("--validation-speaker", help="default: the last in the alphabet")
    parser.add_argument("--people", type=Path, nargs="*", default=[], help="other speech")
    parser.add_argument("--music", type=Path, nargs="*", default=[])
    parser.add_argument("--ablation", action="store_true", help="the semantic adapter alone, too")
    parser.add_argument("--voices", type=int, default=22, help="of each sex to learn from")
    parser.add_argument("--clips", type=int, default=14000)
    parser.add_argument("--lm-steps", type=int, default=4500)
    parser.add_argument("--naming-steps", type=int, default=1600)
    parser.add_argument("--joint-steps", type=int, default=1350)
    parser.add_argument("--other-speech", type=Path, nargs="*", default=[], help="to measure on")
    parser.add_argument("--rows", type=int, default=200, help="questions per family in the table")
    args = parser.parse_args()
    learned = kept = None
    if args.human_data:
        learned, kept = validation_split(args.human_data, args.validation_speaker)
    run, cores = ["--run", str(args.run)], os.cpu_count() or 1
    make_tokenizer(args.run / "tokenizer")
    make_bank(args.run / "bank", choose_voices(0, {"train": args.voices, "heldout": 8}))
    lm = start(max(cores - 1, 1), 1, "train_lm.py", *run, "--steps", str(args.lm_steps))
    sources = Sources(
        "train", args.whisper, args.run / "bank", learned, tuple(args.people), tuple(args.music)
    )
    clips = args.run / "clips"
    make_clips(clips, sources, args.clips, workers=max(cores // 2, 1))
    adapters = ["train_adapters.py", *run, "--clips", str(clips), "--whisper", args.whisper]
    adapters += ["--naming-steps", str(args.naming_steps), "--joint-steps"]
    finish(start(max(cores // 2, 1), 0, *adapters, "0"), lm)
    finish(start(cores, 0, *adapters, str(args.joint_steps)))
    if args.ablation:
        finish(start(cores, 0, *adapters, str(args.joint_steps), "--semantic-only"))
    command = ["evaluate.py", "--model", str(args.run / "model"), "--rows", str(args.rows)]
    command += ["--out", str(args.run)]
    if args.ablation:
        command += ["--ablation", str(args.run / "model_semantic_only")]
    if kept:
        command += ["--human-data", str(kept[0]), "--speakers", *kept[1]]
    if args.other_speech:
        command += ["--other-speech", *map(str, args.other_speech)]
    finish(start(cores, 0, *command))


if __name__ == "__main__":
    main()
