"""Identity records (PROTOCOL.md section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import crypto
from crypto import Key, sha256
from names import domain_name
from refusal import Refusal
from schema import decode, pb

RECORD_MAX = 65536
FORMER_MAX = 16
HOUR = 3_600_000
DAY = 24 * HOUR
FRESH_FOR = 7 * DAY
TIME_MAX = 253_402_300_799_999
VERSION = 1


class NotBelieved(Exception):
    """Why a record is not believed, in the words of the vectors."""


def require(holds: bool, reason: str) -> None:
    """Raises `NotBelieved` unless `holds`."""
    if not holds:
        raise NotBelieved(reason)


@dataclass(frozen=True)
class Record:
    """A record that was believed: its decoded form, its hash, when its freshness statement was issued and ends, and the
    fingerprints of its roots, of the present one last."""

    body: Any
    hash: bytes
    fresh_from: int
    fresh_until: int
    roots: list[bytes]

    def key(self, key_id: bytes, at: int) -> bytes | None:
        """The public key with that id, if it was good at that time. A revoked one is never (section 9, 122)."""
        if any(revoked.key_id == key_id for revoked in self.body.revoked_keys):
            return None
        for key in self.body.signing_keys:
            if crypto.key_id(key.public_key) == key_id and key.valid_from_ms <= at < key.valid_until_ms:
                return bytes(key.public_key)
        return None

    def counts(self, now: int) -> bool:
        """Whether anything may be exchanged by this record now (sections 3 and 3.1)."""
        return now < self.body.expires_ms and now < self.fresh_until


def parse(data: bytes) -> Any:
    """Section 3, rule 1: an `IdentityRecord` whose every value has its form."""
    body = decode("IdentityRecord", data)
    domain_name(body.domain)
    times = [body.issued_ms, body.expires_ms]
    sizes = [(body.root_key, 32), (body.next_root_hash, 32), (body.previous_hash or bytes(32), 32)]
    sizes += [(tls, 32) for tls in body.tls_key_hashes]
    for key in body.signing_keys:
        sizes.append((key.public_key, 32))
        times += [key.valid_from_ms, key.valid_until_ms]
    for revoked in body.revoked_keys:
        sizes.append((revoked.key_id, 16))
        times.append(revoked.invalid_from_ms)
    if body.serial < 1 or any(len(data) != size for data, size in sizes):
        raise Refusal(100)
    if not all(0 <= time <= TIME_MAX for time in times):
        raise Refusal(100)
    return body


def stored(data: bytes) -> Record:
    """A `SignedRecord` that was believed before."""
    signed = pb["SignedRecord"].FromString(data)
    chain = [pb["IdentityRecord"].FromString(one.record) for one in (*signed.former, signed)]
    word = pb["Freshness"].FromString(signed.freshness.statement)
    roots = [sha256(one.root_key) for one in chain]
    return Record(chain[-1], sha256(signed.record), word.issued_ms, word.expires_ms, roots)


def believe(data: bytes, domain: str, anchor: bytes, now: int, known: Record | None = None) -> Record:
    """Section 3, rules 1 to 8, for a record that was fetched just now. `anchor` is the fingerprint that is pinned, and
    `known` the record."""
    try:
        require(len(data) <= RECORD_MAX, "malformed")
        signed = decode("SignedRecord", data)
        chain = [(one, parse(one.record)) for one in (*signed.former, signed)]
        word = decode("Freshness", signed.freshness.statement)
        if signed.HasField("freshness") and (len(word.record_hash) != 32 or len(word.key_id) != 16):
            raise Refusal(100)
    except Refusal:
        raise NotBelieved("malformed") from None
    record = stored(data)
    body, roots = record.body, record.roots
    require(body.domain == domain, "other domain")
    require(anchor in roots, "other root")
    for one, inner in chain:
        require(crypto.holds(inner.root_key, crypto.RECORD, one.record, one.signature), "bad signature")
    # Section 3.2: each root is the one to which the one before committed.
    require(len(chain) <= FORMER_MAX + 1 and all(inner.domain == domain for _, inner in chain), "succession")
    require(all(chain[i][1].next_root_hash == roots[i + 1] for i in range(len(chain) - 1)), "succession")
    require(body.issued_ms <= now + HOUR and now < body.expires_ms, "outside its life")
    require(body.version_min <= VERSION <= body.version_max, "no version")
    fresh(record, word, signed.freshness, now)
    if known is not None:
        follows(record, known)
    return record


def fresh(record: Record, word: Any, signed: Any, now: int) -> None:
    """Section 3.1: the domain's own word that this record is still the latest."""
    same = (word.domain, word.serial, word.record_hash) == (record.body.domain, record.body.serial, record.hash)
    require(same, "not fresh")
    require(0 <= word.issued_ms <= now + HOUR and now < word.expires_ms, "not fresh")
    require(word.expires_ms <= word.issued_ms + FRESH_FOR, "not fresh")
    key = record.key(word.key_id, word.issued_ms)
    require(key is not None and crypto.holds(key, crypto.FRESHNESS, signed.statement, signed.signature), "not fresh")


def follows(record: Record, known: Record) -> None:
    """Section 3, rule 8, and section 3.2: the record may take the place of the known one."""
    old, new = known.body, record.body
    if new.root_key == old.root_key:
        require(new.serial >= old.serial, "older")
        require(new.serial > old.serial or record.hash == known.hash, "two with one serial")
        require(new.serial != old.serial + 1 or new.previous_hash == known.hash, "does not follow")
        require(new.next_root_hash == old.next_root_hash, "succession")
    else:
        pinned = sha256(old.root_key)
        require(pinned in record.roots[:-1], "other root")
        require(record.roots[record.roots.index(pinned) + 1] == old.next_root_hash, "succession")


def make(domain: str, root: Key, next_root_hash: bytes, signing: Key, tls: Key, now: int) -> bytes:
    """The first record of a domain: an encoded `IdentityRecord`."""
    return pb["IdentityRecord"](
        domain=domain, serial=1, root_key=root.public, next_root_hash=next_root_hash,
        signing_keys=[{"public_key": signing.public, "valid_from_ms": now - HOUR, "valid_until_ms": now + 400 * DAY}],
        tls_key_hashes=[sha256(tls.spki)], version_min=VERSION, version_max=VERSION,
        issued_ms=now, expires_ms=now + 365 * DAY, incarnation=1,
    ).SerializeToString()


def sign(record: bytes, signature: bytes, signing: Key, now: int) -> bytes:
    """A `SignedRecord` with a statement of now that it is the latest (section 3.1)."""
    body = pb["IdentityRecord"].FromString(record)
    statement = pb["Freshness"](
        domain=body.domain, serial=body.serial, record_hash=sha256(record), key_id=signing.id,
        issued_ms=now, expires_ms=now + FRESH_FOR,
    ).SerializeToString()
    fresh_word = {"statement": statement, "signature": signing.sign(crypto.FRESHNESS, statement)}
    return pb["SignedRecord"](record=record, signature=signature, freshness=fresh_word).SerializeToString()
