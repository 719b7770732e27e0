"""Limits in front of the service: a bearer token, the size of a body, requests a second."""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import HTTPException
from fastapi.responses import JSONResponse

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

OPEN_PATHS = ("/", "/docs", "/openapi.json")
"""Need no token: the API's description is no secret, and a browser's address line brings none."""
CLIENTS = 10_000  # whose buckets are kept; the one that was quiet longest is dropped first


class Rate:
    """A token bucket for each client: a burst of two seconds' worth, then ``rate`` a second.

    Args:
        rate: requests a second; 0 is no limit.
        clock: seconds, for tests.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self._clock = rate, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allow(self, client: str) -> bool:
        """Count a request; False when the client has to wait."""
        if not self.rate:
            return True
        now, most = self._clock(), max(1.0, 2 * self.rate)
        left, then = self._buckets.pop(client, (most, now))
        left = min(most, left + (now - then) * self.rate)
        allowed = left >= 1
        self._buckets[client] = (left - allowed, now)
        if len(self._buckets) > CLIENTS:
            self._buckets.popitem(last=False)
        return allowed


class Guard:
    """ASGI middleware that refuses requests before the application sees them: 401, 413, 429.

    Args:
        app: the application.
        token: what ``Authorization: Bearer`` must bring, but for :data:`OPEN_PATHS`; None: nothing.
        max_body: bytes.
        rate: requests a second and client.
    """

    def __init__(self, app: App, *, token: str | None, max_body: int, rate: float) -> None:
        self.app, self.max_body, self._rate = app, max_body, Rate(rate)
        self._wanted = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle a connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        too_large = f"the body is larger than {self.max_body} bytes"
        if (refusal := self._refusal(scope, too_large)) is not None:
            await refusal(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.max_body:  # FastAPI turns any other error of a body into a 400
                raise HTTPException(413, too_large)
            return message

        await self.app(scope, counted, send)

    def _refusal(self, scope: Message, too_large: str) -> JSONResponse | None:
        headers = dict(scope["headers"])
        if not self._rate.allow((scope.get("client") or ("unknown",))[0]):
            return _problem(429, "too many requests; wait a second", {"retry-after": "1"})
        if self._wanted is not None and scope["path"] not in OPEN_PATHS:
            if not hmac.compare_digest(headers.get(b"authorization", b""), self._wanted):
                needed = "a bearer token is needed, or another one"
                return _problem(401, needed, {"www-authenticate": "Bearer"})
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self.max_body:
            return _problem(413, too_large)
        return None


def _problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": detail}, status, headers)
