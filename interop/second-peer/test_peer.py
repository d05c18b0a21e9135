"""Lets the Python peer and a real Freehold domain talk: `python test_peer.py FREEHOLD_BINARY`.

Exit code 0 only if every check held. Everything is on loopback and in a temporary folder.
"""

from __future__ import annotations

import contextlib
import queue
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import vectors
from client import Client
from crypto import RECORD, Key
from directory import Known, now_ms
from envelope import seal
from link import ALPN_PEER, CallFailed, Caller, LinkBroken, connect, tls_context
from listener import Listener
from names import base64url, from_base64url
from peer import Domain
from record import HOUR, NotBelieved, believe, sign
from refusal import Refusal
from schema import find, pb

START_SECONDS = 10
LONG = "more than 280 characters: " + "x" * 280


class Checks:
    """Says what held and what did not."""

    def __init__(self) -> None:
        self.failed = 0

    def same(self, what: str, got: Any, expected: Any) -> None:
        """One check."""
        self.failed += got != expected
        print(f"{'ok  ' if got == expected else 'FAIL'} {what}" + ("" if got == expected else f": {got!r}"), flush=True)


def free_port() -> int:
    """A port of loopback that is free, above 20000."""
    for _ in range(100):
        port = random.randrange(20001, 32000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise RuntimeError("no free port")


@contextlib.contextmanager
def freehold(binary: Path, folder: Path, peers: list[Domain], ports: dict[str, int]) -> Iterator[bytes]:
    """A running domain beta.test; its fingerprint."""
    made = subprocess.run([binary, "init", "--domain", "beta.test", "--data", folder], capture_output=True, text=True,
                          check=True, timeout=START_SECONDS).stdout
    fingerprint = made.split("root=")[1].split('"')[0]
    rows = "".join(f'[[federation.peer]]\ndomain = "{one.name}"\nroot = "{base64url(one.fingerprint)}"\n'
                   f'address = "127.0.0.1:{ports[one.name]}"\n' for one in peers)
    (folder / "freehold.toml").write_text(
        f'domain = "beta.test"\n[clients]\nlisten = "127.0.0.1:{ports["clients"]}"\nregistration = "open"\n'
        f'[federation]\nlisten = "127.0.0.1:{ports["beta.test"]}"\ntrust = "pinned"\n'
        f'allowed_ranges = ["127.0.0.0/8"]\n{rows}')
    with open(folder / "log", "w+") as log:
        server = subprocess.Popen([binary, "serve", "--config", folder / "freehold.toml"], stdout=log, stderr=log)
        try:
            end = time.monotonic() + START_SECONDS
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", ports["clients"]), 1):
                    break
                if server.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"Freehold does not start: {(folder / 'log').read_text()}")
                time.sleep(0.05)
            yield from_base64url(fingerprint, 32)
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def verdict(domain: Domain, to: str, envelope: Any) -> str | int:
    """What becomes of one envelope: the verdict, or the number that is with it."""
    result = domain.offer(to, [(1_000_000, envelope)])[0]
    kind = result.WhichOneof("verdict")
    return getattr(result, kind).code if kind in ("refused", "later") else kind


def altered(envelope: Any, field: str, at: int = 0) -> Any:
    """An envelope with one bit of a field changed."""
    other = pb["Envelope"]()
    other.CopyFrom(envelope)
    data = bytearray(getattr(envelope, field))
    data[at] ^= 1
    setattr(other, field, bytes(data))
    return other


def refusal(action: Callable[[], Any]) -> str | int:
    """The number with which something is refused, or what happened instead."""
    try:
        return f"taken: {action()}"
    except Refusal as refused:
        return refused.code
    except (NotBelieved, LinkBroken, CallFailed) as other:
        return str(other)


def message(domain: Domain, to: str, content: bytes, **more: Any) -> Any:
    """A sealed direct message of the person of `domain`."""
    fields = {"author": domain.person, "recipient": to, "content": content, **more}
    return seal(domain.signing, domain.name, to.partition("@")[2], pb["Payload"](direct_message=fields), now_ms())


def alice_and_bob(checks: Checks, alice: Domain, told: queue.Queue[tuple[str, str]], bob: Client) -> None:
    """The person of the Python peer writes first; the person of the Freehold domain consents and answers."""
    bob_id = bob.register("bob", "a long password") + "@beta.test"
    checks.same("nobody is found", alice.find("nobody@beta.test"), None)
    checks.same("bob is found", alice.find("Bob@beta.test"), bob_id)
    alice.write(bob_id, "hello from Python")
    checks.same("relation and message are taken", alice.flush("beta.test"), ["ok", "ok"])
    alice.write(bob_id, LONG)
    checks.same("a long one is kept back", alice.flush("beta.test"), ["later 140, in 3600000 ms"])
    alice.write(bob_id, "behind it")
    checks.same("so is what is behind it", alice.flush("beta.test"), [])
    topics = bob.conversations()
    checks.same("bob sees whose word it is", topics, [alice.person])
    bob.accept(alice.person)
    checks.same("bob reads it", bob.hear(alice.person), (alice.person, "hello from Python"))
    checks.same("what was kept back comes by itself, in order", [bob.hear(alice.person)[1] for _ in range(2)],
                [LONG, "behind it"])
    bob.write(alice.person, "hello from Freehold")
    checks.same("alice reads the answer", told.get(timeout=10), (bob_id, "hello from Freehold"))
    checks.same("bob hears himself", bob.hear(alice.person)[1], "hello from Freehold")

    envelope = message(alice, bob_id, b'"once"')
    checks.same("a message", verdict(alice, "beta.test", envelope), "ok")
    checks.same("the same envelope again", verdict(alice, "beta.test", envelope), "duplicate")
    checks.same("bob reads it", bob.hear(alice.person), (alice.person, "once"))
    tampered = message(alice, bob_id, b'"tampered with"')
    checks.same("other words than were signed", verdict(alice, "beta.test", altered(tampered, "payload", -1)), 124)
    checks.same("another signature", verdict(alice, "beta.test", altered(tampered, "signature")), 123)
    checks.same("another layout", verdict(alice, "beta.test", altered(tampered, "header")), 100)
    alice.write(bob_id, LONG)
    checks.same("a long message after consent", alice.flush("beta.test"), ["ok"])
    checks.same("bob reads that next", bob.hear(alice.person)[1], LONG)


def carol_and_alice(checks: Checks, alice: Domain, told: queue.Queue[tuple[str, str]], carol: Client) -> None:
    """A person of the Freehold domain writes first; what is too much waits there until ours consents by answering."""
    carol_id = carol.register("carol", "a long password") + "@beta.test"
    topic = carol.find("alice@py.test")
    checks.same("carol finds alice", topic, alice.person)
    carol.open(alice.person)
    for text in ("one", "two", "three", "four", "five"):
        carol.write(alice.person, text)
    checks.same("alice is told three", [told.get(timeout=10) for _ in range(3)],
                [(carol_id, text) for text in ("one", "two", "three")])
    time.sleep(0.5)
    checks.same("and no more", told.empty(), True)
    alice.write(carol_id, "welcome")
    checks.same("alice answers", alice.flush("beta.test"), ["ok", "ok"])
    checks.same("what was kept back comes", [told.get(timeout=10) for _ in range(2)],
                [(carol_id, text) for text in ("four", "five")])
    while (heard := carol.hear(alice.person)) != (alice.person, "welcome"):
        checks.same("carol hears herself first", heard[1] in ("one", "two", "three", "four", "five"), True)


def eve_and_alice(checks: Checks, eve: Domain, alice: Domain, told: queue.Queue[tuple[str, str]]) -> None:
    """The Python peer as the one who is written to, by a peer that breaks rules as Freehold does not."""
    caller = eve.dial("py.test")
    try:
        person = eve.call(caller, "Find", "FindResponse", user=alice.person).person
        checks.same("our person is found", person.user, alice.person)
        checks.same("by no other domain", refusal(
            lambda: eve.call(caller, "Find", "FindResponse", user="usrAAAAAAAAAAA@beta.test")), 128)
        caller.domain = "beta.test"
        checks.same("a call to another domain", refusal(
            lambda: eve.call(caller, "Signal", "SignalResponse")), 121)
    finally:
        caller.close()
    first = message(eve, alice.person, b'"first"')
    checks.same("a first message", verdict(eve, "py.test", first), "ok")
    checks.same("it is told", told.get(timeout=5), (eve.person, "first"))
    checks.same("the same again", verdict(eve, "py.test", first), "duplicate")
    checks.same("with other words", verdict(eve, "py.test", altered(first, "payload", -1)), 124)
    checks.same("another signature", verdict(eve, "py.test", altered(first, "signature", 5)), 123)
    checks.same("a long one", verdict(eve, "py.test", message(eve, alice.person, b'"' + b"x" * 281 + b'"')), 140)
    checks.same("a bare id", verdict(eve, "py.test", message(
        eve, alice.person, b'"hi"', head=b'{"mentions": ["usrAAAAAAAAAAA"]}')), 130)
    checks.same("no JSON", verdict(eve, "py.test", message(eve, alice.person, b"hi")), 100)
    checks.same("in another's name", verdict(eve, "py.test", message(
        eve, alice.person, b'"hi"', author="usrAAAAAAAAAAA@beta.test")), 127)
    checks.same("for nobody here", verdict(eve, "py.test", message(eve, "usrAAAAAAAAAAA@py.test", b'"hi"')), "ok")
    for text in ("second", "third"):
        checks.same("and more", verdict(eve, "py.test", message(eve, alice.person, f'"{text}"'.encode())), "ok")
    checks.same("a fourth", verdict(eve, "py.test", message(eve, alice.person, b'"fourth"')), 140)
    checks.same("told is what was taken", [told.get(timeout=5)[1], told.get(timeout=5)[1], told.empty()],
                ["second", "third", True])


def successions(checks: Checks, eve: Domain) -> None:
    """Section 3, rule 8, and revoked keys (section 9, 122), of which there are no vectors."""
    root = Key(eve.state.only("SELECT value FROM own WHERE name = 'root'")[0])
    now = now_ms()
    known = believe(eve.signed_record(), eve.name, eve.fingerprint, now)

    def next_one(by: Key = root, **change: Any) -> str:
        body = pb["IdentityRecord"].FromString(eve.record)
        body.serial, body.previous_hash = 2, known.hash
        body.MergeFrom(pb["IdentityRecord"](**change))
        data = body.SerializeToString()
        signed = sign(data, by.sign(RECORD, data), eve.signing, now)
        return str(refusal(lambda: believe(signed, eve.name, eve.fingerprint, now, known).body.serial))

    checks.same("the next record", next_one(), "taken: 2")
    checks.same("one after that", next_one(serial=3, previous_hash=bytes(32)), "taken: 3")
    checks.same("another with the same serial", next_one(serial=1), "two with one serial")
    checks.same("one that does not follow", next_one(previous_hash=bytes(32)), "does not follow")
    checks.same("one that names another next root", next_one(next_root_hash=bytes(32)), "succession")
    for when in (0, now + HOUR):
        checks.same("fresh by the word of a key that is revoked, whenever",
                    next_one(revoked_keys=[{"key_id": eve.signing.id, "invalid_from_ms": when}]), "not fresh")


def proofs(checks: Checks, eve: Domain, alice: Domain, eve_port: int) -> None:
    """Sections 5.1 and 5.3: who does not prove a domain, in either role, gets nowhere."""
    pinned = eve.directory.current("py.test")
    context = tls_context([ALPN_PEER], eve.tls, eve.name, False, {bytes(one) for one in pinned.body.tls_key_hashes})
    caller = Caller(connect(eve.directory.table["py.test"].address, context, "py.test"), "py.test")
    checks.same("a call before a hello", refusal(lambda: eve.call(caller, "Find", "FindResponse")), 110)
    again = refusal(lambda: eve.call(caller, "Find", "FindResponse"))
    checks.same("closes the connection", isinstance(again, str) and not again.startswith("taken"), True)
    caller.close()
    tls, signing, prove = eve.tls, eve.signing, eve.prove
    eve.tls = Key(bytes(32))
    checks.same("a TLS key that is not in the record", refusal(lambda: eve.dial("py.test")), 113)
    with contextlib.closing(Listener(eve, ("127.0.0.1", eve_port))):
        checks.same("nor is it believed of an acceptor", "TLS" in str(refusal(lambda: alice.dial("eve.test"))), True)
    eve.tls, eve.signing = tls, Key(bytes(32))
    checks.same("a signing key that is not in the record", refusal(lambda: eve.dial("py.test")), 112)
    eve.signing = signing
    eve.prove = lambda exporter, acceptor, other: prove(bytes(32), acceptor, other)  # type: ignore[method-assign]
    checks.same("a proof for another connection", refusal(lambda: eve.dial("py.test")), 112)
    with contextlib.closing(Listener(eve, ("127.0.0.1", eve_port))):
        checks.same("nor is it believed of an acceptor", refusal(lambda: alice.dial("eve.test")),
                    "the other side has not proven who it is")
        eve.prove = prove  # type: ignore[method-assign]
        checks.same("a good one", refusal(lambda: alice.dial("eve.test").close()), "taken: None")


def main() -> int:
    """All of it."""
    binary = Path(sys.argv[1]).resolve()
    folder = find("FREEHOLD_VECTORS", "interop/vectors")
    checks = Checks()
    checks.same("all vectors", vectors.play(folder), True)
    told: queue.Queue[tuple[str, str]] = queue.Queue()
    ports = {name: free_port() for name in ("clients", "beta.test", "py.test", "eve.test")}
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        alice, eve = (Domain.create(Path(scratch) / name, f"{name}.test", person, [], lambda author, text: told.put(
            (author, text))) for name, person in (("py", "alice"), ("eve", "eve")))
        fingerprint = stack.enter_context(freehold(binary, Path(scratch) / "beta", [alice], ports))
        for one, others in ((alice, [eve]), (eve, [alice])):
            known = [Known(other.name, other.fingerprint, ("127.0.0.1", ports[other.name])) for other in others]
            known += [Known("beta.test", fingerprint, ("127.0.0.1", ports["beta.test"]))]
            one.directory.table.update((row.domain, row) for row in known)
        stack.callback(Listener(alice, ("127.0.0.1", ports["py.test"])).close)
        bob = stack.enter_context(contextlib.closing(Client(ports["clients"])))
        alice_and_bob(checks, alice, told, bob)
        carol = stack.enter_context(contextlib.closing(Client(ports["clients"])))
        carol_and_alice(checks, alice, told, carol)
        checks.same("a domain that nobody vouches for", refusal(lambda: eve.dial("beta.test")), 114)
        with contextlib.closing(Listener(eve, ("127.0.0.1", ports["eve.test"]))):
            alice.directory.fetch("eve.test")
        eve_and_alice(checks, eve, alice, told)
        successions(checks, eve)
        proofs(checks, eve, alice, ports["eve.test"])
        eve.directory.table["py.test"] = Known("py.test", bytes(32), ("127.0.0.1", ports["py.test"]))
        checks.same("another root than was vouched for", refusal(lambda: eve.directory.fetch("py.test")), "other root")
        log = (Path(scratch) / "beta" / "log").read_text()
        checks.same("Freehold logged no error", [line for line in log.splitlines() if " ERROR " in line], [])
    print("all held" if not checks.failed else f"{checks.failed} checks failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
