"""A document is refused whenever a client would refuse it, though most of it is not read again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indextrust.distribution import DistributionFile
from indextrust.errors import RefusedError, RepositoryError
from indextrust.names import NormalizedName
from indextrust.repository.changes import Add, Remove, Yank
from indextrust.repository.documents import document_bytes
from indextrust.repository.plan import describe, plan_project
from indextrust.repository.readable import check_readable
from indextrust.trust.document import parse_document

DEMO = NormalizedName("demo")
TIME = "2026-01-31T12:00:00Z"


def sdist(version: str, project: str = "demo", **more: Any) -> DistributionFile:
    name = f"{project}-{version}.tar.gz"
    return replace(DistributionFile(DEMO, name, version, 1, "0" * 64, TIME), **more)


OLD = [sdist("1.0"), sdist("2.0", yanked="broken"), sdist("3.0")]
NEW = [
    sdist("4.0"),
    sdist("1.0", "Demo"),  # a twin but for its case
    sdist("4.0", "Demo"),
    sdist("4.0", "other"),
    sdist("5.0", requires_python="==1e\u0301"),  # not NFC
    sdist("5.0", requires_python=">=3.9"),
]
CHANGES: list[Add | Remove | Yank] = [
    *map(Add, NEW),
    Remove(DEMO, "demo-1.0.tar.gz"),
    Yank(DEMO, "demo-2.0.tar.gz", None),
    Yank(DEMO, "demo-3.0.tar.gz", "two\nlines"),
]


@given(st.lists(st.sampled_from(CHANGES), unique_by=lambda change: change.filename))
def test_the_verdict_is_that_of_a_client_who_reads_it_all(
    changes: list[Add | Remove | Yank],
) -> None:
    before = {file.filename: file for file in OLD}
    plan = plan_project(DEMO, before, changes, describe(document_bytes(DEMO, OLD)))
    try:
        parse_document(DEMO, plan.document)
    except RefusedError:
        for known in (before, {}):
            with pytest.raises(RepositoryError, match="a client would refuse it"):
                check_readable(plan, known)
    else:
        check_readable(plan, before)
        check_readable(plan, {})
