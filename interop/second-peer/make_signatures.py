"""Makes interop/vectors/signature_rules.json: signatures of which each tells one rule of PROTOCOL.md section 4.2 from a lax verifier.

In `signature.json` a key of small order comes with an R of small order, and an R of small order with an equation that
does not hold: whoever forgets one of these rules takes none of them. Plain arithmetic, slow, and not for secrets.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from typing import Any

from crypto import ENVELOPE, FIELD, Y_OF_ORDER_8
from schema import find

Point = tuple[int, int]
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, FIELD) % FIELD
NOTHING: Point = (0, 1)
SIGNED = b"signed bytes"


def add(a: Point, b: Point) -> Point:
    """Addition on the curve."""
    k = D * a[0] * b[0] * a[1] * b[1] % FIELD
    x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + k, -1, FIELD)
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - k, -1, FIELD)
    return x % FIELD, y % FIELD


def times(n: int, point: Point) -> Point:
    """`n` times a point."""
    total = NOTHING
    while n:
        if n & 1:
            total = add(total, point)
        point, n = add(point, point), n >> 1
    return total


def with_y(y: int) -> Point:
    """The point with that y and an even x."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, FIELD) % FIELD
    x = pow(square, (FIELD + 3) // 8, FIELD)
    if (x * x - square) % FIELD:
        x = x * pow(2, (FIELD - 1) // 4, FIELD) % FIELD
    return (x if x % 2 == 0 else FIELD - x), y


def encode(point: Point) -> bytes:
    """32 bytes."""
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def number(seed: bytes) -> int:
    """A number below the group order."""
    return int.from_bytes(hashlib.sha512(seed).digest(), "little") % ORDER


BASE, TORSION = with_y(4 * pow(5, -1, FIELD) % FIELD), with_y(Y_OF_ORDER_8)
SECRET = number(b"a key that is published")
KEY = times(SECRET, BASE)


def made(comment: str, expect: bool, key: Point, secret: int, nonces: Any, torsion: Any = (0,)) -> dict[str, Any]:
    """The first signature R, S = r + h * secret for which the equation holds, or the first for which it holds only with
    cofactor, if that is what `comment` says."""
    cofactor = "only with cofactor" in comment
    for nonce, more in itertools.product(nonces, torsion):
        point = add(times(nonce, BASE), times(more, TORSION))
        h = number(encode(point) + encode(key) + ENVELOPE + SIGNED)
        s = (nonce + h * secret) % ORDER
        inverse = (-key[0] % FIELD, key[1])
        if (add(times(s, BASE), times(h, inverse)) == point) != cofactor:
            return {"comment": comment, "expect": expect, "public_key": encode(key).hex(), "context": ENVELOPE.hex(),
                    "bytes": SIGNED.hex(), "signature": (encode(point) + s.to_bytes(32, "little")).hex()}
    raise RuntimeError(comment)


def main() -> None:
    """All cases."""
    nonces = [number(b"nonce %d" % i) for i in range(64)]
    mixed = add(KEY, TORSION)
    weak = "by a key of small order ({}), and the equation holds, with an R that is not"
    cases = [
        made("an honest signature", True, KEY, SECRET, nonces),
        made("with an R of small order, and the equation holds", False, KEY, SECRET, [0]),
        made(weak.format(8), False, TORSION, 0, nonces),
        made(weak.format(4), False, times(2, TORSION), 0, nonces),
        made(weak.format(2), False, times(4, TORSION), 0, nonces),
        made(weak.format(1), False, NOTHING, 0, nonces),
        made("by a key with a part of small order: the equation holds without cofactor", True, mixed, SECRET, nonces),
        made("by that key: the equation holds only with cofactor", False, mixed, SECRET, nonces),
        made("by that key, with an R that cancels the part", True, mixed, SECRET, nonces, range(1, 8)),
        made("with an R with a part of small order: the equation holds only with cofactor", False, KEY, SECRET, nonces,
             range(1, 8)),
    ]
    file = {"comment": "Each tells one rule of strict Ed25519 (PROTOCOL.md section 4.2).", "signatures": cases}
    find("FREEHOLD_VECTORS", "interop/vectors").joinpath("signature_rules.json").write_text(json.dumps(file, indent=2) + "\n")


if __name__ == "__main__":
    main()
