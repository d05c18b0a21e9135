"""Signatures (PROTOCOL.md section 4.2) and a domain's own keys (section 4.1)."""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

RECORD = b"freehold/record/v1\0"
FRESHNESS = b"freehold/freshness/v1\0"
HELLO = b"freehold/hello/v1\0"
ENVELOPE = b"freehold/envelope/v1\0"
POSITION = b"freehold/position/v1\0"

FIELD = 2**255 - 19
# The y of a point of order 8. With 0, 1 and -1, and its own negative, it names all eight points of small order.
Y_OF_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
SMALL_ORDER = {0, 1, FIELD - 1, Y_OF_ORDER_8, FIELD - Y_OF_ORDER_8}


def sha256(data: bytes) -> bytes:
    """`H` of the document."""
    return hashlib.sha256(data).digest()


def key_id(public: bytes) -> bytes:
    """Section 2.2."""
    return sha256(public)[:16]


def small_order(point: bytes) -> bool:
    """Whether an encoded point is of small order, in whatever spelling: the sign bit does not matter for it."""
    y = int.from_bytes(point, "little") & ((1 << 255) - 1)
    return y % FIELD in SMALL_ORDER


def holds(public: bytes, context: bytes, signed: bytes, signature: bytes) -> bool:
    """Section 4.2, strictly. OpenSSL refuses S that is not below the group order, takes the equation without cofactor
    and compares R as bytes; the points of small order it would take."""
    if len(public) != 32 or len(signature) != 64 or small_order(public) or small_order(signature[:32]):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, context + signed)
    except (InvalidSignature, ValueError):
        return False
    return True


@dataclass(frozen=True)
class Key:
    """One Ed25519 key pair, by its seed."""

    seed: bytes

    @property
    def private(self) -> Ed25519PrivateKey:
        """The pair, as the library wants it."""
        return Ed25519PrivateKey.from_private_bytes(self.seed)

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        return self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def id(self) -> bytes:
        """The key id, 16 bytes."""
        return key_id(self.public)

    @property
    def spki(self) -> bytes:
        """SubjectPublicKeyInfo, DER."""
        return self.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, context: bytes, signed: bytes) -> bytes:
        """Section 4.2: always under a context."""
        return self.private.sign(context + signed)

    def certificate(self, name: str) -> x509.Certificate:
        """Section 5.1: an X.509 certificate of which only the key counts."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
        start = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
        builder = x509.CertificateBuilder(subject, subject, self.private.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(start).not_valid_after(start + datetime.timedelta(days=36500))
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        return builder.sign(self.private, None)
