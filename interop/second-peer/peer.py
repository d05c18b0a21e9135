"""A small domain that speaks the peer protocol, written from PROTOCOL.md alone: one person, one-to-one messages.

    peer.py vectors FOLDER
    peer.py init    --state FOLDER --domain py.test --person alice
    peer.py record  DOMAIN FINGERPRINT HOST:PORT
    peer.py serve   --state FOLDER --listen HOST:PORT --peer DOMAIN,FINGERPRINT,HOST:PORT ...
    peer.py send    --state FOLDER --peer DOMAIN,FINGERPRINT,HOST:PORT somebody@DOMAIN TEXT

Left out: DNS (2.3, 4.3: peers are vouched for on the command line), a second root (3.2, of our own), groups, files and
calls (7.7 to 7.11), presence (7.5), and what 8.6 says of backups.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import crypto
import record as records
import vectors
from crypto import Key, sha256
from directory import Directory, Known, host_port, now_ms
from envelope import hello, seal
from inbox import ITEMS_MAX, Inbox
from link import ALPN_PEER, CallFailed, Caller, LinkBroken, connect, fetch_record, tls_context
from listener import Listener
from names import address, base64url, domain_name, from_base64url
from record import DAY, NotBelieved, Record
from refusal import Refusal, printable
from schema import pb
from state import State

BATCH_BYTES_MAX = 983040
HELLO_SECONDS = 10.0
TEND_SECONDS, BACK_OFF_MAX = 1.0, 3600.0
MODE = "JRWPA"
FAILURES = (LinkBroken, CallFailed, NotBelieved, Refusal)


class Domain:
    """One domain: its keys and record, its one person, its links out and its listener."""

    def __init__(self, folder: Path, table: Iterable[Known], told: Callable[[str, str], None]) -> None:
        self.state = State(folder / "state.db")
        own = dict(self.state.run("SELECT name, value FROM own"))
        self.name, self.local_part, self.person = (own[name].decode() for name in ("domain", "local_part", "person"))
        self.signing, self.tls = Key(own["signing"]), Key(own["tls"])
        self.record, self.record_signature, self.public = own["record"], own["signature"], own["public"]
        self.fingerprint = sha256(pb["IdentityRecord"].FromString(self.record).root_key)
        self.directory = Directory(self.state, table)
        self.flushing = threading.Lock()
        self.inbox = Inbox(self.state, self.name, self.person, self.local_part, self.public, told, self.agreed)

    @staticmethod
    def create(folder: Path, domain: str, local_part: str, table: Iterable[Known],
               told: Callable[[str, str], None]) -> Domain:
        """Section 4.1: makes root, next root, signing and TLS key, and the first record (section 3)."""
        folder.mkdir(parents=True, exist_ok=True)
        root, successor, signing, tls = (Key(os.urandom(32)) for _ in range(4))
        record = records.make(domain_name(domain), root, sha256(successor.public), signing, tls, now_ms())
        state = State(folder / "state.db")
        own = {
            "domain": domain.encode(), "local_part": local_part.lower().encode(),
            "person": f"usr{base64url(os.urandom(8))}@{domain}".encode(),
            "public": json.dumps({"fn": local_part.capitalize()}).encode(),
            "root": root.seed, "next_root": successor.seed, "signing": signing.seed, "tls": tls.seed,
            "record": record, "signature": root.sign(crypto.RECORD, record),
        }
        with state.change():
            for name, value in own.items():
                state.run("INSERT INTO own VALUES (?, ?)", name, value)
        state.close()
        return Domain(folder, table, told)

    def signed_record(self) -> bytes:
        """Section 3: the record as it is served, with a freshness statement of now."""
        return records.sign(self.record, self.record_signature, self.signing, now_ms())

    def prove(self, exporter: bytes, acceptor: bool, other: str) -> dict[str, bytes]:
        """Section 5.3: our side of a hello."""
        record_hash = sha256(self.record)
        signed = hello(exporter, acceptor, self.name, other, self.signing.id, record_hash)
        return {"key_id": self.signing.id, "record_hash": record_hash,
                "signature": self.signing.sign(crypto.HELLO, signed)}

    def proven(self, exporter: bytes, acceptor: bool, signer: str, record: Record, proof: Any) -> bool:
        """Section 5.3: whether the other side's proof holds by its record, on this connection."""
        key = record.key(proof.key_id, now_ms())
        signed = hello(exporter, acceptor, signer, self.name, proof.key_id, proof.record_hash)
        return key is not None and crypto.holds(key, crypto.HELLO, signed, proof.signature)

    def received(self, peer: str) -> dict[str, int] | None:
        """Section 8.1: how far the stream of a peer was decided here."""
        row = self.state.row("SELECT epoch, position FROM received WHERE origin = ?", peer)
        return None if row is None else {"epoch": int(row[0]), "position": int(row[1])}

    def dial(self, domain: str) -> Caller:
        """Sections 5.1 and 5.3: a link to a domain, proven in both directions."""
        record = self.directory.current(domain)
        try:
            return self._dial(domain, record)
        except LinkBroken:
            # Its TLS key may be a new one: once more, if there is a newer record.
            newer = self.directory.fetch(domain)
            if newer.hash == record.hash:
                raise
            return self._dial(domain, newer)

    def _dial(self, domain: str, record: Record) -> Caller:
        pinned = {bytes(one) for one in record.body.tls_key_hashes}
        context = tls_context([ALPN_PEER], self.tls, self.name, False, pinned)
        stream = connect(self.directory.table[domain].address, context, domain)
        if stream.peer_key_hash() not in pinned or stream.tls.get_alpn_proto_negotiated() != ALPN_PEER:
            stream.close()
            raise LinkBroken("another TLS key or protocol")
        caller = Caller(stream, domain)
        try:
            self._greet(caller, stream.exporter(), domain, record)
        except BaseException:
            caller.close()
            raise
        return caller

    def _greet(self, caller: Caller, exporter: bytes, domain: str, record: Record) -> None:
        request = pb["HelloRequest"](version=records.VERSION, to=domain, received=self.received(domain),
                                     **{"from": self.name}, **self.prove(exporter, False, domain))
        end = time.monotonic() + HELLO_SECONDS
        while time.monotonic() < end:
            response = caller.call("Hello", request, "HelloResponse")
            outcome = response.WhichOneof("outcome")
            if outcome == "refused":
                raise Refusal(response.refused.code, response.refused.text)
            if outcome == "accepted":
                proof = response.accepted
                if proof.version != records.VERSION:
                    raise LinkBroken(f"answers in version {proof.version}")
                if proof.record_hash != record.hash:
                    record = self.directory.fetch(domain)
                if not self.proven(exporter, True, domain, record, proof):
                    raise LinkBroken("the other side has not proven who it is")
                return
            time.sleep(min(max(response.pending.retry_after_ms / 1000, 0.05), 2))
        raise LinkBroken("the hello stays pending")

    def call(self, caller: Caller, method: str, answer: str, **fields: Any) -> Any:
        """Section 5.5: a call with `from` and `to`."""
        return caller.call(method, pb[method + "Request"](to=caller.domain, **{"from": self.name}, **fields), answer)

    def find(self, text: str) -> str | None:
        """Section 7.6: the user id of an address."""
        local, domain = address(text)
        caller = self.dial(domain)
        try:
            person = self.call(caller, "Find", "FindResponse", local_part=local).person
        finally:
            caller.close()
        if person.user and not person.user.endswith("@" + domain):
            raise LinkBroken("named a person of another domain")
        return person.user or None

    def write(self, user: str, text: str) -> None:
        """Sections 7.1 to 7.3: queues a message, and before the first one the relation that opens the conversation."""
        payload, domain = pb["Payload"], user.partition("@")[2]
        with self.state.change():
            self.state.run("INSERT OR IGNORE INTO chats (user, other, want) VALUES (?, ?, ?)", self.person, user, MODE)
            self.state.run("UPDATE chats SET want = ? WHERE user = ? AND other = ?", MODE, self.person, user)
            (announced,) = self.state.only(
                "SELECT announced FROM chats WHERE user = ? AND other = ?", self.person, user)
            if not announced:
                self.state.run("UPDATE chats SET announced = 1 WHERE user = ? AND other = ?", self.person, user)
                self._queue(domain, "", payload(relation={
                    "user": self.person, "peer": user, "want": MODE, "want_version": 1, "given": MODE,
                    "given_version": 1, "public": self.public, "public_changed_ms": 1}))
            self._queue(domain, f"{self.person} {user}", payload(direct_message={
                "author": self.person, "recipient": user, "content": json.dumps(text).encode()}))

    def _queue(self, domain: str, chat: str, payload: Any) -> None:
        """Section 8.1: the next position of the stream, which is never given away twice."""
        epoch = int.from_bytes(os.urandom(7), "big") + 1
        self.state.run("INSERT OR IGNORE INTO streams VALUES (?, ?, 1)", domain, epoch)
        (position,) = self.state.only("UPDATE streams SET next = next + 1 WHERE domain = ? RETURNING next - 1", domain)
        envelope = seal(self.signing, self.name, domain, payload, now_ms()).SerializeToString()
        self.state.run("INSERT INTO outbox VALUES (?, ?, ?, ?, 0)", domain, position, envelope, chat)

    def offer(self, domain: str, items: list[tuple[int, Any]]) -> list[Any]:
        """Section 8.1: one batch of envelopes at their positions; the verdicts."""
        caller = self.dial(domain)
        try:
            epoch = self.state.row("SELECT epoch FROM streams WHERE domain = ?", domain)
            response = self.call(caller, "Deliver", "DeliverResponse", epoch=epoch[0] if epoch else 1, items=[
                {"position": position, "envelope": envelope} for position, envelope in items])
        finally:
            caller.close()
        if len(response.results) != len(items) or not all(one.WhichOneof("verdict") for one in response.results):
            raise CallFailed("not one verdict for each item")
        return list(response.results)

    def flush(self, domain: str) -> list[str]:
        """Section 8.2: offers what waits for a domain and does what the verdicts ask. Says what became of each item."""
        with self.flushing:
            rows = self._waiting(domain)
            if not rows:
                return []
            results = self.offer(domain, [(position, pb["Envelope"].FromString(data)) for position, data in rows])
            with self.state.change():
                return [self._settle(domain, position, result) for (position, _), result in zip(rows, results)]

    def _waiting(self, domain: str) -> list[tuple[int, bytes]]:
        """What may be offered now: nothing that is to wait, and nothing behind that in the same conversation."""
        rows, size = [], 0
        for row in self.state.run(
                "SELECT position, envelope FROM outbox o WHERE domain = ? AND not_before <= ? AND NOT EXISTS (SELECT 1 "
                "FROM outbox e WHERE e.domain = o.domain AND e.position < o.position AND e.chat = o.chat AND "
                "e.chat != '' AND e.not_before > ?) ORDER BY position LIMIT ?", domain, now_ms(), now_ms(), ITEMS_MAX):
            if (size := size + len(row[1]) + 16) > BATCH_BYTES_MAX:
                break
            rows.append(row)
        return rows

    def _settle(self, domain: str, position: int, result: Any) -> str:
        """What a verdict asks for."""
        verdict = result.WhichOneof("verdict")
        if verdict == "later":
            wait = min(max(result.later.retry_after_ms, 1000), DAY)
            self.state.run("UPDATE outbox SET not_before = ? WHERE domain = ? AND position = ?",
                           now_ms() + wait, domain, position)
            return f"later {result.later.code}, in {wait} ms"
        self.state.run("DELETE FROM outbox WHERE domain = ? AND position = ?", domain, position)
        return f"refused {Refusal(result.refused.code, result.refused.text)}" if verdict == "refused" else verdict

    def agreed(self, domain: str) -> None:
        """Section 7.3: somebody has consented, so what was kept back is offered at once."""
        threading.Thread(target=self.try_flush, args=(domain,), daemon=True).start()

    def try_flush(self, domain: str) -> bool:
        """Offers what waits for a domain; whether that went well."""
        try:
            self.flush(domain)
        except FAILURES as error:
            print(f"{domain}: {type(error).__name__} {error}", file=sys.stderr)
            return False
        return True

    def tend(self) -> None:
        """Section 8.3: offers what waits, for ever, with a back-off for each domain."""
        failures: dict[str, int] = {}
        next_try: dict[str, float] = {}
        while True:
            for (domain,) in self.state.run("SELECT DISTINCT domain FROM outbox WHERE not_before <= ?", now_ms()):
                if time.monotonic() < next_try.get(domain, 0):
                    continue
                failures[domain] = 0 if self.try_flush(domain) else min(failures.get(domain, 0) + 1, 12)
                back_off = random.uniform(1, min(2 ** failures[domain], BACK_OFF_MAX))
                next_try[domain] = time.monotonic() + back_off
            time.sleep(TEND_SECONDS)


def command_line() -> argparse.Namespace:
    """What is asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("vectors").add_argument("folder", type=Path)
    look_up = commands.add_parser("record")
    look_up.add_argument("domain")
    look_up.add_argument("fingerprint")
    look_up.add_argument("address", type=host_port)
    for name in ("init", "serve", "send"):
        command = commands.add_parser(name)
        command.add_argument("--state", type=Path, required=True)
        if name == "init":
            command.add_argument("--domain", required=True)
            command.add_argument("--person", required=True)
            continue
        command.add_argument("--peer", type=Known.parse, action="append", default=[])
        if name == "serve":
            command.add_argument("--listen", type=host_port, required=True)
        else:
            command.add_argument("to")
            command.add_argument("text")
    return parser.parse_args()


def main() -> int:
    """Does what the command line asks."""
    asked = command_line()
    if asked.command == "vectors":
        return 0 if vectors.play(asked.folder) else 1
    if asked.command == "record":
        signed = fetch_record(asked.address, asked.domain)
        record = records.believe(signed, asked.domain, from_base64url(asked.fingerprint, 32), now_ms())
        print(f"{asked.domain}: serial {record.body.serial}, {len(record.body.signing_keys)} signing keys, fresh until "
              f"{record.fresh_until}\n{record.body}")
        return 0

    def told(author: str, text: str) -> None:
        print(f"{author}: {printable(text)}", flush=True)

    if asked.command == "init":
        domain = Domain.create(asked.state, asked.domain, asked.person, [], told)
        print(f"{domain.local_part}@{domain.name} is {domain.person}\nroot = {base64url(domain.fingerprint)}")
        return 0
    domain = Domain(asked.state, asked.peer, told)
    if asked.command == "serve":
        listener = Listener(domain, asked.listen)
        print(f"{domain.name} listens at {asked.listen[0]}:{asked.listen[1]}", flush=True)
        try:
            domain.tend()
        except KeyboardInterrupt:
            listener.close()
    else:
        if (user := domain.find(asked.to)) is None:
            print(f"{asked.to}: nobody there who wishes to be found")
            return 1
        domain.write(user, asked.text)
        print(*domain.flush(user.partition("@")[2]), sep="\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Refusal, NotBelieved, LinkBroken, CallFailed) as error:
        sys.exit(f"{type(error).__name__}: {error}")
