"""Acts 1 to 3: an index is founded, filled and used."""

from __future__ import annotations

import json
import shutil
from typing import Any

from indextrust.cli.demo import market
from indextrust.cli.demo.stage import KEYHOLDERS, LAST_WEEK, THRESHOLD, Stage
from indextrust.cli.genesis import ONLINE, fingerprint
from indextrust.names import CLASSIC_BINS_LIMIT, BinScheme

__all__ = ["genesis_ceremony", "installation", "publication"]


def genesis_ceremony(stage: Stage) -> tuple[str, bool]:
    """Act 1. The clocks of the ceremony and of this first publication stand at last week."""
    from indextrust.ceremony import genesis
    from indextrust.repository import Repository

    then = stage.now - LAST_WEEK
    keyholders = [stage.new_key(name) for name in KEYHOLDERS]
    online = stage.new_key(ONLINE)
    roles = genesis(
        keyholders,
        THRESHOLD,
        online.public_key,
        bins=BinScheme.of(CLASSIC_BINS_LIMIT),
        now=then,
    )
    Repository.create(stage.repository, roles, online=online, clock=lambda: then)
    shutil.copytree(stage.public / "metadata", stage.last_week)
    signed: dict[str, Any] = json.loads(roles.root[0])
    signatures, rule = len(signed["signatures"]), signed["signed"]["roles"]["root"]
    observed = (
        f"root v1 signed by {', '.join(KEYHOLDERS)}, threshold {rule['threshold']}, "
        f"sha256 {fingerprint(roles.root[0])[:16]}…; targets and bins by keys used once"
    )
    ok = signatures == len(KEYHOLDERS) == len(rule["keyids"]) and rule["threshold"] == THRESHOLD
    return observed, ok


def publication(stage: Stage) -> tuple[str, bool]:
    """Act 2."""
    from indextrust.repository import Repository

    files = market.fetch(stage.tools.python, stage.folder / "market")
    repository = Repository.open(stage.repository, online=stage.signer(ONLINE))
    repository.add(*files)
    published = repository.publish()
    stage.remember_good(repository)
    sdists = [file.name for file in files if not file.name.endswith(".whl")]
    with stage.good() as good:
        targets = dict(good.entries())
    observed = (
        f"{len(files)} distributions ({', '.join(sdists)} an sdist), {len(targets)} targets, "
        f"snapshot {published.snapshot_version}; served at {stage.cdn.url}"
    )
    names = {file.name.split("-")[0].lower() for file in files}
    needed = {"flask", "werkzeug", "jinja2", "markupsafe", "itsdangerous", "click", "blinker"}
    return observed, len(files) >= 10 and len(sdists) == 1 and needed <= names


def installation(stage: Stage) -> tuple[str, bool]:
    """Act 3: by somebody who will come back in the sixth act."""
    client = stage.person("returning")
    by_pip = client.pip_install("flask", stage.tools)
    through_uv = stage.environment("uv")
    by_uv = client.uv_install("flask", through_uv)
    ways = (("pip", by_pip, stage.tools), ("uv", by_uv, through_uv))
    observed = "\n".join(
        f"{tool}: exit code {run.code}, {len(run.summary.get('files', ()))} files verified, "
        f"flask {environment.origin('flask') if run.code == 0 else 'not installed'}"
        for tool, run, environment in ways
    )
    ok = all(
        run.code == 0 and len(run.summary["files"]) == 7 and environment.origin("flask") == "honest"
        for _, run, environment in ways
    )
    return observed, ok
