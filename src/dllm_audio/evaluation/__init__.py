"""Benchmarks, scorers, resumable runs, transcription metrics and reports.

``mmau`` and ``mmsu`` hold the multiple-choice scorers, ``wer`` the transcription metric,
``benchmarks`` the definitions and ``runner`` what runs any of them.  Nothing is imported before
it is used.
"""

from __future__ import annotations
