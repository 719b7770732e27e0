"""An S3 server as a process of its own, and a proxy before it that is slow, cuts, or refuses."""

from __future__ import annotations

import http.client
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.shell import free_port

HOST = "127.0.0.1"
_STEP = 16_384
_HEAD = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.1\r\n")
_RANGE = re.compile(rb"\r\nrange: (\S+)", re.I)
_CALL = re.compile(rb"\r\namz-sdk-invocation-id: (\S+)", re.I)  # the same when a client asks again


class Server:
    """moto's S3 server. What it holds is gone when it is killed."""

    def __init__(self) -> None:
        self.port = free_port()
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 60
        while True:
            try:
                socket.create_connection((HOST, self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < until, "the S3 server did not start"
                time.sleep(0.1)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Ask the server without any client library."""
        connection = http.client.HTTPConnection(HOST, self.port)
        connection.request(method, path, body)
        answer = connection.getresponse()
        assert answer.status < 300, answer.read()
        return answer.read()


class Proxy:
    """Stands before an S3 server, and hands on bytes as they come.

    Attributes:
        status: answered in place of the server's, until ``sick_until``.
        sick_until: time.monotonic().
        rate: bytes a second of a connection, either way; 0: as fast as it goes.
        requests: method, path and range of bytes, as they were handed on. What a client asks once
            more, because it was refused or on a busy machine had no answer in time, stands once.
        refused: how many of them were answered with the status.
    """

    def __init__(self, server: Server, host: str = HOST, port: int = 0) -> None:
        self.status, self.sick_until, self.rate = 503, 0.0, 0.0
        self.requests: list[tuple[str, str, str]] = []
        self.refused = 0
        self._calls: set[bytes] = set()
        self._open: set[socket.socket] = set()
        self._server = server
        self._listening = socket.create_server((host, port), backlog=64)
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._connected, args=(client,), daemon=True).start()

    def _connected(self, client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection((HOST, self._server.port)) as up:
            back = threading.Thread(target=self._hand_on, args=(up, client), daemon=True)
            back.start()
            self._open |= {client, up}
            while given := client.recv(_STEP):
                if head := _HEAD.match(given):
                    span = _RANGE.search(given)
                    if time.monotonic() < self.sick_until:
                        self.refused += 1
                        answer = f"HTTP/1.1 {self.status} X\r\nContent-Length: 0\r\n"
                        client.sendall(f"{answer}Connection: close\r\n\r\n".encode())
                        up.shutdown(socket.SHUT_RDWR)
                        return
                    call = _CALL.search(given)
                    if call is None or call[1] not in self._calls:
                        asked = span[1].decode() if span else ""
                        self.requests.append((head[1].decode(), head[2].decode(), asked))
                    self._calls |= {call[1]} if call else set()
                self._send(up, given)

    def _hand_on(self, up: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while given := up.recv(_STEP):
                self._send(client, given)
            client.shutdown(socket.SHUT_RDWR)

    def _send(self, to: socket.socket, given: bytes) -> None:
        if self.rate:
            time.sleep(len(given) / self.rate)
        to.sendall(given)

    def sick(self, status: int, seconds: float) -> None:
        """Answer with a status for some seconds."""
        self.status, self.sick_until = status, time.monotonic() + seconds

    def cut(self) -> None:
        """End all connections; what is under way is lost."""
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def stop(self) -> None:
        self._listening.close()


def environment(port: int, host: str = HOST) -> dict[str, str]:
    """Return what S3's own tools read to find a server."""
    return {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "planted-access-key",
        "AWS_SECRET_ACCESS_KEY": "planted-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextmanager
def served() -> Iterator[Server]:
    server = Server()
    try:
        yield server
    finally:
        server.stop()
