"""How questions are worded, and how a multiple-choice question is laid out.

``{x}`` in a phrasing is filled with what the question is about.
"""

from __future__ import annotations

LETTERS = "ABCD"

TRANSCRIBE = (
    "Please transcribe the audio to text.",
    "Transcribe the audio.",
    "Write down what is said.",
    "What is said?",
    "What does the speaker say?",
    "What words are spoken?",
    "Give the transcript of the speech.",
    "Repeat the words in the clip.",
)

PHRASINGS: dict[str, tuple[str, ...]] = {
    "digits": (
        *TRANSCRIBE,
        "Which digits are spoken?",
        "What digits do you hear?",
        "What number is said?",
        "List the digits in order.",
        "Which digit is it?",
    ),
    "position": (
        "What is the {x} digit?",
        "Which digit comes {x}?",
        "Name the {x} digit.",
        "Which digit is spoken {x}?",
    ),
    "contains": (
        "Is the digit {x} spoken?",
        "Do you hear the digit {x}?",
        "Does the speaker say {x}?",
        "Is {x} among the digits?",
    ),
    "command": (
        *TRANSCRIBE,
        "Which command is given?",
        "What is the command?",
        "What should be done?",
        "What does the speaker want?",
    ),
    "number": (
        *TRANSCRIBE,
        "What number is said?",
        "Which number do you hear?",
        "Name the number.",
    ),
    "word": (
        *TRANSCRIBE,
        "Which word is said?",
        "What word do you hear?",
        "Name the word.",
    ),
    "speaker": (
        "Is the speaker a man or a woman?",
        "Who is speaking, a man or a woman?",
        "Is this the voice of a man or a woman?",
        "What is the sex of the speaker?",
        "Who is speaking?",
    ),
    "rate": (
        "Are the words spoken slowly or quickly?",
        "How fast are the words spoken?",
        "Does the speaker talk slowly or quickly?",
        "At what rate are the words said?",
    ),
    "noise": (
        "Is the recording clean or noisy?",
        "How is the quality of the recording?",
        "Does the recording sound clean or noisy?",
        "Is the audio clean or noisy?",
    ),
    "event": (
        "Which sound do you hear?",
        "What sound is in the clip?",
        "What is the sound in the background?",
        "Name the sound.",
        "What makes the sound?",
    ),
    "count": (
        "How many times does the sound occur?",
        "Count the sounds.",
        "How many sounds are there?",
        "How often do you hear it?",
    ),
    "contour": (
        "Does the melody rise or fall?",
        "Is the melody rising or falling?",
        "In which direction does the melody go?",
        "What is the contour of the melody?",
    ),
    "mode": (
        "Is the music major or minor?",
        "Is the melody in major or minor?",
        "What is the mode of the melody?",
        "Is the key major or minor?",
    ),
    "tempo": (
        "Is the music slow or fast?",
        "What is the tempo of the melody?",
        "Is the tempo slow or fast?",
        "How fast is the music?",
    ),
    "describe": (
        "Describe the audio.",
        "Describe the clip.",
        "What do you hear?",
        "What is going on in the audio?",
    ),
}


def _asked_of(*families: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for family in families for text in PHRASINGS[family]))


# What is asked of clips that hold nothing this world knows, by their subject.
UNKNOWN_PHRASINGS: dict[str, tuple[str, ...]] = {
    "other_speech": _asked_of("command", "number", "word", "describe"),
    "other_sound": _asked_of("event", "describe"),
    "other_music": _asked_of("event", "describe"),
    "silence": _asked_of("event", "word", "command", "describe"),
    # There nothing is said.
    "sound": TRANSCRIBE,
    "music": TRANSCRIBE,
}

# Layouts of multiple-choice prompts: our own, and that of the MMAU benchmark.
CHOICE_LAYOUTS = {
    "plain": "{question}\n{choices}",
    "mmau": (
        "You are given the audio and a multiple-choice question. Choose the best answer based "
        "only on the speech content and style.\n\nQuestion: {question}\n\nChoices:\n{choices}\n"
        "Answer:"
    ),
}


def lay_out_choices(question: str, choices: tuple[str, ...], layout: str) -> str:
    """The whole instruction of a multiple-choice question."""
    lines = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, choices, strict=False))
    return CHOICE_LAYOUTS[layout].format(question=question, choices=lines)
