"""``torch.compile`` of the backbone's pass, over everything and over a block: the same tokens."""

from __future__ import annotations

import pytest
import torch

from dllm_audio import AudioEmbeddings, CachedParallelSampler, LLaDA, LLaDAConfig, condition
from dllm_audio.prompts import ConditionedPredictor


def llada() -> LLaDA:
    torch.manual_seed(0)
    config = LLaDAConfig(
        d_model=32, n_layers=2, n_heads=4, mlp_hidden_size=64, vocab_size=50,
        mask_token_id=49, eos_token_id=48, init_std=0.3,
    )  # fmt: skip
    return LLaDA(config).to(torch.float64).eval().requires_grad_(False)


def conditioned(model: LLaDA) -> ConditionedPredictor:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 48, (3, 9), generator=generator)
    mask = torch.arange(9) >= torch.tensor([[0], [4], [2]])
    audio = torch.randn(3, 6, 32, generator=generator, dtype=torch.float64)
    heard = AudioEmbeddings(audio, torch.tensor([6, 2, 5]))
    start = torch.tensor([1, 2, 0])
    return condition(model, ids, prompt_mask=mask, audio=heard, audio_start=start)


@pytest.mark.filterwarnings("ignore")  # torch.compile warns about itself
def test_tokens_of_a_compiled_pass_are_the_same() -> None:
    """Tracing is what can go wrong in our code, so the compiler's back end is the cheapest."""
    sampler = CachedParallelSampler(8, 4, None, "dual", steps=4)
    plain, compiled = llada(), llada()
    passes = []

    def back_end(graph: torch.fx.GraphModule, example_inputs: list[torch.Tensor]) -> object:
        passes.append(len(example_inputs))
        return graph.forward

    compiled.hidden = torch.compile(compiled.hidden, backend=back_end, fullgraph=True)  # type: ignore[method-assign]
    expected, found = sampler(conditioned(plain)), sampler(conditioned(compiled))
    assert passes, "nothing was compiled"
    assert torch.equal(found.tokens, expected.tokens)
    assert found.nfe == expected.nfe
