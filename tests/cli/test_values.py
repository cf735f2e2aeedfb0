"""Every option of every command is checked when the command line is read."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from dllm_audio.cli import build_parser, main
from dllm_audio.cli.checks import LARGEST_SEED

# What a command needs besides the option that is tried.
NEEDED = {
    "answer": ["x.wav", "-q", "?"],
    "transcribe": ["x.wav"],
    "eval": ["toy"],
    "convert": ["in", "out"],
    "info": [],
    "serve": [],
    "demo": [],
    "train": ["run.json"],
    "tune": ["--output", "out"],
}
NO_NUMBERS = ("", " ", "x", "nan", "inf", "-inf", "1e400", "-1", f"-{10**400}", "0x10", "1 2")
NO_INTEGERS = (*NO_NUMBERS, "1.5", "1e3", str(10**400), str(2**63), "\uff11", "9" * 5000)
NO_TEXTS = ("", " ", "\n\t")
NO_NAMES = ("", " ", "a\0b")


def options() -> Iterator[tuple[str, argparse.Action]]:
    """Every option and argument that takes a value, with its command."""
    commands = next(
        action
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    for command, parser in commands.choices.items():
        for action in parser._actions:
            if action.nargs != 0 and action.choices is None:
                yield command, action


CASES = list(options())
NUMBERS = [
    (command, action.option_strings[0], isinstance(action.type("1"), int))  # type: ignore[misc]
    for command, action in CASES
    if action.type is not None and isinstance(action.type("1"), int | float)  # type: ignore[misc]
]


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    captured = capsys.readouterr()
    assert exit_.value.code == 2
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert len(captured.err) < 600
    return captured.err


@pytest.mark.parametrize(
    ("command", "action"), CASES, ids=lambda value: getattr(value, "dest", value)
)
def test_every_value_has_a_check_of_its_own(command: str, action: argparse.Action) -> None:
    assert action.type is not None
    assert action.type not in (int, float, str)


@pytest.mark.parametrize(("command", "option", "whole"), NUMBERS)
def test_no_number_is_refused(command: str, option: str, whole: bool, capsys) -> None:
    for value in NO_INTEGERS if whole else NO_NUMBERS:
        error = refused([command, *NEEDED[command], f"{option}={value}"], capsys)
        assert f"argument {option}: expected " in error


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        *[(c, "--batch-size", "0") for c in ("answer", "transcribe", "eval")],
        *[(c, "--threshold", "1.5") for c in ("answer", "transcribe", "eval")],
        *[
            (c, o, "0")
            for c in ("answer", "eval")
            for o in ("--steps", "--gen-length", "--block-length")
        ],
        ("answer", "--gen-length", str(10**12)),
        ("transcribe", "--window", "0"),
        ("eval", "--limit", "0"),
        ("answer", "--stage", "0"),
        ("answer", "--temperature", "1e308"),
        ("train", "--gpus", "0"),
        ("tune", "--rows", "0"),
        *[("serve", o, "0") for o in ("--max-batch", "--max-tokens", "--timeout")],
        *[("serve", o, "0") for o in ("--max-audio-seconds", "--max-request-mb")],
        ("serve", "--port", "65536"),
        *[("demo", o, "0") for o in ("--max-queue", "--max-file-mb")],
        ("demo", "--port", "65536"),
        ("train", "--sequence-length", "0"),
    ],
)
def test_numbers_out_of_range_are_refused(command, option, value, capsys) -> None:
    error = refused([command, *NEEDED[command], option, value], capsys)
    assert f"argument {option}: expected " in error


def test_texts_and_names_that_say_nothing_are_refused(capsys) -> None:
    for command, action in CASES:
        if (command, next(iter(action.option_strings), "")) in {(c, o) for c, o, _ in NUMBERS}:
            continue
        for value in {*NO_TEXTS} & {*NO_NAMES}:
            given = NEEDED[command]
            if action.option_strings:
                arguments = [*given, f"{action.option_strings[-1]}={value}"]
            else:  # in the place of the first argument
                arguments = [value, *given[1:]]
            assert "expected a" in refused([command, *arguments], capsys), (command, action.dest)


def test_a_question_is_a_text(capsys) -> None:
    for value in (*NO_TEXTS, "\udcff"):
        assert "expected" in refused(["answer", "x.wav", "-q", value], capsys)


@pytest.mark.parametrize("value", ["a\0b", ""])
def test_a_path_is_a_path(value: str, capsys) -> None:
    assert "argument FILE" in refused(["answer", value, "-q", "?"], capsys)
    assert "argument FILE_OR_FOLDER" in refused(["transcribe", value], capsys)
    assert "argument DIR_OR_ID" in refused(["info", value], capsys)


def test_the_largest_and_the_smallest_are_accepted() -> None:
    parse = build_parser().parse_args
    assert parse(["answer", "x", "-q", "?", "--seed", str(LARGEST_SEED)]).seed == LARGEST_SEED
    found = parse(["answer", "x", "-q", "?", "--threshold", "1", "--factor", "0", "--steps", "1"])
    assert (found.threshold, found.factor, found.steps) == (1.0, 0.0, 1)
