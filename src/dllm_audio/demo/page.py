"""The page itself, laid out with gradio."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import gradio as gr

from ..model import AudioDiffusionLM
from ..samplers import Sampler
from ..toy import clips
from .comparing import Comparison
from .rendering import style
from .settings import SLOWEST, DemoSettings
from .strategies import strategies

NOTHING = "nothing"
_FORGET_SECONDS = 3600  # how long a visitor's recording stays
_FONTS = ("system-ui", "sans-serif")
_HEAD = """\
# {name}

Record or drop a clip, or take one that ships; ask; and watch a masked-diffusion language model
fill in its answer, several positions at a time and in any order.
"""


def build_page(
    model: AudioDiffusionLM,
    ways: Mapping[str, Sampler] | None = None,
    settings: DemoSettings | None = None,
) -> gr.Blocks:
    """The page; give :func:`appearance` to whatever serves it.

    Args:
        model: answers; in evaluation mode from now on.
        ways: strategies by name, the first one chosen; None: :func:`.strategies`.
        settings: limits; None: their defaults.

    Example:
        >>> from dllm_audio import toy
        >>> page = build_page(toy.small_model())  # doctest: +SKIP
        >>> page.launch(**appearance())  # doctest: +SKIP
    """
    settings = settings or DemoSettings()
    ways = ways or strategies(model)
    compare = Comparison(model, ways, settings)

    def ask(clip: str | None, question: str, left: str, right: str, pace: float) -> Iterator[str]:
        chosen = [left] if right == NOTHING else [left, right]
        yield from compare(clip, question, chosen, pace)

    names = list(ways)
    forget = (_FORGET_SECONDS, _FORGET_SECONDS)
    with gr.Blocks(title=settings.name, analytics_enabled=False, delete_cache=forget) as page:
        gr.Markdown(_HEAD.format(name=settings.name))
        with gr.Row():
            with gr.Column(min_width=300):
                clip = gr.Audio(
                    sources=["upload", "microphone"],
                    type="filepath",
                    label="Clip",
                    elem_id="clip",
                    editable=False,
                    buttons=["download"],  # sharing would send it to others
                )
            with gr.Column(min_width=300):
                question = gr.Textbox(
                    label="Question",
                    placeholder="What is said?",
                    lines=2,
                    max_lines=6,
                    max_length=settings.max_question,
                    elem_id="question",
                )
                with gr.Row():
                    left = gr.Dropdown(
                        names, value=names[0], label="Strategy", elem_id="left", min_width=220
                    )
                    right = gr.Dropdown(
                        [NOTHING, *names],
                        value=NOTHING,
                        label="Beside it",
                        elem_id="right",
                        min_width=220,
                    )
                pace = gr.Slider(
                    0, SLOWEST, settings.pace, step=0.1, label="Seconds each pass is shown",
                    elem_id="pace",
                )  # fmt: skip
                with gr.Row():
                    go = gr.Button("Ask", variant="primary", elem_id="ask")
                    stop = gr.Button("Stop", elem_id="stop")
        shipped = [(each, each.questions[0].prompt) for each in clips()]
        gr.Examples(
            [[str(each.path), prompt] for each, prompt in shipped],
            [clip, question],
            label="Clips that ship with the package",
            example_labels=[each.name.replace("_", " ") for each, _ in shipped],
            examples_per_page=len(shipped),
            cache_examples=False,
            api_visibility="private",
        )
        shown = gr.HTML(elem_id="answer", padding=False)
        asked = go.click(
            ask,
            [clip, question, left, right, pace],
            shown,
            concurrency_limit=1,
            show_progress="minimal",
            api_visibility="private",
        )
        stop.click(None, None, None, cancels=[asked], api_visibility="private")
    page.queue(max_size=settings.max_queue, api_open=False)
    return page


def appearance() -> dict[str, Any]:
    """Theme and style sheet, for ``launch`` and ``mount_gradio_app``; nothing comes from afar."""
    theme = gr.themes.Default(font=_FONTS, font_mono=("ui-monospace", "monospace"))
    return {"theme": theme, "css": style(), "footer_links": [], "ssr_mode": False}
