"""The incident record: one byte form, strictly read; and the installed form of a wheel."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indextrust.canonical import canonical
from indextrust.errors import InputError, LengthError, MalformedError, ProfileError, RefusedError
from indextrust.incidents import (
    MAX_LENGTH,
    Fingerprint,
    Incident,
    IncidentFile,
    incident_path,
    parse,
)
from indextrust.installed import counted_path, describe_wheel
from indextrust.names import NormalizedName

A, B, C = (letter * 64 for letter in "abc")
WHEEL = "demo-1.0-py3-none-any.whl"
DEMO = NormalizedName("demo")
RECORD = Incident(
    "2026-11-online-key",
    datetime(2026, 11, 23, 8, tzinfo=UTC),
    "The online key was stolen. Reinstall what `indextrust scan` names.",
    (
        IncidentFile(DEMO, WHEEL, (Fingerprint(A, C), Fingerprint(B)), Fingerprint(C, A)),
        IncidentFile(DEMO, WHEEL + ".metadata", (Fingerprint(B),), None),
        IncidentFile(NormalizedName("extra"), "extra-1.tar.gz", (Fingerprint(A),), None),
    ),
)

_digest = st.text("0123456789abcdef", min_size=64, max_size=64)
_fingerprint = st.builds(Fingerprint, _digest, st.none() | _digest)


@st.composite
def _file(draw: st.DrawFn) -> IncidentFile:
    project = draw(st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True))
    ending = draw(st.sampled_from(["-1.0-py3-none-any.whl", "-2.tar.gz", "-2.tar.gz.metadata"]))
    several = draw(st.lists(_fingerprint, min_size=2, max_size=4, unique_by=lambda f: f.sha256))
    good, *bad = several
    return IncidentFile(
        NormalizedName(project),
        project + ending,
        tuple(sorted(bad, key=lambda f: f.sha256)),
        draw(st.sampled_from([good, None])),
    )


_incident = st.builds(
    Incident,
    st.from_regex(r"[a-z0-9]+(-[a-z0-9]+)?", fullmatch=True).filter(lambda text: len(text) < 65),
    st.datetimes(min_value=datetime(1000, 1, 1)).map(  # noqa: DTZ001 - hypothesis wants it so
        lambda when: when.replace(microsecond=0, tzinfo=UTC)
    ),
    st.text('aé"\\{}:, 😀', min_size=1, max_size=30),
    st.lists(_file(), min_size=1, max_size=5, unique_by=lambda f: f.filename).map(
        lambda files: tuple(sorted(files, key=lambda f: (f.project, f.filename)))
    ),
)


@given(_incident)
def test_a_record_is_read_as_it_was_written(incident: Incident) -> None:
    assert parse(incident.encode(), path=incident.path) == incident


@given(st.data())
def test_a_record_with_any_byte_changed_is_another_or_none(data: st.DataObject) -> None:
    encoded = bytearray(RECORD.encode())
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    try:
        other = parse(bytes(encoded), path=RECORD.path)
    except RefusedError:
        return
    assert other != RECORD


def test_bytes_that_are_no_record_are_refused_with_the_place() -> None:
    def changed(**fields: Any) -> bytes:
        return canonical(json.loads(RECORD.encode()) | fields)

    first = json.loads(RECORD.encode())["files"][0]
    cases: list[tuple[bytes, type[RefusedError], str]] = [
        (b"", MalformedError, "not JSON"),
        (b"\xff", MalformedError, "not JSON"),
        (b"[" * 100_000, MalformedError, "not JSON"),
        (b"," * 400_001, MalformedError, "too many values"),
        (b" " * (MAX_LENGTH + 1), LengthError, "too long"),
        (b"[]", MalformedError, "format"),
        (changed(format=2), MalformedError, "upgrade"),
        (changed(format=True), MalformedError, "format"),
        (RECORD.encode() + b"\n", MalformedError, "canonical"),
        (RECORD.encode().replace(b'"format":1', b'"format":1,"format":1'), MalformedError, "canon"),
        (changed(more=1), MalformedError, "unknown"),
        (changed(id="other"), ProfileError, "under another path"),
        (changed(id="../x"), ProfileError, "lower-case"),
        (changed(date="2026-13-01T00:00:00Z"), MalformedError, "date"),
        (changed(date="2026-1-01T00:00:00Z"), MalformedError, "canonical"),
        (changed(summary="a\x1b[2J"), MalformedError, "not JSON"),
        (changed(summary="a\u202eb"), ProfileError, "printable"),
        (changed(summary=""), ProfileError, "summary"),
        (changed(files=[]), ProfileError, "1 to"),
        (changed(files=[3]), MalformedError, r"files\[0\]: bad"),
        (changed(files=[first, first]), ProfileError, "each once"),
        (changed(files=[first | {"bad": []}]), ProfileError, "bad digests"),
        (changed(files=[first | {"bad": first["bad"][::-1]}]), ProfileError, "sorted"),
        (changed(files=[first | {"good": first["bad"][0]}]), ProfileError, "both bad and good"),
        (changed(files=[first | {"good": {"sha256": "x"}}]), ProfileError, r"files\[0\]: good"),
        (changed(files=[first | {"project": "extra"}]), ProfileError, "a file of extra"),
        (changed(files=[first | {"filename": "../demo-1.whl"}]), ProfileError, "file name"),
        (changed(files=[{k: v for k, v in first.items() if k != "good"}]), MalformedError, "canon"),
    ]
    for data, kind, words in cases:
        with pytest.raises(kind, match=words) as refused:
            parse(data, path=RECORD.path)
        assert refused.value.where.startswith(RECORD.path)


def test_what_is_no_record_can_not_be_made() -> None:
    for wrong in (
        {"id": "A"}, {"id": "a" * 65}, {"id": "a--b"}, {"id": ""}, {"summary": "x" * 2_001},
        {"date": datetime(2026, 1, 1)},  # noqa: DTZ001 - that is what is wrong with it
        {"date": datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC)},
        {"date": datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1)))},
        {"files": RECORD.files[::-1]},
    ):  # fmt: skip
        with pytest.raises(InputError):
            replace(RECORD, **wrong)
    with pytest.raises(InputError):
        incident_path("../../root")


# -- the installed form ------------------------------------------------------------------------


def _wheel(files: dict[str, bytes], **options: Any) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **options) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


FILES = {
    "demo/__init__.py": b"x = 1\n",
    "demo-1.0.data/scripts/demo": b"#!python\n",
    "demo-1.0.data/purelib/more.py": b"y = 2\n",
    "demo-1.0.dist-info/METADATA": b"Name: demo\n",
    "demo-1.0.dist-info/RECORD": b"demo/__init__.py,,\ndemo-1.0.data/purelib/more.py,,\n"
    b"demo-1.0.dist-info/METADATA,,\n",
}
LISTED = FILES["demo-1.0.dist-info/RECORD"]


def test_the_form_is_made_of_the_bytes_that_stay() -> None:
    """A RECORD that lies, a script, and the way the archive is packed make no difference; any
    other byte does."""
    form = describe_wheel(_wheel(FILES)).installed
    for same in (
        {"demo-1.0.dist-info/RECORD": LISTED.replace(b".py,,", b".py,sha256=x,3")},
        {"demo-1.0.data/scripts/demo": b"#!/usr/bin/evil\n"},
        {"demo/__pycache__/x.cpython-313.pyc": b"code"},
        {"demo-1.0.dist-info/INSTALLER": b"me"},
        {"demo/unnamed.py": b"a file that RECORD doesn't name"},
    ):
        assert describe_wheel(_wheel(FILES | same)).installed == form
    assert describe_wheel(_wheel(FILES, compression=zipfile.ZIP_DEFLATED)).installed == form
    for other in (
        {"demo/__init__.py": b"x = 2\n"},
        {"demo-1.0.data/purelib/more.py": b"y = 3\n"},
        {"demo/more.pyc": b"code without source"},
        {"other-1.0.dist-info/x/RECORD": b""},
    ):
        record = LISTED + b"".join(b"%s,,\n" % name.encode() for name in other)
        described = describe_wheel(_wheel(FILES | {"demo-1.0.dist-info/RECORD": record} | other))
        assert described.installed not in (form, None)
        assert described.sha256 != describe_wheel(_wheel(FILES)).sha256


def test_the_form_is_the_one_of_the_specification() -> None:
    """Worked out by hand from specs/recovery.md, in the order of the paths."""
    counted = {
        "demo-1.0.dist-info/METADATA": b"Name: demo\n",
        "demo/__init__.py": b"x = 1\n",
        "more.py": b"y = 2\n",
    }
    text = "indextrust installed form 1\n" + "".join(
        f"{len(path)}:{path} {hashlib.sha256(data).hexdigest()}\n" for path, data in counted.items()
    )
    described = describe_wheel(_wheel(FILES))
    assert described.installed == hashlib.sha256(text.encode()).hexdigest()
    assert described.sha256 == hashlib.sha256(_wheel(FILES)).hexdigest()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_two_members_for_one_path_the_one_that_stays_counts() -> None:
    """Installers unpack in this order; a wheel so made must not be without a form."""
    form = describe_wheel(_wheel(FILES)).installed
    twice = io.BytesIO()
    with zipfile.ZipFile(twice, "w") as archive:
        archive.writestr("demo/__init__.py", b"x = 2\n")
        for name, data in FILES.items():
            archive.writestr(name, data)
    assert describe_wheel(twice.getvalue()).installed == form
    assert describe_wheel(_wheel(FILES | {"more.py": b"y = 3\n"})).installed == form
    moved = {name: data for name, data in FILES.items() if name != "demo/__init__.py"}
    for name in ("demo//__init__.py", "./demo/__init__.py", "demo/x/../__init__.py"):
        assert describe_wheel(_wheel(moved | {name: b"x = 1\n"})).installed == form


def test_what_is_no_wheel_has_no_form() -> None:
    good = _wheel(FILES)
    cut = good[: len(good) // 2]
    damaged = good.replace(b"x = 1\n", b"x = 3\n")  # its CRC tells
    for data in (
        b"", b"PK", cut, damaged, _wheel({}), b"PK\x05\x06" + b"\xff" * 18,
        _wheel(FILES, compression=zipfile.ZIP_BZIP2),
        _wheel({"demo-1.0.dist-info/RECORD": b""}),
        _wheel(FILES | {"other-1.0.dist-info/RECORD": b""}),
        _wheel({name: data for name, data in FILES.items() if not name.endswith("RECORD")}),
        _wheel(FILES | {"demo-1.0.dist-info/RECORD": b"x" * 200_000}),
        _wheel(FILES | {"demo-1.0.dist-info/RECORD": b"x,,\n" * 100_001}),
    ):  # fmt: skip
        assert describe_wheel(data).installed is None


@pytest.mark.parametrize(
    ("path", "counted"),
    [
        ("demo/__init__.py", "demo/__init__.py"),
        ("demo-1.data/platlib/demo/x.so", "demo/x.so"),
        ("demo-1.data/headers/x.h", None),
        ("demo-1.data/purelib/../x", None),
        ("demo-1.data/purelib/./x//y", "x/y"),
        ("demo/", None),
        ("../../../bin/demo", None),
        ("/etc/passwd", None),
        ("demo-1.dist-info/licenses/RECORD", "demo-1.dist-info/licenses/RECORD"),
        ("", None),
    ],
)
def test_which_paths_count(path: str, counted: str | None) -> None:
    assert counted_path(path) == counted
