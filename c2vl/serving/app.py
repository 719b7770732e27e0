"""The service as a FastAPI application: embed, classify, neighbours, search by text.

Without a classifier there is no ``/v1/classify``, without an index no ``/v1/neighbours``. The
caller says how features are computed (:mod:`c2vl.serving.launch` batches over requests).

Shapes: n sequences, M bodies, T frames, V joints, F features.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import Depends, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fastapi.security import HTTPBearer
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from c2vl.encoder import Encoder
from c2vl.encoder.joints import to_clips
from c2vl.serving.classifier import Head
from c2vl.serving.index import Index, Neighbour, text_rows
from c2vl.skeletons.axes import Conversion, require_upright
from c2vl.support.errors import UserError

Floats = NDArray[np.float32]
Clips = tuple[Floats, NDArray[np.bool_]]
Embed = Callable[[Clips], Awaitable[Floats]]
MOST_SEQUENCES, MOST_BODIES = 64, 8
Coordinate = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Point = Annotated[list[Coordinate], Field(min_length=3, max_length=3)]
Frames = Annotated[list[Annotated[list[Point], Field(min_length=1)]], Field(min_length=1)]
Bodies = Annotated[list[Frames], Field(min_length=1, max_length=MOST_BODIES)]
Up = Literal["y", "-y", "z", "-z", "x", "-x"]
Unit = Literal["m", "cm", "mm", "inch"]
LEVELS = {"bodies": ("body", "frame", "joint"), "frames": ("frame", "joint")}
"""What each index into a sequence counts, for messages."""


def _kind(sequence: Any) -> str:
    """Choose a sequence's form by the depth of its lists.

    Pydantic alone would try both forms, and answer a mistake in one with what the other expects.
    """
    for _ in range(3):
        if not isinstance(sequence, list) or not sequence:
            return "frames"
        sequence = sequence[0]
    return "bodies" if isinstance(sequence, list) else "frames"


Motion = Annotated[
    Annotated[Bodies, Tag("bodies")] | Annotated[Frames, Tag("frames")], Discriminator(_kind)
]


class Strict(BaseModel):
    """Unknown fields are an error."""

    model_config = ConfigDict(extra="forbid")


class Sequences(Strict):
    """Raw joints: each sequence (frames, joints, 3) or (bodies, frames, joints, 3)."""

    sequences: Annotated[list[Motion], Field(min_length=1, max_length=MOST_SEQUENCES)]
    layout: str | None = Field(None, description="name of the joint layout, to be checked")
    up: Up | None = Field(None, description="axis that points up; y where it is not said")
    unit: Unit = Field("m", description="of the coordinates")


class ToClassify(Sequences):
    """Sequences, and how many classes to name."""

    top: int = Field(5, ge=1, le=1000)


class ToCompare(Sequences):
    """Sequences, and how many neighbours to find."""

    k: int = Field(5, ge=1, le=1000)


class Text(Strict):
    """A description of a motion."""

    text: Annotated[str, Field(min_length=1, max_length=2000)]
    k: int = Field(5, ge=1, le=1000)


class Features(BaseModel):
    """One feature vector a sequence."""

    features: list[list[float]]


class Likely(BaseModel):
    """A class and its probability."""

    name: str
    probability: float


class Classes(BaseModel):
    """The likeliest classes of each sequence."""

    classes: list[list[Likely]]


class Neighbours(BaseModel):
    """The nearest sequences of each request's sequence, or of its text."""

    neighbours: list[list[Neighbour]]


class About(BaseModel):
    """What is served."""

    digest: str
    feature_size: int
    layout: str
    joints: list[str]
    stream: str
    trained_on: str
    classes: list[str]
    indexed: int


class Problem(BaseModel):
    """What is wrong with a request."""

    detail: str


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in (
        (400, "the body is not JSON"),
        (401, "no bearer token, or a wrong one"),
        (413, "the body is too large"),
        (422, "the sequences do not fit the encoder"),
        (429, "too many requests"),
    )
}


def make_app(
    encoder: Encoder,
    embed: Embed,
    *,
    head: Head | None = None,
    index: Index | None = None,
    max_frames: int = 10_000,
    token: bool = False,
) -> FastAPI:
    """Build the application.

    Args:
        encoder: gives layout, preprocessing and the language space.
        embed: clips of one request (n, M, T, V, 3) and presence (n, M) to features (n, F).
        head, index: classifier and index of this encoder.
        max_frames: of a sequence.
        token: whether the page asks for a bearer token (:class:`c2vl.serving.limits.Guard` checks
            it).
    """
    app = FastAPI(
        title="C²VL skeleton encoder",
        version="1",
        docs_url=None,  # FastAPI's page takes its script from a server elsewhere
        redoc_url=None,
        responses=PROBLEMS,
        dependencies=[Depends(HTTPBearer(auto_error=False))] if token else [],
    )

    @app.exception_handler(UserError)
    def _user_error(_: Request, error: UserError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 422)

    @app.exception_handler(RequestValidationError)
    def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        # FastAPI's own answer repeats the input, which may be large or hold NaN
        status, detail = _first(error.errors())
        return JSONResponse({"detail": detail}, status)

    async def features(body: Sequences) -> Floats:
        if body.layout is not None and body.layout != encoder.layout.name:
            raise UserError(
                f"layout: {body.layout} is given, this encoder expects {encoder.layout.name}"
            )
        clips = await run_in_threadpool(_clips, body, encoder, max_frames)
        return await embed(clips)

    described = app.openapi
    app.openapi = lambda: {**described(), "x-joints": len(encoder.layout.joints)}  # type: ignore[method-assign]

    @app.get("/", include_in_schema=False)
    def root() -> RedirectResponse:
        return RedirectResponse("docs")

    @app.get("/docs", include_in_schema=False, response_class=HTMLResponse)
    def page() -> str:
        return (files("c2vl.serving") / "page.html").read_text(encoding="utf-8")

    @app.get("/v1/health")
    def health() -> dict[str, str]:
        """Say that the service is up."""
        return {"status": "ok"}

    @app.get("/v1/encoder")
    def about() -> About:
        """Say what is served."""
        return About(
            digest=encoder.digest,
            feature_size=encoder.feature_size,
            layout=encoder.layout.name,
            joints=list(encoder.layout.joints),
            stream=str(encoder.card["stream"]),
            trained_on=str(encoder.card.get("provenance", {}).get("dataset", "")),
            classes=list(head.classes) if head else [],
            indexed=len(index.rows) if index else 0,
        )

    @app.post("/v1/embed")
    async def embed_sequences(body: Sequences) -> Features:
        """Embed sequences of raw joints."""
        return Features(features=(await features(body)).tolist())

    if head is not None:

        @app.post("/v1/classify")
        async def classify(body: ToClassify) -> Classes:
            """Name the likeliest classes of sequences."""
            found = head.top(await features(body), body.top)
            rows = [[Likely(name=n, probability=p) for n, p in row] for row in found]
            return Classes(classes=rows)

    if index is not None:

        @app.post("/v1/neighbours")
        async def neighbours(body: ToCompare) -> Neighbours:
            """Find the indexed motions that are most like the sequences."""
            return Neighbours(neighbours=index.by_features(await features(body), body.k))

        if index.has_language:

            @app.post("/v1/search")
            async def search(body: Text) -> Neighbours:
                """Find the indexed motions that a text describes best."""
                rows = await run_in_threadpool(text_rows, encoder, [body.text])
                return Neighbours(neighbours=index.by_text(rows, body.k))

    return app


def _first(errors: Sequence[Any]) -> tuple[int, str]:
    """Return the status and the message of a request's first mistake."""
    for one in errors:  # an unknown field explains a missing one
        if one["type"] == "extra_forbidden":
            return 422, f"{one['loc'][-1]}: no such field here"
    one = errors[0]
    if one["type"] == "json_invalid":
        return 400, f"body: {one['msg']}"
    _, *place = one["loc"]
    if len(place) < 3 or place[0] != "sequences":
        words = ".".join(str(part) for part in place)
        return 422, f"{words or 'body'}: {one['msg']}"
    _, number, kind, *inner = place
    levels = LEVELS[kind]
    names = zip((*levels, "coordinate"), inner, strict=False)
    where = ", ".join([f"sequence {number}", *(f"{name} {at}" for name, at in names)])
    if len(inner) == len(levels) and one["type"] in ("too_short", "too_long"):
        return 422, f"{where}: expected 3 coordinates, found {one['ctx']['actual_length']}"
    return 422, f"{where}: {one['msg']}"


def _clips(body: Sequences, encoder: Encoder, max_frames: int) -> Clips:
    arrays, conversion = [], Conversion.of(body.up or "y", body.unit)
    for number, sequence in enumerate(body.sequences):
        try:
            joints = np.asarray(sequence, dtype=np.float32)
        except ValueError:
            raise UserError(f"sequence {number}: not every frame has the same joints") from None
        if joints.shape[-3] > max_frames:
            raise UserError(
                f"sequence {number}: {joints.shape[-3]} frames, at most {max_frames} are taken"
            )
        arrays.append(conversion(joints))
        usual = joints.shape[-2:] == (len(encoder.layout.joints), 3)  # others are refused below
        if usual and body.up is None:
            try:
                require_upright(joints.reshape(-1, *joints.shape[-3:]), encoder.layout)
            except UserError as error:
                raise UserError(f"sequence {number}: {error}") from None
    return to_clips(arrays, encoder.layout, encoder.card["preprocessing"])
