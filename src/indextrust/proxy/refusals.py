"""How "no" is said to an installer: status, reason phrase, problem document. Pure.

What was measured with pip 26.3 and uv 0.13.9:

* 409 is reported at once by both. For a file pip prints the reason phrase; uv prints the reason
  phrase, and the problem document's title and detail where it reads one.
* 504 is reported by pip as 409 is (pip retries 500, 502, 503, 520 and 527, then loses the
  reason). uv retries every 5xx, unless ``UV_HTTP_RETRIES`` is 0; the child's environment says so.
* 404 is an answer of the index: "there is none", and an installer may go on to another version.

So what could not be verified is never a 404. 409 stands for all that was refused or that this
machine can't verify, 504 for an upstream that gave no usable answer, and 404 for what trusted
metadata does not list.

Source: RFC 9457 (problem documents), RFC 9112 section 4 (reason phrase).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from indextrust.errors import (
    AlarmError,
    IndextrustError,
    NotListedError,
    RefusedError,
    UnreachableError,
)

__all__ = ["PROBLEM_JSON", "Problem", "not_listed", "problem_of"]

PROBLEM_JSON = "application/problem+json"

_REASON_LENGTH = 400  # far below http.client's limit of a line, 65,536
_LABEL_LENGTH = 60


@dataclass(frozen=True)
class Problem:
    """One answer that is not what was asked for.

    Args:
        status: HTTP status code.
        error: the class of what was raised, for machines.
        title: what kind of "no" it is, a few words.
        detail: the full message: what was expected, what came, where.
    """

    status: int
    error: str
    title: str
    detail: str

    @property
    def reason(self) -> str:
        """The reason phrase: one line of printable ASCII, which is Latin-1 as well."""
        text = " ".join(f"indextrust: {self.title}: {self.detail}".split())
        text = re.sub(r"[^ -~]", "?", text)
        return text if len(text) <= _REASON_LENGTH else text[: _REASON_LENGTH - 3] + "..."

    @property
    def label(self) -> str:
        """Kind and error as a PEP 440 local version label (see `pages.refused_page`)."""
        error = re.sub("(?=[A-Z])", " ", self.error.removesuffix("Error"))
        words = re.findall(r"[a-z0-9]+", f"indextrust {self.title} {error}".lower())
        return ".".join(words)[:_LABEL_LENGTH].rstrip(".")

    def body(self) -> bytes:
        """The problem document, UTF-8 JSON."""
        document = {
            "type": f"urn:indextrust:problem:{self.error}",
            "title": f"indextrust: {self.title}",
            "status": self.status,
            "detail": self.detail,
        }
        return json.dumps(document).encode("utf-8")


def problem_of(error: Exception) -> Problem:
    """The answer for what a client raised."""
    status, title = 409, "could not verify"
    if isinstance(error, NotListedError):
        status, title = 404, "not listed"
    elif isinstance(error, AlarmError):
        title = "ALARM, refused"
    elif isinstance(error, RefusedError):
        title = "refused"
    elif isinstance(error, UnreachableError):
        status, title = 504, "could not reach the index"
    elif not isinstance(error, IndextrustError):
        title = "could not verify, by a bug in indextrust"
    return Problem(status, type(error).__name__, title, str(error) or type(error).__name__)


def not_listed(what: str, snapshot_version: int) -> Problem:
    """The answer for what the trusted metadata of a snapshot does not list."""
    return problem_of(
        NotListedError(
            f"{what} is not listed in snapshot {snapshot_version}; it may be awaiting publication"
        )
    )
