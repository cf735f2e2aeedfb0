"""Answers on standard output, each as soon as it is there."""

from __future__ import annotations

from collections.abc import Mapping

from ..serving.captions import subtitle
from .asking import Place
from .recordings import Heard, Recording, reason
from .results import Layout, Part, confidence_of, time_of
from .terminal import complain, note, print_json, say


class Printer:
    """Prints answers; remarks and confidence go to standard error.

    Args:
        layout: how.
        several: names stand in front of answers.
        window_seconds: for the remark about a recording that was cut.
        streamed: the answers themselves have been shown while they were decoded.
    """

    def __init__(
        self, layout: Layout, *, several: bool, window_seconds: float, streamed: bool = False
    ) -> None:
        self._layout, self._several = layout, several
        self._window_seconds, self._streamed = window_seconds, streamed
        self._open = False  # a line that is still written to
        self._subtitles = 0

    def begin(self, recording: Recording) -> Mapping[Place, Part]:
        """Nothing is known from earlier."""
        return {}

    def before(self, heard: Heard) -> str:
        """What stands in front of the answer to a window."""
        time = "" if heard.alone else time_of(heard.window.start, heard.window.end)
        return f"{self._name(heard.recording)}{time}"

    def _name(self, recording: Recording) -> str:
        return f"{recording.name}: " if self._several else ""

    def part(self, heard: Heard, part: Part) -> None:
        """One more answer."""
        layout = self._layout
        if layout.form == "srt":
            if heard.number == 0 and self._several:
                say(f"# {heard.recording.name}")
            self._subtitle(heard, part)
        elif layout.form == "text" and layout.lines:
            if not self._streamed:
                say(f"{self.before(heard)}{layout.text(part)}")
        elif layout.form == "text" and part.text:
            before = " " if self._open else self._name(heard.recording)
            say(f"{before}{layout.text(part)}", end="")
            self._open = True

    def _subtitle(self, heard: Heard, part: Part) -> None:
        if heard.number == 0:
            self._subtitles = 0
        if part.text:
            self._subtitles += 1
            text = self._layout.text(part)
            say(subtitle(self._subtitles, part.start, part.end, text))

    def end(self, recording: Recording) -> None:
        """The rest of what there is to say about a recording."""
        layout = self._layout
        if self._open or (
            layout.form == "text" and not layout.lines and recording.error is None
        ):  # a recording in which nothing is said has a line, too
            say("" if self._open else self._name(recording))
            self._open = False
        if recording.error is not None:
            complain(reason(recording.name, recording.error))
            if layout.form == "json":
                message = " ".join(str(recording.error).split())
                print_json({"file": recording.name, "error": message})
            return
        if layout.form == "json":
            print_json(layout.record(recording))
        self._remark(recording)

    def _remark(self, recording: Recording) -> None:
        count = len(recording.parts)
        if count > 1:
            note(
                f"{recording.name}: {recording.seconds:.1f} s, heard in {count} windows of at most "
                f"{self._window_seconds:g} s, cut at pauses"
            )
        sure = confidence_of(recording.parts)
        if self._layout.form != "json" and sure is not None:
            note(f"{recording.name}: confidence {sure:.2f}")
