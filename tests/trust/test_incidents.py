"""What records say against what is offered: the table of specs/recovery.md, for any records."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from indextrust.incidents import Fingerprint, Incident, IncidentFile
from indextrust.names import NormalizedName
from indextrust.trust import (
    Acknowledged,
    Changed,
    FirstSeen,
    Incidents,
    KnownBad,
    Remembered,
    Unchanged,
)

WHEEL, RESPELLED = "demo-1.0-py3-none-any.whl", "Demo-1.0.0-py3-none-any.whl"
OTHER = "demo-2.0-py3-none-any.whl"
DEMO = NormalizedName("demo")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
DIGESTS = [letter * 64 for letter in "abcd"]


@st.composite
def _file(draw: st.DrawFn) -> IncidentFile:
    bad = draw(st.sets(st.sampled_from(DIGESTS), min_size=1, max_size=3))
    rest = [None, *(digest for digest in DIGESTS if digest not in bad)]
    good = draw(st.sampled_from(rest))
    name = draw(st.sampled_from([WHEEL, RESPELLED, OTHER, f"{WHEEL}.metadata"]))
    return IncidentFile(
        DEMO,
        name,
        tuple(map(Fingerprint, sorted(bad))),
        None if good is None else Fingerprint(good),
    )


@given(st.lists(_file(), max_size=4))
def test_every_pair_of_digests_has_the_verdict_of_the_table(files: list[IncidentFile]) -> None:
    records = [Incident(f"r{n}", NOW, "x", (file,)) for n, file in enumerate(files)]
    mine = [file for file in files if file.filename in (WHEEL, RESPELLED)]
    bad = {one.sha256 for file in mine for one in file.bad}
    good = {file.good.sha256 for file in mine if file.good is not None} - bad
    for order in (records, records[::-1]):
        incidents = Incidents(order)
        for before, offered in product([None, *DIGESTS], DIGESTS):
            remembered = before and Remembered("demo", WHEEL, before, NOW, 1)
            verdict = type(incidents.judge("demo", RESPELLED, remembered or None, offered))
            if offered in bad:
                assert verdict is KnownBad
            elif before is None:
                assert verdict is FirstSeen
            elif before == offered:
                assert verdict is Unchanged
            elif before in bad and offered in good:
                assert verdict is Acknowledged
            else:
                assert verdict is Changed
            if remembered:
                withdrawn = incidents.withdrawn(remembered) is not None
                assert withdrawn == (before in bad and not good)


def test_another_project_and_no_record_are_as_ever() -> None:
    file = IncidentFile(DEMO, WHEEL, (Fingerprint(DIGESTS[0]),), None)
    incidents = Incidents([Incident("r", NOW, "x", (file,))])
    assert incidents.projects == ("demo",)
    assert incidents.bad("other", WHEEL, DIGESTS[0]) is None
    assert isinstance(Incidents().judge("demo", WHEEL, None, DIGESTS[0]), FirstSeen)
