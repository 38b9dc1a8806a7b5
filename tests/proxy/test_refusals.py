"""How "no" is said: the status, the reason phrase, the problem document."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from indextrust.errors import (
    BudgetExceededError,
    ChangedArtifactError,
    HashMismatchError,
    NotListedError,
    RemovedArtifactError,
    StoreError,
    UnreachableError,
    UnsupportedKeyError,
)
from indextrust.proxy.refusals import Problem, not_listed, problem_of

CHANGED = ChangedArtifactError("a-1.0.tar.gz", remembered="a", offered="b", first_seen="then")


@pytest.mark.parametrize(
    ("error", "status", "title"),
    [
        (HashMismatchError("wrong sha256", expected="a", got="b"), 409, "refused"),
        (CHANGED, 409, "ALARM, refused"),
        (RemovedArtifactError("gone"), 409, "ALARM, refused"),
        (UnreachableError("no connection"), 504, "could not reach the index"),
        (BudgetExceededError("too slow"), 504, "could not reach the index"),
        (NotListedError("no such file"), 404, "not listed"),
        (UnsupportedKeyError("no library"), 409, "could not verify"),
        (StoreError("disk full"), 409, "could not verify"),
        (ZeroDivisionError(), 409, "could not verify, by a bug in indextrust"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_an_attack_a_dead_network_and_a_missing_file_never_sound_alike(
    error: Exception, status: int, title: str
) -> None:
    problem = problem_of(error)
    assert (problem.status, problem.title) == (status, title)
    assert problem.error == type(error).__name__
    document = json.loads(problem.body())
    assert document["status"] == status
    assert document["title"] == f"indextrust: {title}"
    assert document["detail"] == (str(error) or "ZeroDivisionError")


def test_what_is_not_listed_may_be_awaiting_publication() -> None:
    problem = not_listed("project 'demo'", 7)
    assert problem.status == 404
    assert problem.detail == (
        "project 'demo' is not listed in snapshot 7; it may be awaiting publication"
    )


def test_the_reason_phrase_carries_the_message() -> None:
    problem = problem_of(HashMismatchError("wrong sha256", where="a.whl", expected="x", got="y"))
    assert problem.reason == "indextrust: refused: a.whl: wrong sha256; expected x; got y"
    assert problem.label == "indextrust.refused.hash.mismatch"


@given(st.text(), st.text(), st.text())
def test_whatever_the_message_the_reason_is_one_line_of_printable_ascii(
    title: str, detail: str, error: str
) -> None:
    problem = Problem(409, error, title, detail)
    assert problem.reason.isascii()
    assert problem.reason.isprintable()
    assert len(problem.reason) <= 400
    assert Version(f"0+{problem.label}").local
