"""What the server answers: every path, its fields, and how an error is told."""

import asyncio
import base64
import hashlib
import os
import re
from typing import Annotated, NamedTuple

import fastapi
import numpy as np
import pydantic
from fastapi import File, Form, Query, UploadFile
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from geodesic.errors import UserError
from geodesic.experiments.galleries import pictures as of_rows
from geodesic.experiments.galleries.searching import Found
from geodesic.experiments.serving import batches, metrics, pictures, refusal, rows
from geodesic.experiments.serving.limits import Guard, Limits
from geodesic.experiments.serving.marks import Marks
from geodesic.experiments.serving.model import Model
from geodesic.experiments.serving.refusal import Json, Refused
from geodesic.metrics import retrieval

_MOST, _AT_ONCE = 1000, 64  # neighbours of an answer, searches that look through the gallery together
_PAGE = os.path.join(os.path.dirname(__file__), "page.html")

Picture = Annotated[UploadFile | None, File(description="An image file.")]
Id = Annotated[str, Form(max_length=2000, description="Of a row, in place of the picture.")]
Count = Annotated[int, Form(ge=1, le=_MOST, description="Neighbours.")]
Only = Annotated[str, Form(max_length=500, description="Of rows with this label alone.")]


class Mark(pydantic.BaseModel):
    """one: the id of a row, or the digest that /search has said of a picture; other: the id of a row."""

    one: str = pydantic.Field(max_length=2000)
    other: str = pydantic.Field(max_length=2000)
    same: bool


class Service(NamedTuple):
    """folders: those whose pictures are served, [] for wherever the rows say."""

    model: Model
    rows: rows.Rows
    marks: Marks
    told: metrics.Metrics
    limits: Limits
    folders: list[str]


def make(service: Service) -> Guard:
    """The ASGI application."""
    app = fastapi.FastAPI(title="Geodesic", docs_url=None, redoc_url=None,  # those pages are on another's server
                          description="A gallery of pictures. Errors are {\"error\": \"one line\"}.",
                          default_response_class=Json)
    searches = batches.Batches(service.rows.find, _AT_ONCE)
    for kind, handler in ((HTTPException, _refused), (RequestValidationError, _invalid), (UserError, _unusable),
                          (OSError, _failed), (Exception, _defect)):
        app.add_exception_handler(kind, handler)
    _about(app, service)
    _asking(app, service, searches)
    _comparing(app, service)
    _writing(app, service)
    guard = Guard(app, service.limits, service.told, {route.path for route in app.routes})
    guard.app, guard.close = app, lambda: (searches.close(), service.model.close())
    return guard


def _about(app: fastapi.FastAPI, service: Service) -> None:
    page, policy = _page()
    head = {"Content-Security-Policy": policy, "Cache-Control": "no-cache"}

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return HTMLResponse(page, headers=head)

    @app.get("/health")
    async def health() -> dict:
        """The number of rows, the model, the threshold, and whether writing takes a token."""
        count, limit = await asyncio.to_thread(lambda: (service.rows.count(), service.rows.threshold()))
        return {"status": "ok", "rows": count, "model": service.model.run.digest, "threshold": limit,
                "token": bool(service.limits.token)}

    @app.get("/metrics")
    async def told() -> Response:
        """For Prometheus."""
        return Response(service.told.text({"waiting_pictures": service.model.waiting()}),
                        media_type=metrics.CONTENT_TYPE)

    @app.get("/labels")
    async def labels() -> dict:
        """Every label, with the number of its rows."""
        return {"labels": await asyncio.to_thread(service.rows.labels)}


def _asking(app: fastapi.FastAPI, service: Service, searches: batches.Batches) -> None:
    async def found(query: rows.Query, **words) -> dict:
        return _shown(*await asyncio.wrap_future(searches.submit(query))) | words

    @app.post("/embed")
    async def embed(picture: Picture = None) -> dict:
        """The embedding of a picture, of length 1: a product of two is their cosine."""
        row = (await service.model.embed(_needed(picture, "picture"))).vector
        unit = retrieval.normalized(row[None])[0]
        return {"embedding": unit.astype(float).tolist(), "model": service.model.run.digest}

    @app.post("/search")
    async def search(picture: Picture = None, k: Count = 10, only: Only = "") -> dict:
        """The rows nearest to a picture, as `geodesic gallery search` finds them."""
        embedded = await service.model.embed(_needed(picture, "picture"))
        return await found(rows.Query(embedded.vector, k, _text(only, "only")), digest=embedded.digest)

    @app.get("/search")
    async def search_by_words(
            id: Annotated[str, Query(max_length=2000, description="The row whose neighbours these are.")] = "",
            text: Annotated[str, Query(max_length=500, description="A label, or a part of one: rows nearest to the "
                                       "mean of its rows.")] = "",
            k: Annotated[int, Query(ge=1, le=_MOST)] = 10, only: Annotated[str, Query(max_length=500)] = "") -> dict:
        """The rows nearest to a row, which is not among them, or to a label."""
        if bool(id) == bool(text):
            raise Refused(422, "GET /search takes id=... or text=...; POST takes a picture")
        if text:
            row, labels = await asyncio.to_thread(service.rows.named, text)
            return await found(rows.Query(row, k, _text(only, "only")), labels=labels)
        row = await _row(service, id)
        return await found(rows.Query(row["vector"], k, _text(only, "only"), row["id"]), id=id, label=row["label"])

    @app.get("/pictures")
    async def picture_of(id: Annotated[str, Query(max_length=2000)],
                         side: Annotated[int, Query(ge=16, le=1024)] = 224) -> Response:
        """A row's picture, as a small JPEG. Only the very bytes that were added are shown."""
        row = await _row(service, id)
        small = lambda: pictures.thumbnail(pictures.of_row(row, service.folders), side)
        return Response(await service.model.read(small), media_type="image/jpeg",
                        headers={"Cache-Control": "private, max-age=300"})


def _comparing(app: fastapi.FastAPI, service: Service) -> None:
    async def vector(picture, name: str, field: str) -> np.ndarray:
        if picture is not None:
            return (await service.model.embed(picture)).vector
        return (await _row(service, _needed(name, field)))["vector"]

    async def upload(picture, name: str, field: str):
        if picture is not None:
            return picture
        row = await _row(service, _needed(name, field))
        if '"box"' in row["metadata"] or '"landmarks"' in row["metadata"]:
            raise Refused(409, "the row is a part of its picture, of which there is no map")
        return _Bytes(await service.model.read(pictures.of_row, row, service.folders))

    @app.post("/same")
    async def same(picture: Picture = None, other: Picture = None, id: Id = "", other_id: Id = "") -> dict:
        """The cosine of two pictures, or rows, and whether it reaches the threshold (null where there is none)."""
        pair = [await vector(picture, id, "picture or id"), await vector(other, other_id, "other or other_id")]
        first, second = retrieval.normalized(np.stack(pair))
        cosine, limit = float(first @ second), await asyncio.to_thread(service.rows.threshold)
        return {"cosine": cosine, "threshold": limit, "same": None if limit is None else cosine >= limit}

    @app.post("/explain")
    async def explain(picture: Picture = None, other: Picture = None, id: Id = "", other_id: Id = "") -> Response:
        """What each place of two pictures adds to their cosine, as a PNG with both; its header says the cosine."""
        pair = [await upload(picture, id, "picture or id"), await upload(other, other_id, "other or other_id")]
        cosine, content = await service.model.explain(*pair)
        return Response(content, media_type="image/png", headers={"Geodesic-Cosine": repr(cosine)})


def _writing(app: fastapi.FastAPI, service: Service) -> None:
    @app.post("/rows", status_code=201)
    async def add(picture: Picture = None, id: Id = "", label: Only = "") -> dict:
        """Adds a picture. Without an id it is that of the file that keeps it, so that it is there once."""
        sent = await service.model.embed(_needed(picture, "picture"), keep=True)  # whether it can be read, too
        return await asyncio.to_thread(service.rows.add, sent.content, f"{sent.digest}.{sent.extension}",
                                       _text(id, "id"), _text(label, "label"))

    @app.delete("/rows")
    async def remove(id: Annotated[str, Query(min_length=1, max_length=2000)]) -> dict:
        """Removes one row, by its id."""
        await asyncio.to_thread(service.rows.remove, id)
        return {"removed": id}

    @app.post("/marks", status_code=201)
    async def mark(mark: Mark) -> dict:
        """Writes down whether two pictures show the same."""
        if not re.fullmatch("[0-9a-f]{32}", mark.one):
            await _row(service, mark.one)
        await _row(service, mark.other)
        return await asyncio.to_thread(service.marks.add, mark.one, mark.other, mark.same, service.model.run.digest)


class _Bytes:
    """What is in memory already, as an upload."""

    def __init__(self, content: bytes):
        self._content = content

    async def read(self) -> bytes:
        return self._content


async def _row(service: Service, name: str) -> dict:
    return await asyncio.to_thread(service.rows.row, name)


def _needed(value, field: str):
    if value is None or value == "":
        raise Refused(422, f"the field {field} is missing, or the request ends too early: send a form "
                           f"(multipart/form-data) with a picture")
    return value


def _text(value: str, field: str) -> str:
    """Raises Refused for what is no line of text."""
    if not value.isprintable() or not value.encode("utf-8", "replace").decode() == value:
        raise Refused(422, f"the field {field} is a line of text, without control characters")
    return value


def _shown(found: Found, limit: float | None) -> dict:
    return {"answer": found.answer and of_rows.escaped(found.answer), "threshold": limit,
            "hits": rows.shown(found.hits)}


def _page() -> tuple[str, str]:
    """The page, and the policy by which a browser loads nothing else for it."""
    with open(_PAGE) as file:
        page = file.read()
    of = lambda tag: " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL))
    return page, (f"default-src 'none'; img-src 'self' blob: data:; connect-src 'self'; script-src {of('script')}; "
                  f"style-src {of('style')}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")


async def _refused(_, error: HTTPException) -> Response:
    return refusal.answer(error)


async def _invalid(_, error: RequestValidationError) -> Response:
    lines = [f"{'.'.join(map(str, one['loc'][1:])) or 'the request'}: {one['msg']}" for one in error.errors()[:3]]
    return refusal.answer(Refused(422, "; ".join(lines)))


async def _unusable(_, error: UserError) -> Response:
    """The gallery is empty, of another model, or cannot be used."""
    return refusal.answer(Refused(409, str(error)))


async def _failed(_, error: OSError) -> Response:
    return refusal.answer(Refused(507 if error.errno == 28 else 503, str(error), again=10))


async def _defect(_, error: Exception) -> Response:
    return refusal.answer(Refused(500, f"a defect of the server: {type(error).__name__}"))
