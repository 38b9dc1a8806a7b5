"""An attacker who works on raw JSON, and signs with the keys that he holds.

He starts from what was served at some moment. What he changes in a role he signs if he holds its
keys, and carries on upwards (snapshot, timestamp) as far as his keys reach.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

from securesystemslib.formats import encode_canonical
from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata

from tests.trust.differential.histories import Files

__all__ = ["ENVELOPE", "SIGNED", "Forger", "Tree", "role_of", "version_in_name"]

L = 2**252 + 27742317777372353535851937790883648493
Tree = dict[str, Any]


class Forger:
    """A copy of what is served, to be changed.

    Args:
        files: what is served; it is copied.
        signers: who signs each role.
        held: the roles whose keys the attacker holds.
        algorithm: with what he hashes a file that he lists.
        records: whether he records hashes where the repository doesn't.
    """

    def __init__(
        self,
        files: Files,
        signers: Mapping[str, Sequence[Signer]],
        held: Iterable[str],
        *,
        algorithm: str = "sha256",
        records: bool = False,
    ) -> None:
        self.files = dict(files)
        self._algorithm = algorithm
        self._records = records
        self._signers = {role: list(signers[role]) for role in held if role in signers}

    def name(self, role: str) -> str:
        """The file name of the newest version of `role`."""
        names = [name for name in self.files if role_of(name) == role]
        return max(names, key=version_in_name)

    def forge(
        self, role: str, change: Callable[[Tree], object], *, as_understood: bool = False
    ) -> None:
        """Change what is signed of a role, sign it, and list it upwards.

        Args:
            role: whose newest file to change.
            change: called with the tree under ``signed``.
            as_understood: sign the form that python-tuf makes of the file, not the file's own.
        """
        old = self.name(role)
        tree = json.loads(self.files[old])
        change(tree["signed"])
        version = tree["signed"].get("version")
        proper = type(version) is int
        name = old
        if proper and old[0].isdigit():
            name = f"{version}.{quote(role, safe='')}.json"
        self._sign(role, tree, as_understood=as_understood)
        self._write(role, name, json.dumps(tree).encode())
        if role not in ("root", "timestamp"):
            self._list(role, version if proper else version_in_name(old), self.files[name])

    def rewrite_signatures(self, role: str, change: Callable[[list[Tree]], list[Tree]]) -> None:
        """Change the signatures of a role's newest file, and nothing else."""
        name = self.name(role)
        tree = json.loads(self.files[name])
        tree["signatures"] = change(tree["signatures"])
        self._write(role, name, json.dumps(tree).encode())

    def _list(self, role: str, version: int, data: bytes) -> None:
        above = "timestamp" if role == "snapshot" else "snapshot"
        if above not in self._signers:
            return

        def change(signed: Tree) -> None:
            entry = signed["meta"].setdefault(f"{role}.json", {})
            entry["version"] = version
            if self._records or "hashes" in entry:
                entry["length"] = len(data)
                digest = hashlib.new(self._algorithm, data).hexdigest()
                entry["hashes"] = {self._algorithm: digest}
            signed["version"] += 1

        self.forge(above, change)

    def _sign(self, role: str, tree: Tree, *, as_understood: bool) -> None:
        if role not in self._signers:
            return
        try:
            payload = (
                Metadata.from_dict(json.loads(json.dumps(tree))).signed_bytes
                if as_understood
                else (encode_canonical(tree["signed"]) or "").encode()
            )
        except Exception:  # what has no canonical form can't be signed
            return
        tree["signatures"] = [signer.sign(payload).to_dict() for signer in self._signers[role]]

    def _write(self, role: str, name: str, data: bytes) -> None:
        self.files[name] = data
        if role not in ("root", "timestamp"):
            self.files[f"{quote(role, safe='')}.json"] = data


def role_of(name: str) -> str:
    """The role whose file has this name, with or without a version in front."""
    head, _, rest = name.removesuffix(".json").partition(".")
    return unquote(rest if head.isdigit() and rest else name.removesuffix(".json"))


def version_in_name(name: str) -> int:
    """The version in front of a file name, or 0."""
    head = name.partition(".")[0]
    return int(head) if head.isdigit() else 0


# -- changes to what is signed: they need the role's keys to be worth anything -------------------


def _set(**fields: Any) -> Callable[[Tree, int], None]:
    def change(signed: Tree, n: int) -> None:
        signed.update(fields)

    return change


def _version(value: Callable[[int], Any]) -> Callable[[Tree, int], None]:
    def change(signed: Tree, n: int) -> None:
        signed["version"] = value(signed["version"])

    return change


def _entry(change: Callable[[Tree], object]) -> Callable[[Tree, int], None]:
    """Change the n-th entry of ``meta``."""

    def change_one(signed: Tree, n: int) -> None:
        meta = signed.get("meta")
        if meta:
            change(meta[sorted(meta)[n % len(meta)]])

    return change_one


def _drop_entry(signed: Tree, n: int) -> None:
    meta = signed.get("meta") or signed.get("targets")
    if meta:
        del meta[sorted(meta)[n % len(meta)]]


def _add(entry: Tree, field: str, amount: int) -> None:
    entry[field] = entry.get(field, 0) + amount


def _odd_date(signed: Tree, n: int) -> None:
    # the same day and hour, written otherwise: what python-tuf understands is unchanged
    signed["expires"] = signed["expires"].replace("-0", "-").replace(":00", ":0")


def _short_hash(name: str) -> Callable[[Tree], object]:
    return lambda entry: entry.update(hashes={name: "0" * 32})


def _delegation(change: Callable[[Tree], object]) -> Callable[[Tree, int], None]:
    """Change the n-th role that is delegated to, or the bins."""

    def change_one(signed: Tree, n: int) -> None:
        delegations = signed.get("delegations") or {}
        roles = delegations.get("roles") or (
            [delegations["succinct_roles"]] if "succinct_roles" in delegations else []
        )
        top = signed.get("roles")
        if top:
            change(top[sorted(top)[n % len(top)]])
        elif roles:
            change(roles[n % len(roles)])

    return change_one


def _no_targets(signed: Tree, n: int) -> None:
    if "targets" in signed:
        signed["targets"] = {}


def _nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


SIGNED: dict[str, Callable[[Tree, int], None]] = {
    "next version": _version(lambda v: v + 1),
    "same version, other bytes": _set(**{"x-twin": 1}),
    "older version": _version(lambda v: max(1, v - 1)),
    "fast-forward": _version(lambda v: 2**31),
    "version true": _version(lambda v: v == 1 or v),
    "version as text": _version(str),
    "version 0": _version(lambda v: 0),
    "version far too long": _version(lambda v: 10**18),
    "expired": _set(expires="2025-12-31T23:59:59Z"),
    "odd date": _odd_date,
    "date with an offset": _set(expires="2030-01-01T00:00:00+00:00"),
    "unknown field": _set(**{"x-unknown": {"a": [1, None, "ü"]}}),
    "unknown field, deep": _set(**{"x-deep": _nested(40)}),
    "unknown field, a long integer": _set(**{"x-long": 10**18}),
    "wrong type": _set(_type="mirrors"),
    "other format": _set(spec_version="2.0"),
    "format in other digits": _set(spec_version="1.\u0663.1"),
    "entry dropped": _drop_entry,
    "entry one version back": _entry(lambda e: _add(e, "version", -1)),
    "entry one version on": _entry(lambda e: _add(e, "version", 1)),
    "entry far ahead": _entry(lambda e: e.update(version=2**31)),
    "entry version true": _entry(lambda e: e.update(version=e["version"] == 1 or e["version"])),
    "entry with another hash": _entry(lambda e: e.update(hashes={"sha256": "0" * 64})),
    "entry with md5 alone": _entry(_short_hash("md5")),
    "entry with an unknown hash": _entry(_short_hash("rot13")),
    "entry without hashes": _entry(lambda e: (e.pop("hashes", 0), e.pop("length", 0))),
    "entry one byte longer": _entry(lambda e: _add(e, "length", 1)),
    "entry of 33 MB": _entry(lambda e: e.update(length=33_000_000)),
    "threshold 0": _delegation(lambda r: r.update(threshold=0)),
    "threshold true": _delegation(lambda r: r.update(threshold=r["threshold"] == 1)),
    "terminating 1": _delegation(lambda r: r.update(terminating=1)),
    "threshold 2": _delegation(lambda r: r.update(threshold=2)),
    "no keys": _delegation(lambda r: r.update(keyids=[])),
    "a key id twice": _delegation(lambda r: r.update(keyids=r["keyids"] * 2)),
    "long role name": _delegation(lambda r: r.update(name="x" * 201)),
    "no delegations": lambda signed, n: signed.pop("delegations", None),
    "no targets": _no_targets,
}
"""By name: how the tree under ``signed`` is changed; the number chooses among entries."""


# -- changes to the envelope: nobody's key is needed ----------------------------------------------


def _body(change: Callable[[bytes], bytes]) -> Callable[[bytes, int], bytes]:
    return lambda data, n: change(data)


def _field(text: str) -> Callable[[bytes, int], bytes]:
    """Put a field in front of the others, outside what is signed."""
    return lambda data, n: b"{" + text.encode() + b"," + data.lstrip()[1:]


def _signatures(change: Callable[[list[Tree]], list[Tree]]) -> Callable[[bytes, int], bytes]:
    def changed(data: bytes, n: int) -> bytes:
        tree = json.loads(data)
        tree["signatures"] = change(tree["signatures"])
        return json.dumps(tree).encode()

    return changed


def _each(change: Callable[[str], str]) -> Callable[[bytes, int], bytes]:
    return _signatures(lambda sigs: [{**entry, "sig": change(entry["sig"])} for entry in sigs])


def _plus_l(signature: str) -> str:
    r, s = signature[:64], int.from_bytes(bytes.fromhex(signature[64:]), "little")
    return r + ((s + L) % 2**256).to_bytes(32, "little").hex()


def _flip(data: bytes, n: int) -> bytes:
    changed = bytearray(data)
    changed[n % len(changed)] ^= 1 << (n % 8)
    return bytes(changed)


def _duplicate(data: bytes, n: int) -> bytes:
    """Every version stands twice, first a false one: a careless reader takes the last."""
    return data.replace(b'"version":', b'"version":999,"version":')


ENVELOPE: dict[str, Callable[[bytes, int], bytes]] = {
    "one bit": _flip,
    "truncated": lambda data, n: data[: n % len(data)],
    "not JSON": lambda data, n: bytes([n % 256]) * 40,
    "not an object": lambda data, n: b"[1]",
    "no signatures": _signatures(lambda sigs: []),
    "one signature": _signatures(lambda sigs: sigs[:1]),
    "signatures in another order": _signatures(lambda sigs: sigs[::-1]),
    "a signature twice": _signatures(lambda sigs: sigs + sigs[:1]),
    "300 strangers' signatures": _signatures(
        lambda sigs: sigs + [{"keyid": f"{n:x}", "sig": ""} for n in range(300)]
    ),
    "a stranger's signature": _signatures(lambda sigs: [{"keyid": "ab", "sig": "00"}, *sigs]),
    "signatures in capitals": _each(str.upper),
    "signatures with blanks": _each(lambda sig: f"{sig[:2]} {sig[2:]}"),
    "signatures that are not hex": _each(lambda sig: "zz" + sig[2:]),
    "signatures with S + L": _each(_plus_l),
    "unknown field": _field('"x":{"y":[1,true,null]}'),
    "duplicate keys": _duplicate,
    "a float": _field('"x":1.5'),
    "NaN": _field('"x":NaN'),
    "minus zero": _field('"x":-0'),
    "a lone surrogate": _field('"x":"\\ud800"'),
    "a long integer": _field(f'"x":{10**18}'),
    "50 levels": _field('"x":' + "[" * 50 + "]" * 50),
    "5,000 levels": _field('"x":' + "[" * 5000 + "]" * 5000),
    "byte-order mark": _body(lambda data: b"\xef\xbb\xbf" + data),
    "UTF-16": _body(lambda data: data.decode().encode("utf-16")),
    "something after it": _body(lambda data: data + b"{}"),
    "blanks around it": _body(lambda data: b"\n " + data + b"\r\n"),
    "written for people": _body(lambda data: json.dumps(json.loads(data), indent=2).encode()),
    "20,000 bytes more": _body(lambda data: data + b" " * 20_000),
}
"""By name: how a whole file is changed; the number chooses where."""
