"""Benchmarks, scorers, resumable runs, transcription metrics and reports.

``mmau`` and ``mmsu`` hold the multiple-choice scorers, ``wer`` the transcription metric,
``benchmarks`` the benchmarks by name and ``runner`` what runs any of them.  Names are imported from
these modules; nothing is imported before it is used.
"""

from __future__ import annotations
