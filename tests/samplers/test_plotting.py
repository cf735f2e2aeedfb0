import pytest
import torch

from dllm_audio.errors import InvalidArgumentError, ShapeError
from dllm_audio.outputs import Trace
from dllm_audio.samplers import plotting
from dllm_audio.samplers.plotting import plot_trace

STEP = torch.tensor([[0, 2, 1, -1], [1, 0, 0, 0]])
CONFIDENCE = torch.tensor([[0.9, 0.5, 0.7, float("nan")], [0.2, 0.9, 1.0, 0.4]])
LABELS = [["three", "$one$", "two", "end"], ["a", "b", "c", "d"]]


def test_a_picture_is_written(tmp_path):
    path = tmp_path / "order.png"
    plot_trace(Trace(STEP, CONFIDENCE), LABELS, path, titles=["first", "second"])
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_colored_cell_of_a_column_is_at_its_step(tmp_path, monkeypatch):
    cells = {}

    class Panel:
        """Keeps the rectangles and texts that are drawn."""

        def add_patch(self, patch):
            cells[patch.get_xy()] = patch.get_facecolor()

        def text(self, x, y, label, **style):
            cells[label] = (x, y)

        def __getattr__(self, name):
            return lambda *_, **__: None

    def colors(sure):
        return (sure, 0.0, 0.0, 1.0)

    plotting._draw(Panel(), STEP[0], CONFIDENCE[0], LABELS[0], colors)
    committed = zip(STEP[0].tolist(), CONFIDENCE[0].tolist(), strict=True)
    for column, (when, sure) in enumerate(committed):
        if when >= 0:
            assert cells[column, when] == pytest.approx((sure, 0.0, 0.0, 1.0))
    red = [key for key, value in cells.items() if not isinstance(key, str) and value[1] == 0.0]
    assert sorted(red) == [(0, 0), (1, 2), (2, 1)]  # the last position was given, not committed
    assert cells["three"] == (0.5, 0.5)


def test_labels_and_titles_must_fit(tmp_path):
    trace = Trace(STEP, CONFIDENCE)
    with pytest.raises(ShapeError, match="labels"):
        plot_trace(trace, LABELS[:1], tmp_path / "x.png")
    with pytest.raises(InvalidArgumentError, match="titles"):
        plot_trace(trace, LABELS, tmp_path / "x.png", titles=["one"])
    with pytest.raises(ShapeError, match=r"trace\.step"):
        plot_trace(Trace(STEP[0], CONFIDENCE[0]), LABELS, tmp_path / "x.png")
