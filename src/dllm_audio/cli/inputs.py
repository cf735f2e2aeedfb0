"""What ``answer`` and ``transcribe`` share: from the command line to the answers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from ..errors import InvalidArgumentError
from .asking import Asker, ask_all
from .exit_codes import summarize
from .keeping import Keeper
from .models import load_predictor
from .printing import Printer
from .priors import PriorAsker, chosen_prior
from .progress import Progress
from .recordings import UNBOUNDED_WINDOW, Heard, find_files
from .results import Layout, Part
from .sharing import Share
from .streaming import StreamingAsker


def ask_files(
    arguments: argparse.Namespace,
    inputs: Sequence[str],
    prompt: str,
    layout: Layout,
    *,
    choices: Sequence[str] | None = None,
    window: float | None = None,
    stream: bool = False,
    takes_prior: bool = False,
) -> int:
    """Ask about files and folders as the command line says.

    Args:
        arguments: the command line.
        inputs: files, folders, or ``-`` for standard input.
        prompt: the question.
        layout: how results are written.
        choices: the texts that may be answers; None: any text.
        window: longest window in seconds; None: what the encoder hears at once.
        stream: show answers while they are decoded.
        takes_prior: the command has the options of a prior.

    Returns:
        The exit code.

    Raises:
        InvalidArgumentError: options that do not fit.
    """
    share = Share.of_environment()
    if share.world_size > 1 and arguments.output_dir is None:
        raise InvalidArgumentError("--output-dir", "a folder where processes share work", None)
    names = find_files(inputs)
    # What is wrong with a prior is told before a large model is loaded.
    prior = chosen_prior(arguments, names) if takes_prior else None
    predictor = load_predictor(arguments)
    longest = predictor.max_seconds or UNBOUNDED_WINDOW
    if window is not None and window > longest:
        raise InvalidArgumentError("--window", f"seconds above 0, at most {longest:g}", window)
    seconds = window or longest
    ask: Callable[[Sequence[Heard]], list[Part]] = Asker(predictor, prompt, choices, arguments.seed)
    if prior is not None:
        truncated = arguments.allow_truncated
        ask = PriorAsker(predictor, prompt, prior, seconds, arguments.seed, truncated)
    if arguments.output_dir is None:
        printer = Printer(layout, several=len(names) > 1, window_seconds=seconds, streamed=stream)
        sink: Printer | Keeper = printer
        if stream:
            ask = StreamingAsker(
                predictor, prompt, arguments.seed, printer.before, layout.text, arguments.json
            )
    else:
        names = [*dict.fromkeys(names)]  # a file beside its folder, too, has one result
        asked = {
            "prompt": prompt, "choices": choices, "window": seconds,
            "allow_truncated": arguments.allow_truncated, **predictor.description,
        }  # fmt: skip
        if prior is not None:
            asked["prior"] = prior.description
        sink = Keeper(arguments.output_dir, layout, names, asked, overwrite=arguments.overwrite)
    own = share.of(names)
    # Answers that are printed on a terminal and a bar would get in each other's way.
    shown = arguments.output_dir is not None or layout.form == "json" or not sys.stdout.isatty()
    with Progress(len(own), shown=shown) as progress:
        failed = ask_all(
            own,
            ask,
            sink,
            window_seconds=seconds,
            batch_size=1 if stream else arguments.batch_size,
            allow_truncated=arguments.allow_truncated,
            debug=arguments.debug,
            progress=progress,
        )
    return summarize(failed, len(own))
