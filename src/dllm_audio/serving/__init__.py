"""A server with OpenAI's interface; rows of different requests share every denoising step.

``meeting`` and ``passes`` are how rows share passes, ``engine`` admits them, ``app`` speaks HTTP.
"""
