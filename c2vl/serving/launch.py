"""Run the service with Ray Serve: replicas, batches over requests, shut down with the command."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from c2vl.support.errors import UserError, not_utf8
from c2vl.support.ray_session import connected

SERVE_NAMESPACE = "serve"  # of Ray Serve's own actors
BATCH, WAIT = 32, 0.005  # requests a forward pass; seconds that the first of them waits for others


@dataclass(frozen=True)
class Settings:
    """What to serve, where, and within which limits.

    Attributes:
        encoder: folder, MLflow address or run id.
        head, index: folders, of the same encoder.
        host, port: where to listen.
        token_file: holds the bearer token; needed beyond loopback.
        replicas: processes; limits on rate are each one's own.
        max_body: bytes of a request.
        max_frames: of a sequence.
        rate: requests a second and client.
        gpu: whether each replica takes a GPU.
    """

    encoder: str
    head: Path | None = None
    index: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    token_file: Path | None = None
    replicas: int = 1
    max_body: int = 8 * 2**20
    max_frames: int = 10_000
    rate: float = 50.0
    gpu: bool = False

    def token(self) -> str | None:
        """Read the token.

        Raises:
            UserError: there is none where one is needed, or it is too short to be one.
        """
        if self.token_file is None:
            if not _loopback(self.host):
                raise UserError(
                    f"--host {self.host}: is reached from other machines, and then a token is "
                    "needed: --token-file FILE with a long random line in it"
                )
            return None
        try:
            token = self.token_file.read_text(encoding="utf-8").strip()
        except UnicodeDecodeError as error:
            raise UserError(f"{self.token_file}{not_utf8(error)}") from None
        except OSError as error:
            raise UserError(f"{self.token_file}: the token cannot be read ({error})") from None
        if len(token) < 16 or not token.isascii() or any(mark.isspace() for mark in token):
            raise UserError(
                f"{self.token_file}: a token is one line of 16 or more ASCII characters"
            )
        return token


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def check(settings: Settings) -> None:
    """Check the settings and load everything once, before anything starts.

    Raises:
        UserError: what is wrong.
    """
    for name in ("port", "replicas", "max_body", "max_frames"):
        if getattr(settings, name) < 1:
            raise UserError(f"--{name.replace('_', '-')}: give more than 0")
    if settings.rate < 0:
        raise UserError("--rate: give 0 (no limit) or more")
    settings.token()
    load_parts(settings)


def load_parts(settings: Settings) -> tuple[Any, Any, Any]:
    """Load encoder, classifier and index, and check that they belong together."""
    from c2vl.encoder import load_encoder
    from c2vl.serving.classifier import load_head
    from c2vl.serving.index import load_index

    encoder = load_encoder(settings.encoder)
    head = load_head(settings.head) if settings.head else None
    index = load_index(settings.index) if settings.index else None
    for part in (head, index):
        if part is not None:
            part.fits(encoder)
    return encoder, head, index


def application(settings: Settings) -> Any:
    """The Ray Serve application."""
    from ray import serve

    token = settings.token()

    @serve.deployment(
        name="encoder",
        num_replicas=settings.replicas,
        max_ongoing_requests=256,
        ray_actor_options={"num_cpus": 1, "num_gpus": 1 if settings.gpu else 0},
    )
    @serve.ingress(lambda: _guarded(settings, token))
    class Service:
        """One replica; its application loads the encoder itself."""

    return Service.bind()  # type: ignore[attr-defined]


def _guarded(settings: Settings, token: str | None) -> Any:
    """Build the application in the replica's process."""
    import torch
    from ray import serve

    from c2vl.serving.app import Clips, Floats, make_app
    from c2vl.serving.limits import Guard

    torch.set_num_threads(1)
    encoder, head, index = load_parts(settings)
    if settings.gpu:
        encoder.to("cuda")

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=WAIT)
    async def embed(requests: list[Clips]) -> list[Floats]:
        return embed_together(encoder, requests)

    app = make_app(
        encoder,
        embed,
        head=head,
        index=index,
        max_frames=settings.max_frames,
        token=token is not None,
    )
    app.add_middleware(Guard, token=token, max_body=settings.max_body, rate=settings.rate)
    return app


def embed_together(encoder: Any, requests: list[Any]) -> list[Any]:
    """Embed the clips of several requests in one pass, and give each its own features."""
    import numpy as np
    import torch

    bodies = max(x_NMTVC.shape[1] for x_NMTVC, _ in requests)

    def joined(arrays: Sequence[Any]) -> torch.Tensor:
        pads = [[(0, 0), (0, bodies - a.shape[1]), *[(0, 0)] * (a.ndim - 2)] for a in arrays]
        return torch.from_numpy(
            np.concatenate([np.pad(a, pad) for a, pad in zip(arrays, pads, strict=True)])
        )

    clips, present = zip(*requests, strict=True)
    rows_NF = encoder.embed_clips(joined(clips), joined(present))
    return list(np.split(rows_NF, np.cumsum([len(x) for x in clips])[:-1]))


def _absolute(settings: Settings) -> Settings:
    """Make paths absolute, since replicas run in other folders."""
    here = Path(settings.encoder)
    return replace(
        settings,
        encoder=str(here.absolute()) if here.exists() else settings.encoder,
        head=settings.head and settings.head.absolute(),
        index=settings.index and settings.index.absolute(),
        token_file=settings.token_file and settings.token_file.absolute(),
    )


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """Serve while the block runs; yields the address.

    On a cluster that RAY_ADDRESS names, replicas run where there is room; its head node listens.

    Raises:
        UserError: a part does not load, the port is taken, or the cluster serves something else.
    """
    import logging
    import socket

    check(settings)
    settings = _absolute(settings)
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise UserError(
                f"--host {settings.host} --port {settings.port}: cannot be used ({error})"
            ) from None
    from ray import serve
    from ray.util import list_named_actors

    starting = {"num_cpus": settings.replicas + 1, "include_dashboard": False}
    with ExitStack() as ending, connected(starting=starting, logging_level=logging.ERROR):
        if any(actor["namespace"] == SERVE_NAMESPACE for actor in list_named_actors(True)):
            raise UserError(
                f"RAY_ADDRESS={os.environ.get('RAY_ADDRESS', '')}: Ray Serve runs on that cluster "
                "already, and is not ended for this; unset RAY_ADDRESS to serve from this machine"
            )
        try:
            logging.getLogger("ray.serve").setLevel(logging.WARNING)  # each request has its line
            listen = {"host": settings.host, "port": settings.port}
            serve.start(
                proxy_location="HeadOnly",
                http_options=listen,
                logging_config={"log_level": "WARNING"},
            )
            serve.run(application(settings), name="c2vl", route_prefix="/")
            yield f"http://{settings.host}:{settings.port}"
        finally:
            # Ray kills Serve's controller in the middle of a call, and reports the call as failed.
            nowhere = ending.enter_context(open(os.devnull, "w", encoding="utf-8"))
            ending.enter_context(redirect_stdout(nowhere))
            ending.enter_context(redirect_stderr(nowhere))
            serve.shutdown()


def run(settings: Settings) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    import click

    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    with serving(settings) as address:
        click.echo(f"{settings.encoder} at {address} (page: {address}/docs); Ctrl-C ends it")
        done.wait()
