"""Changing what is signed, before a stolen key signs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from securesystemslib.formats import encode_canonical

from tests.attacks.story import Rewrite

__all__ = ["edited"]


def edited(change: Callable[[Any], object]) -> Rewrite:
    """Rewrites the bytes under ``signed`` as a tree, which `change` changes in place."""

    def rewrite(signed: bytes) -> bytes:
        tree = json.loads(signed)
        change(tree)
        text = encode_canonical(tree)
        assert text is not None
        return text.encode()

    return rewrite
