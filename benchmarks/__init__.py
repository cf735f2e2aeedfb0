"""Benchmarks of decoding strategies and of the library's parts; see ``docs/performance.md``."""
