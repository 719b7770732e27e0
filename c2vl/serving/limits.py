"""What stands in front of the service: a token, a limit on size, a limit on rate."""

from __future__ import annotations

import hmac
import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import HTTPException

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

PAGE = ("/docs", "/openapi.json")
"""What the API looks like is no secret, and a browser's address line brings no token."""
CLIENTS = 10_000  # remembered at once; the one that was quiet longest is forgotten first


class Rate:
    """A token bucket a client: a burst of two seconds' worth, then so many a second.

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
    """Refuses requests before the application sees them: 401, 413, 429.

    Args:
        app: what is behind.
        token: that ``Authorization: Bearer`` must bring, but for the page; None asks for none.
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
        headers = dict(scope["headers"])
        client = (scope.get("client") or ("unknown",))[0]
        if not self._rate.allow(client):
            await _refuse(send, 429, "too many requests; wait a second", [(b"retry-after", b"1")])
            return
        given = headers.get(b"authorization", b"")
        if self._wanted is not None and scope["path"] not in PAGE:
            if not hmac.compare_digest(given, self._wanted):
                challenge = [(b"www-authenticate", b"Bearer")]
                await _refuse(send, 401, "a bearer token is needed, or another one", challenge)
                return
        too_large = f"the body is larger than {self.max_body} bytes"
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self.max_body:
            await _refuse(send, 413, too_large)
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


async def _refuse(
    send: Send, status: int, detail: str, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    body = json.dumps({"detail": detail}).encode()
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    start = {"type": "http.response.start", "status": status, "headers": head + (headers or [])}
    await send(start)
    await send({"type": "http.response.body", "body": body})
