"""What a bucket is asked again, and what it is not."""

import pytest

from geodesic.datasets import attempts
from geodesic.errors import UserError


class AnswerError(Exception):
    def __init__(self, code):
        super().__init__(f"the bucket says {code}")
        self.code = code


@pytest.mark.parametrize(("error", "raised"), [
    (AnswerError(429), None), (AnswerError(503), None), (OSError(16, "busy"), None), (AnswerError(403), UserError),
    (PermissionError("no"), UserError), (AnswerError(404), FileNotFoundError),
    (FileNotFoundError("x"), FileNotFoundError),
    (AnswerError(416), UserError), (RuntimeError("cannot schedule new futures after shutdown"), RuntimeError)])
def test_what_is_tried_again(error, raised):
    answers = [error]
    action = lambda: (_ for _ in ()).throw(answers.pop()) if answers else "done"
    if raised is None:
        assert attempts.attempt(action, "gs://b/file") == "done"
        return
    with pytest.raises(raised):
        attempts.attempt(action, "gs://b/file")
