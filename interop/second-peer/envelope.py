"""The signed layouts: envelopes (PROTOCOL.md section 6), positions (7.7) and hellos (5.3)."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Any, Callable

import crypto
from crypto import Key, sha256
from names import domain_name
from record import DAY, HOUR, TIME_MAX
from refusal import Refusal
from schema import decode, pb

PAYLOAD_MAX = 262144
AGE_MAX = 30 * DAY + HOUR
TO_DOMAIN, TO_GROUP = 1, 2

# The public key with that id that was good at that time, or none.
KeyAt = Callable[[bytes, int], "bytes | None"]


class Reader:
    """Takes fixed places from bytes; 100 when there are too few."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        piece = self.data[self.at : self.at + count]
        if len(piece) != count:
            raise Refusal(100)
        self.at += count
        return piece

    def number(self, size: int) -> int:
        """A big-endian integer."""
        return int.from_bytes(self.take(size), "big")

    def text(self) -> str:
        """A name after its length. One that is no UTF-8 is 100; whether it is canonical is asked at the end."""
        try:
            return self.take(self.number(1)).decode()
        except UnicodeDecodeError:
            raise Refusal(100) from None

    def time(self) -> int:
        """Section 1: milliseconds up to the year 9999."""
        value = self.number(8)
        if value > TIME_MAX:
            raise Refusal(100)
        return value

    def end(self) -> None:
        """There is nothing behind the end."""
        if self.at != len(self.data):
            raise Refusal(100)


def named(name: str) -> bytes:
    """A name behind its length in one byte."""
    return bytes([len(name)]) + name.encode()


@dataclass(frozen=True)
class Header:
    """Section 6. Either `domain` or `group` is the destination."""

    origin: str
    domain: str | None
    group: bytes | None
    key_id: bytes
    message_id: bytes
    issued_ms: int
    payload_hash: bytes

    @staticmethod
    def decode(data: bytes) -> Header:
        """Check 2: layout 100, names 103."""
        reader = Reader(data)
        if reader.number(1) != 1:
            raise Refusal(100)
        origin = reader.text()
        kind = reader.number(1)
        if kind not in (TO_DOMAIN, TO_GROUP):
            raise Refusal(100)
        domain, group = (reader.text(), None) if kind == TO_DOMAIN else (None, reader.take(16))
        header = Header(origin, domain, group, reader.take(16), reader.take(16), reader.time(), reader.take(32))
        reader.end()
        domain_name(origin)
        if domain is not None:
            domain_name(domain)
        return header

    def encode(self) -> bytes:
        """The bytes that are signed."""
        to = bytes([TO_DOMAIN]) + named(self.domain) if self.domain else bytes([TO_GROUP]) + (self.group or b"")
        ids = self.key_id + self.message_id + struct.pack(">Q", self.issued_ms)
        return b"\x01" + named(self.origin) + to + ids + self.payload_hash


def seal(key: Key, origin: str, domain: str, payload: Any, now: int) -> Any:
    """Section 6: an `Envelope` to a domain around a `Payload`, with a message id of its own."""
    data, salt = payload.SerializeToString(), os.urandom(16)
    header = Header(origin, domain, None, key.id, os.urandom(16), now, sha256(salt + data)).encode()
    return pb["Envelope"](header=header, signature=key.sign(crypto.ENVELOPE, header), salt=salt, payload=data)


def check_forms(envelope: Any) -> Header:
    """Section 6, checks 1 and 2."""
    if len(envelope.payload) > PAYLOAD_MAX:
        raise Refusal(102)
    if len(envelope.signature) != 64 or len(envelope.salt) != 16:
        raise Refusal(100)
    return Header.decode(envelope.header)


def open_envelope(envelope: Any, peer: str, here: str, key_at: KeyAt, now: int) -> tuple[Header, Any]:
    """Section 6: all nine checks, in their order, with the first refusal that there is."""
    header = check_forms(envelope)
    if header.origin != peer:
        raise Refusal(120)
    if header.domain not in (here, None):
        raise Refusal(121)
    if not now - AGE_MAX <= header.issued_ms <= now + HOUR:
        raise Refusal(126)
    return header, check_seal(envelope, header, key_at)


def check_seal(envelope: Any, header: Header, key_at: KeyAt, in_a_log: bool = False) -> Any:
    """Section 6, checks 6 to 9. In a log neither words that are gone nor a kind of a later version are a fault (7.7)."""
    key = key_at(header.key_id, header.issued_ms)
    if key is None:
        raise Refusal(122)
    if not crypto.holds(key, crypto.ENVELOPE, envelope.header, envelope.signature):
        raise Refusal(123)
    if in_a_log and envelope.salt == bytes(16) and not envelope.payload:
        return None
    if sha256(envelope.salt + envelope.payload) != header.payload_hash:
        raise Refusal(124)
    payload = decode("Payload", envelope.payload)
    if payload.WhichOneof("kind") is None and not in_a_log:
        raise Refusal(129)
    return payload


@dataclass(frozen=True)
class Position:
    """Section 7.7: the place of an entry in the log of a group, as its home signs it."""

    home: str
    key_id: bytes
    group: bytes
    epoch: int
    index: int
    order: int
    placed_ms: int
    previous: bytes
    header_hash: bytes

    @staticmethod
    def decode(data: bytes) -> Position:
        """Layout 1, or 2 of the feed of a channel. Epoch and index begin with 1."""
        reader = Reader(data)
        if reader.number(1) not in (1, 2):
            raise Refusal(100)
        home, key_id, group = reader.text(), reader.take(16), reader.take(16)
        epoch, index, order = reader.number(8), reader.number(8), reader.number(4)
        position = Position(home, key_id, group, epoch, index, order, reader.time(), reader.take(32), reader.take(32))
        reader.end()
        if epoch == 0 or index == 0:
            raise Refusal(100)
        domain_name(home)
        return position


def check_position(data: bytes, signature: bytes, home: str, key_at: KeyAt) -> Position:
    """Section 7.7: a position holds by the record of the home: 100, 103, 120, 122, 123."""
    if len(signature) != 64:
        raise Refusal(100)
    position = Position.decode(data)
    if position.home != home:
        raise Refusal(120)
    key = key_at(position.key_id, position.placed_ms)
    if key is None:
        raise Refusal(122)
    if not crypto.holds(key, crypto.POSITION, data, signature):
        raise Refusal(123)
    return position


def check_entry(envelope: Any, position: Position, author: str, key_at: KeyAt) -> Any:
    """Section 7.7: the envelope of an entry, of any age, by the record of its author's domain."""
    header = check_forms(envelope)
    if header.origin != author:
        raise Refusal(120)
    if header.group != position.group:
        raise Refusal(121)
    if sha256(envelope.header) != position.header_hash:
        raise Refusal(124)
    return check_seal(envelope, header, key_at, in_a_log=True)


def hello(exporter: bytes, acceptor: bool, signer: str, other: str, key_id: bytes, record_hash: bytes) -> bytes:
    """Section 5.3: what a side of a hello signs, behind the context."""
    return exporter + bytes([2 if acceptor else 1]) + named(signer) + named(other) + key_id + record_hash
