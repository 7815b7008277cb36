"""Why a request is refused: a status and one line, which the client gets as JSON, {"error": "..."}."""

import json

from starlette.exceptions import HTTPException
from starlette.responses import Response


class Refused(HTTPException):
    """status: of HTTP. line: what was given, what was expected, what to do. again: seconds after which it may go well.

    Example:
        >>> from geodesic.experiments.serving import refusal
        >>> refusal.answer(refusal.Refused(503, "too many requests at once", again=1)).headers["retry-after"]
        '1'
    """

    def __init__(self, status: int, line: str, again: int = 0):
        super().__init__(status, line, {"Retry-After": str(again)} if again else None)


class Json(Response):
    """Any content, in ASCII: a file's name may be of no encoding at all."""

    media_type = "application/json"

    def render(self, content) -> bytes:
        return (json.dumps(content, allow_nan=False) + "\n").encode()


def answer(error: HTTPException) -> Json:
    return Json({"error": " ".join(str(error.detail).split())}, error.status_code, error.headers)
