"""Finds, checks and pins the records of other domains (PROTOCOL.md sections 3 and 4)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

import record as records
from envelope import KeyAt
from link import CONNECT_SECONDS, LinkBroken, fetch_record
from names import domain_name, from_base64url
from record import DAY, NotBelieved, Record
from refusal import Refusal
from state import State

STRANGERS_SECONDS, LOOK_UP_SECONDS = 5.0, 3.0


def now_ms() -> int:
    """Section 1."""
    return time.time_ns() // 1_000_000


def host_port(text: str) -> tuple[str, int]:
    """`HOST:PORT`."""
    host, _, port = text.rpartition(":")
    return host, int(port)


@dataclass(frozen=True)
class Known:
    """Section 4.3, source 1: a domain that the operator vouches for, and where it is (section 2.3)."""

    domain: str
    fingerprint: bytes
    address: tuple[str, int]

    @staticmethod
    def parse(text: str) -> Known:
        """`DOMAIN,FINGERPRINT,HOST:PORT`."""
        domain, fingerprint, place = text.split(",")
        return Known(domain_name(domain), from_base64url(fingerprint, 32), host_port(place))


class Directory:
    """The records of the domains of a static table."""

    def __init__(self, state: State, table: Iterable[Known]) -> None:
        self.state = state
        self.table = {one.domain: one for one in table}
        self.lock = threading.Lock()
        self.last_try: dict[str, float] = {}

    def last(self, domain: str) -> Record | None:
        """The record that was believed last, of whatever age."""
        one, row = self.table.get(domain), self.state.row("SELECT signed FROM pins WHERE domain = ?", domain)
        if one is None or row is None:
            return None
        record = records.stored(row[0])
        return record if one.fingerprint in record.roots else None

    def pinned(self, domain: str) -> Record | None:
        """The same, if it still counts."""
        record = self.last(domain)
        return record if record is not None and record.counts(now_ms()) else None

    def fetch(self, domain: str, seconds: float = CONNECT_SECONDS) -> Record:
        """Sections 4.4 and 3: fetched now, believed, pinned. Raises `NotBelieved` or `LinkBroken`."""
        if (one := self.table.get(domain)) is None:
            raise NotBelieved("nobody vouches for it")
        signed = fetch_record(one.address, domain, seconds)
        record = records.believe(signed, domain, one.fingerprint, now_ms(), self.last(domain))
        with self.state.change():
            self.state.run("INSERT OR REPLACE INTO pins VALUES (?, ?)", domain, signed)
        return record

    def current(self, domain: str) -> Record:
        """Section 3.1: fetched anew once its freshness statement is a day old; if that fails, the old one counts."""
        pinned = self.pinned(domain)
        if pinned is not None and now_ms() < pinned.fresh_from + DAY:
            return pinned
        try:
            return self.fetch(domain)
        except (NotBelieved, LinkBroken):
            if pinned is None:
                raise
            return pinned

    def for_hello(self, domain: str, record_hash: bytes) -> Record:
        """Section 5.3, step 4: 114 or 151 without a record. A look-up ends after 3 seconds, so that none is pending;
        strangers cause one in 5 seconds at most (section 4.4)."""
        pinned = self.pinned(domain)
        if pinned is not None and pinned.hash == record_hash and now_ms() < pinned.fresh_from + DAY:
            return pinned
        with self.lock:
            waits = time.monotonic() < self.last_try.get(domain, -STRANGERS_SECONDS) + STRANGERS_SECONDS
            if not waits and domain in self.table:
                self.last_try[domain] = time.monotonic()
        try:
            found = pinned if waits else self.fetch(domain, LOOK_UP_SECONDS)
        except (NotBelieved, LinkBroken):
            found = pinned
        if found is None:
            raise Refusal(151 if waits else 114)
        return found

    def keys(self, domain: str) -> KeyAt:
        """Section 6, check 6: the keys of a domain; an unknown one makes its record be fetched again, once."""
        record, fetched = self.pinned(domain), False

        def find(key_id: bytes, at: int) -> bytes | None:
            nonlocal record, fetched
            key = None if record is None else record.key(key_id, at)
            if key is None and not fetched:
                fetched = True
                try:
                    record = self.fetch(domain)
                except (NotBelieved, LinkBroken):
                    return None
                key = record.key(key_id, at)
            return key

        return find
