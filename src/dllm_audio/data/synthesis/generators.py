"""Where text comes from: any callable from a prompt to a completion, and two that are provided."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from ...errors import DataError, InvalidArgumentError
from ...files import parse_json

TextGenerator = Callable[[str], str]

# Answers of a server that may be better a moment later.
_MAX_REPLY = 2**24  # bytes
_TRANSIENT = (408, 409, 429, 500, 502, 503, 504)


class TransformersGenerator:
    """Completions by a local model through transformers' text-generation pipeline.

    Args:
        model: hub id or directory.
        max_new_tokens: bound of a completion.
        options: passed to ``transformers.pipeline`` (``device``, ``dtype`` and the like).
    """

    def __init__(self, model: str, max_new_tokens: int = 512, **options: Any) -> None:
        if options.pop("trust_remote_code", False):
            raise InvalidArgumentError("trust_remote_code", "False", True)
        from transformers import pipeline

        self.name = model
        self._pipeline = pipeline("text-generation", model=model, **options)
        self._limit = max_new_tokens

    def __call__(self, prompt: str) -> str:
        """Complete one prompt, greedily."""
        messages = [{"role": "user", "content": prompt}]
        output = self._pipeline(messages, max_new_tokens=self._limit, do_sample=False)
        return output[0]["generated_text"][-1]["content"]


class EndpointGenerator:
    """Completions by an OpenAI-compatible server (``/chat/completions``).

    Args:
        url: base, such as ``http://localhost:8000/v1``.
        model: name that the server knows.
        key_variable: environment variable with the key; absent or empty sends none.
        timeout: seconds per request.
        attempts: requests per prompt; a server that is busy or down is asked again, after waits
            that double.
        max_tokens: bound of a completion.
        sleep: how to wait; for tests.

    Raises:
        InvalidArgumentError: a URL that is not http(s).
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_variable: str = "OPENAI_API_KEY",
        timeout: float = 60.0,
        attempts: int = 5,
        max_tokens: int = 512,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise InvalidArgumentError("url", "an http(s) address", url)
        self.url, self.name = url.rstrip("/") + "/chat/completions", model
        self.key_variable, self.timeout = key_variable, timeout
        self.attempts, self.max_tokens, self.sleep = attempts, max_tokens, sleep

    def __call__(self, prompt: str) -> str:
        """Complete one prompt.

        Raises:
            DataError: the server refuses, or stays unavailable for all attempts.
        """
        reason = ""
        for attempt in range(self.attempts):
            if attempt:
                self.sleep(2.0 ** (attempt - 1))
            try:
                return self._request(prompt)
            except urllib.error.HTTPError as error:
                reason = f"status {error.code}"
                if error.code not in _TRANSIENT:
                    break
            except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
                reason = str(error)
            except (ValueError, KeyError, IndexError, TypeError) as error:
                reason = f"an answer of another form ({error!r})"
        raise DataError(f"{self.url}: {reason}, after {attempt + 1} attempts")

    def _request(self, prompt: str) -> str:
        body = {
            "model": self.name,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": self.max_tokens,
            "temperature": 0,
        }
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(self.key_variable):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self.url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=self.timeout) as response:
            reply = response.read(_MAX_REPLY + 1)
        if len(reply) > _MAX_REPLY:
            raise ValueError(f"more than {_MAX_REPLY} bytes")
        content = parse_json(reply.decode("utf-8"), "reply")["choices"][0]["message"]["content"]
        if not isinstance(content, str):
            raise TypeError("content is no text")
        return content
