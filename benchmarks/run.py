"""One run of the benchmarks: the model, the device, its rates, and the reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from dllm_audio import AudioEmbeddings, LLaDA
from dllm_audio.backbones import can_pack, pack_weights

from .floor import Rates, measure_rates
from .measure import Timing, measure
from .peer import build_peer
from .report import Record, Report, environment, record
from .shapes import Shape, build_backbone
from .strategies import Axes


def base_mode(device: torch.device, dtype: torch.dtype) -> str:
    """``packed`` where weights can be packed, else ``eager``."""
    packs = can_pack(torch.nn.Linear(1, 1, device=device, dtype=dtype))
    return "packed" if packs else "eager"


@dataclass
class Run:
    """Shared by all benchmarks of a session.

    Attributes:
        shape: model size.
        device: where it computes.
        dtype: of weights and activations.
        repeats: timed repetitions.
        axes: values of the matrix.
        chosen: strategies given on the command line; empty means all.
        say: prints a line of progress.
        full: whether this is a measurement and not a smoke test.
    """

    shape: Shape
    device: torch.device
    dtype: torch.dtype
    repeats: int
    axes: Axes
    chosen: tuple[str, ...]
    say: Callable[[str], None]
    full: bool

    @cached_property
    def backbone(self) -> LLaDA:
        """The backbone with random weights."""
        return build_backbone(self.shape, self.device, self.dtype)

    @cached_property
    def packed_backbone(self) -> LLaDA:
        """The same with packed weights."""
        return pack_weights(build_backbone(self.shape, self.device, self.dtype))

    @cached_property
    def peer(self) -> LlamaForCausalLM:
        """The autoregressive model of the same shape."""
        return build_peer(self.shape.backbone, self.device, self.dtype)

    @cached_property
    def rates(self) -> Rates:
        """Copy bandwidth and matrix-product rate of the device, measured once."""
        rates = measure_rates(self.device, self.dtype, small=not self.full)
        self.say(
            f"copy {rates.bandwidth / 1e9:.1f} GB/s, matrix product {rates.flops / 1e9:.1f} GFLOP/s"
        )
        return rates

    @cached_property
    def _reports(self) -> dict[str, Report]:
        facts = environment(self.device, self.dtype, self.shape.name)
        rates = {
            "copy_bytes_per_second": self.rates.bandwidth,
            "matmul_flop_per_second": self.rates.flops,
        }
        themes = (f"{subject}-{self.shape.name}" for subject in ("decoding", "parts"))
        names = [*themes, "small-model"]
        return {name.partition("-")[0]: Report(name, facts, rates) for name in names}

    def finished_reports(self) -> list[Report]:
        """The reports that hold something."""
        return [report for report in self._reports.values() if report.records]

    def report(self, subject: str) -> Report:
        """The report on ``decoding``, ``parts`` or the ``small`` model."""
        return self._reports[subject]

    def wants(self, name: str) -> bool:
        """Whether a peer was asked for."""
        return not self.chosen or name in self.chosen

    def measure(
        self, call: Callable[[], object], warmup: Callable[[], object] | None = None
    ) -> Timing:
        """Time a call on this run's device."""
        return measure(call, self.device, repeats=self.repeats, warmup=warmup)

    def add(
        self, subject: str, name: str, group: str, timing: Timing, settings: dict | None = None,
        **numbers: float,
    ) -> Record:  # fmt: skip
        """Put a result into a report and say so."""
        made = record(name, group, timing, settings, **numbers)
        self.report(subject).records.append(made)
        extra = ""
        if "tokens_per_second" in numbers:
            extra = f", {numbers['tokens_per_second']:.1f} tokens/s"
        self.say(f"{name}: {1e3 * made.median:.3g} ms{extra} ")
        return made

    def prompt(self, batch: int, positions: int) -> tuple[Tensor, AudioEmbeddings, int]:
        """Prompt ids ``[B, P]``, audio ``[B, A, D]`` with ``P + A = positions``, and its start.

        Four fifths of the positions are audio, as for 30 s of it.
        """
        audio_length = 4 * positions // 5
        generator = torch.Generator().manual_seed(1)
        config = self.shape.backbone
        ids = torch.randint(
            config.vocab_size - 2, (batch, positions - audio_length), generator=generator
        )
        embeds = torch.randn(batch, audio_length, config.d_model, generator=generator)
        embeds = (config.init_std * embeds).to(self.device, self.dtype)
        lengths = torch.full((batch,), audio_length, device=self.device)
        return ids.to(self.device), AudioEmbeddings(embeds, lengths), ids.shape[1] // 2
