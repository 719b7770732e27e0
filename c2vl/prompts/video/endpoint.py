"""Captions from an OpenAI-compatible endpoint (vLLM, SGLang, llama.cpp and others)."""

from __future__ import annotations

import base64
import os
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from c2vl.prompts.video.answers import Answer
from c2vl.support.errors import UserError

TOKEN = "C2VL_ENDPOINT_TOKEN"
"""Environment variable of the access token; it is sent to the endpoint and written nowhere."""

_AGAIN = (408, 409, 425, 429, 500, 502, 503, 504)
_LONGEST_WAIT = 60.0


@dataclass
class Endpoint:
    """A chat endpoint that answers questions on pictures, several at a time.

    Attributes:
        url: up to and with ``/v1``.
        timeout: seconds that one answer may take.
        tries: in all, with growing waits, and at least what ``Retry-After`` says.
        seed: sent along; temperature is 0.
        wait: seconds before the second try.
    """

    url: str
    model: str
    concurrency: int = 8
    max_tokens: int = 64
    timeout: float = 120.0
    tries: int = 5
    seed: int = 0
    wait: float = 1.0
    _down: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"--endpoint: {parts.hostname or self.url!r} is not an http(s) address")
        if parts.username or parts.password:
            raise UserError(f"--endpoint: put the token into the environment, {TOKEN}=…")

    @property
    def identity(self) -> str:
        """Model and host, for the record."""
        return f"{self.model} at {urlsplit(self.url).hostname}"

    def answers(self, pictures: Sequence[bytes], questions: Sequence[str]) -> list[Answer]:
        with ThreadPoolExecutor(max_workers=self.concurrency) as pool:
            return list(pool.map(self._ask, pictures, questions))

    def _ask(self, picture: bytes, question: str) -> Answer:
        """Ask until there is an answer, the tries are used up, or asking again cannot help."""
        import requests

        error = ""
        for attempt in range(self.tries):
            if self._down:
                return Answer("", error=self._down)
            wait = min(self.wait * 2**attempt * random.uniform(0.75, 1.25), _LONGEST_WAIT)
            try:
                reply = requests.post(
                    f"{self.url.rstrip('/')}/chat/completions",
                    json=self._request(picture, question),
                    headers=self._headers(),
                    timeout=(10.0, self.timeout),
                    allow_redirects=False,  # the token is for this host alone
                )
            except requests.Timeout:
                error = f"no answer within {self.timeout:g} s"
            except requests.RequestException as problem:
                error = f"{urlsplit(self.url).netloc} cannot be reached ({type(problem).__name__})"
                if attempt + 1 == self.tries:
                    self._down = error  # the others need not wait for it one by one
            else:
                if reply.status_code == 200:
                    return _answer(reply)
                error = f"HTTP {reply.status_code}"
                if reply.status_code in (401, 403):
                    self._down = f"{error}: the token in {TOKEN} is not accepted"
                    return Answer("", error=self._down)
                if reply.status_code not in _AGAIN:
                    return Answer("", error=f"{error}: {_message(reply)}")
                wait = max(wait, min(_seconds(reply.headers.get("Retry-After")), _LONGEST_WAIT))
            if attempt + 1 < self.tries:
                time.sleep(wait)
        return Answer("", error=f"{error}, {self.tries} tries")

    def _request(self, picture: bytes, question: str) -> dict[str, Any]:
        kind = "webp" if picture[8:12] == b"WEBP" else "jpeg"
        data = f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
        content = [
            {"type": "image_url", "image_url": {"url": data}},
            {"type": "text", "text": question},
        ]
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self.max_tokens,
            "temperature": 0,
            "seed": self.seed,
        }

    def _headers(self) -> dict[str, str]:
        token = os.environ.get(TOKEN, "")
        return {"Authorization": f"Bearer {token}"} if token else {}


def _answer(reply: Any) -> Answer:
    try:
        choice = reply.json()["choices"][0]
        text, reason = choice["message"]["content"] or "", choice.get("finish_reason")
        if not isinstance(text, str):
            raise TypeError
    except (ValueError, LookupError, TypeError):
        return Answer("", error="the reply is not a chat completion")
    return Answer(text, whole=reason != "length")


def _message(reply: Any) -> str:
    try:
        error = reply.json()["error"]
        text = error["message"] if isinstance(error, dict) else error
    except (ValueError, LookupError, TypeError):
        text = reply.text
    token = os.environ.get(TOKEN, "")
    said = " ".join(str(text).split())[:200]
    return said.replace(token, "…") if token else said  # some servers repeat what they were sent


def _seconds(value: str | None) -> float:
    try:
        return max(0.0, float(value or 0))
    except ValueError:
        return 0.0  # a date: rare, and our own wait grows anyway
