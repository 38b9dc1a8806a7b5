"""Incident records in a run: said in its summary, and refused like every alarm."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urljoin

import pytest

from indextrust.proxy.server import VerifyingProxy
from tests.client.pages import WHL, put
from tests.client.stage import Stage
from tests.client.test_incidents import announce, record
from tests.client.test_index import EVIL, GOOD, User


def test_the_summary_of_a_run_tells_of_the_incident(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    put(stage, {WHL: EVIL})
    user, fresh = User(stage, "user"), User(stage, "fresh")
    user.project()
    announce(stage, record("stolen-key", [EVIL], GOOD))
    with VerifyingProxy(user.client()) as proxy:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urljoin(proxy.index_url, f"../files/demo/{WHL}"))  # noqa: S310
        urllib.request.urlopen(f"{proxy.index_url}demo/").close()  # noqa: S310
        summary = proxy.report.summary()
    assert refused.value.code == 409
    assert summary.refused
    assert "stolen-key calls it bad" in summary.alarms[0]
    assert "incident stolen-key" in summary.notices[0]
    put(stage, {WHL: GOOD})
    for one, told in ((user, 2), (user, 0), (fresh, 0)):
        with VerifyingProxy(one.client()) as proxy:
            urllib.request.urlopen(f"{proxy.index_url}demo/").close()  # noqa: S310
            summary = proxy.report.summary()
        assert not summary.refused
        assert len(summary.notices) == told  # that it was seen, and what took its place
    stage.server.close()
