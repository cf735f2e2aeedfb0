"""Choosing among given answers: chances that multiply, whatever the length, order and batch."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from dllm_audio import ClassifierFreeGuidance
from dllm_audio.errors import InvalidArgumentError, NonFiniteLogitsError
from dllm_audio.protocols import MaskPredictor
from dllm_audio.samplers import choose_among

from .models import EOS, MASK, mixed_batch, tiny_llada

MODELS = [tiny_llada(0), tiny_llada(1, n_kv_heads=1)]
LENGTH = 6
ENDS = [EOS, EOS - 1]
word = st.lists(st.integers(0, 9), min_size=1, max_size=4).map(tuple)
options = st.lists(word, min_size=1, max_size=6, unique=True)


class Language:
    """Knows the chance of every text from the texts before its next token, as a table does."""

    mask_token_id, eos_token_id, batch_size = 9, 8, 1
    device = torch.device("cpu")

    def __init__(self, texts: dict[tuple[int, ...], float]) -> None:
        self.texts = texts

    def __call__(self, x_t: torch.Tensor) -> torch.Tensor:
        known = [token for token in x_t[0].tolist() if token != self.mask_token_id]
        after = torch.zeros(10)
        for text, chance in self.texts.items():
            path = [*text, self.eos_token_id]
            if path[: len(known)] == known and len(path) > len(known):
                after[path[len(known)]] += chance
        return (after / after.sum()).log().expand(*x_t.shape, 10)


class Plain:
    """A predictor that can do nothing but predict."""

    def __init__(self, predictor: Any) -> None:
        self.predictor = predictor
        self.batch_size, self.device = predictor.batch_size, predictor.device
        self.mask_token_id, self.eos_token_id = predictor.mask_token_id, predictor.eos_token_id

    def __call__(self, x_t: torch.Tensor) -> torch.Tensor:
        return self.predictor(x_t)


def probabilities(predictor: MaskPredictor, choices: Any, **settings: Any) -> list[list[float]]:
    arguments = {"gen_length": LENGTH, "end_token_ids": ENDS, **settings}
    return choose_among(predictor, choices, **arguments).probabilities


@settings(max_examples=30)
@given(
    chances=st.dictionaries(
        st.lists(st.integers(0, 7), max_size=5, min_size=1).map(tuple),
        st.floats(0.01, 1.0),
        min_size=2,
        max_size=8,
    ),
    data=st.data(),
)
def test_a_choice_is_as_likely_as_it_is_whatever_its_length(
    chances: dict[tuple[int, ...], float], data: st.DataObject
) -> None:
    choices = data.draw(st.lists(st.sampled_from(sorted(chances)), min_size=1, unique=True))
    found = choose_among(Language(chances), [choices], gen_length=6, end_token_ids=[8])
    total = sum(chances[choice] for choice in choices)
    expected = [chances[choice] / total for choice in choices]
    assert found.probabilities[0] == pytest.approx(expected, rel=1e-4)
    assert expected[found.best[0]] == pytest.approx(max(expected), rel=1e-4)


@settings(max_examples=15)
@given(seed=st.integers(0, 99), choices=options, by=st.just("answer"))
def test_it_is_the_product_of_the_predictor_s_own_chances(
    seed: int, choices: list[tuple[int, ...]], by: str
) -> None:
    predictor = mixed_batch(MODELS[seed % 2], seed, rows=1).together()
    scores = []
    for choice in choices:
        chance = 1.0
        for count in range(len(choice) + 1):
            x_t = torch.full((1, LENGTH), MASK)
            x_t[0, :count] = torch.tensor(choice[:count], dtype=torch.long)
            after = predictor(x_t)[0, count].double().softmax(-1)
            chance *= float(after[ENDS].sum() if count == len(choice) else after[choice[count]])
        scores.append(chance)
    expected = [score / sum(scores) for score in scores]
    assert probabilities(predictor, [choices], by=by)[0] == pytest.approx(expected, rel=1e-4)


@settings(max_examples=15)
@given(seed=st.integers(0, 99), choices=options, data=st.data())
def test_the_order_and_the_company_of_choices_do_not_matter(
    seed: int, choices: list[tuple[int, ...]], data: st.DataObject
) -> None:
    predictor = mixed_batch(MODELS[seed % 2], seed, rows=1).together()
    found = probabilities(predictor, [choices])[0]
    assert math.fsum(found) == pytest.approx(1.0)
    order = data.draw(st.permutations(range(len(choices))))
    permuted = probabilities(predictor, [[choices[place] for place in order]])[0]
    assert permuted == pytest.approx([found[place] for place in order], rel=1e-9)
    fewer = order[: (len(order) + 1) // 2]
    among = probabilities(predictor, [[choices[place] for place in fewer]])[0]
    total = sum(found[place] for place in fewer)
    assert among == pytest.approx([found[place] / total for place in fewer], rel=1e-4)


@settings(max_examples=15)
@given(seed=st.integers(0, 99), rows=st.lists(options, min_size=3, max_size=3))
def test_a_row_does_not_depend_on_its_batch_nor_on_what_the_predictor_can(
    seed: int, rows: list[list[tuple[int, ...]]]
) -> None:
    batch = mixed_batch(MODELS[seed % 2], seed)
    settings = {"gen_length": LENGTH, "end_token_ids": ENDS}
    together = choose_among(batch.together(), rows, **settings)
    plain = choose_among(Plain(batch.together()), rows, **settings)
    assert torch.equal(plain.output.row_nfe, together.output.row_nfe)
    assert plain.output.nfe == int(plain.output.row_nfe.max())
    assert together.output.nfe <= plain.output.nfe
    for row, choices in enumerate(rows):
        alone = choose_among(batch.alone(row), [choices], **settings)
        assert alone.best[0] == together.best[row] == plain.best[row]
        assert alone.probabilities[0] == pytest.approx(together.probabilities[row], rel=1e-9)
        assert plain.probabilities[row] == pytest.approx(together.probabilities[row], rel=1e-9)
        assert torch.equal(alone.output.tokens[0], together.output.tokens[row])
        assert alone.output.row_nfe[0] == together.output.row_nfe[row]
        torch.testing.assert_close(alone.output.confidence[0], together.output.confidence[row])


def test_the_output_holds_the_answer_and_nothing_else() -> None:
    batch = mixed_batch(MODELS[0], 3)
    rows = [[(1,), (2, 3)], [(4, 5, 6)], [(7, 8), (9,), (7, 9)]]
    chosen = choose_among(batch.together(), rows, gen_length=LENGTH, end_token_ids=ENDS)
    for row, best in enumerate(chosen.best):
        answer = list(rows[row][best])
        assert chosen.probabilities[row][best] == max(chosen.probabilities[row])
        assert chosen.output.tokens[row].tolist() == answer + [EOS] * (LENGTH - len(answer))
        assert chosen.output.lengths[row] == len(answer)
    assert chosen.probabilities[1] == [1.0]
    assert ((chosen.output.confidence > 0) & (chosen.output.confidence <= 1)).all()


def test_labels_of_one_token_take_one_pass_and_their_ends_one_more() -> None:
    predictor = mixed_batch(MODELS[0], 4).together()
    labels = [[(1,), (2,), (3,)]] * 3
    settings = {"gen_length": LENGTH, "end_token_ids": ENDS}
    chosen = choose_among(predictor, labels, by="beginning", **settings)
    assert chosen.output.nfe == 1
    assert chosen.output.row_nfe.tolist() == [1, 1, 1]
    first = predictor(torch.full((3, LENGTH), MASK))[:, 0, [1, 2, 3]].softmax(-1)
    for found, expected in zip(chosen.probabilities, first.tolist(), strict=True):
        assert found == pytest.approx(expected, rel=1e-5)
    assert choose_among(predictor, labels, **settings).output.row_nfe.tolist() == [4, 4, 4]


def test_guidance_changes_the_chances() -> None:
    predictor = mixed_batch(MODELS[0], 4).together()
    choices = [[(1,), (2, 3)]] * 3
    guided = probabilities(ClassifierFreeGuidance(1.5).wrap(predictor), choices)
    assert guided != probabilities(predictor, choices)
    assert [math.fsum(row) for row in guided] == pytest.approx([1.0] * 3)


@pytest.mark.parametrize(
    ("choices", "settings", "message"),
    [
        ([[]], {}, r"choices\[0\]: expected at least one choice"),
        ([[(1,), ()]], {}, r"choices\[0\]: .*none of them empty"),
        ([[(1,), (1,)]], {}, r"choices\[0\]: .*different tokens"),
        ([[(1, MASK)]], {}, r"choices\[0\]: .*neither the mask"),
        ([[(EOS,)]], {}, r"choices\[0\]: .*nor an end token"),
        ([[(-1,)]], {}, r"choices\[0\]"),
        ([[(1,) * 6]], {}, r"choices\[0\]: .*gen_length \(6\).*got 7"),
        ([[(1,), (1, 2)]], {"by": "beginning"}, r"choices\[0\]: .*begins another"),
        ([[(1,)]] * 2, {}, "choices: expected 1 rows"),
        ([[(1,)]], {"by": "letter"}, "by: expected one of"),
        ([[(1,)]], {"gen_length": 10**12}, "gen_length: expected an integer in"),
        ([[(1,)]], {"end_token_ids": []}, "end_token_ids: expected at least one"),
    ],
)
def test_what_cannot_be_chosen_is_refused(
    choices: Any, settings: dict[str, Any], message: str
) -> None:
    predictor = mixed_batch(MODELS[0], 0, rows=1).together()
    with pytest.raises(InvalidArgumentError, match=message):
        probabilities(predictor, choices, **settings)


def test_an_impossible_choice_has_no_chance_and_nan_raises() -> None:
    language = Language({(1, 2): 0.5, (3,): 0.5})
    settings = {"gen_length": 4, "end_token_ids": [8]}
    found = choose_among(language, [[(3,), (4,)]], by="beginning", **settings)
    assert found.probabilities == [[1.0, 0.0]]
    found = choose_among(language, [[(4,), (5,)]], by="beginning", **settings)
    assert found.probabilities == [[0.5, 0.5]]
    with pytest.raises(NonFiniteLogitsError):  # it does not know what follows the impossible
        choose_among(language, [[(4,)]], **settings)
