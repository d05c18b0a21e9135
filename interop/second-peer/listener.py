"""The side of a domain to which others connect (PROTOCOL.md sections 4.4, 5.1 and 5.3)."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import record as records
from directory import now_ms
from link import ALPN_PEER, ALPN_RECORD, CALL_SECONDS, Answerer, LinkBroken, TlsStream, tls_context
from names import domain_name
from refusal import Refusal
from schema import decode, pb

if TYPE_CHECKING:
    from peer import Domain

HELLOS_MAX, DOMAINS_MAX, CONNECTIONS_MAX = 100, 64, 64
GREETING_SECONDS, IDLE_SECONDS, RECORD_SECONDS = 5.0, 300.0, 10.0
CALLS = ("Deliver", "Signal", "Find", "ReadGroup", "ReadFile")


class Session:
    """One connection of somebody else, from its first hello on."""

    def __init__(self, domain: Domain, stream: TlsStream, tls_key_hash: bytes) -> None:
        self.domain = domain
        self.exporter, self.tls_key_hash = stream.exporter(), tls_key_hash
        self.hellos = 0
        self.peers: set[str] = set()

    def patience(self) -> float:
        """Section 5.4: how long the next call may take to come."""
        return IDLE_SECONDS if self.peers else GREETING_SECONDS

    def over(self) -> bool:
        """Section 5.3, step 1: too many hellos close the connection."""
        return self.hellos > HELLOS_MAX

    def answer(self, method: str, data: bytes) -> Any:
        """Sections 5.2 and 5.5: the answer to a call, none to one that does not exist."""
        if method == "Hello":
            return self.hello(decode("HelloRequest", data))
        if not self.peers:
            raise Refusal(110)
        if method not in CALLS:
            return None
        request = decode(method + "Request", data)
        peer, to = domain_name(getattr(request, "from")), domain_name(request.to)
        if peer not in self.peers:
            raise Refusal(120)
        if to != self.domain.name:
            raise Refusal(121)
        inbox = self.domain.inbox
        if method == "Deliver":  # one batch at a time for each origin: one for all of them, by the lock of the state
            return inbox.deliver(peer, request, self.domain.directory.keys(peer), now_ms())
        if method == "Signal":
            return inbox.signal(peer, request)
        if method == "Find":
            return inbox.find(request)
        # Sections 7.7 and 7.9: no group to show and no file to give is an answer without any part.
        return pb["ReadGroupResponse"]() if method == "ReadGroup" else b""

    def hello(self, request: Any) -> Any:
        """Section 5.3: accepted or refused, which is an answer too."""
        self.hellos += 1
        try:
            peer = self.check(request)
        except Refusal as refusal:
            return pb["HelloResponse"](refused={"code": refusal.code})
        self.peers.add(peer)
        return pb["HelloResponse"](accepted={"version": records.VERSION, "received": self.domain.received(peer),
                                             **self.domain.prove(self.exporter, True, peer)})

    def check(self, request: Any) -> str:
        """The six steps of an acceptor, in their order. The domain that is proven."""
        if self.over():
            raise Refusal(151)
        if request.version != records.VERSION:
            raise Refusal(101)
        peer, to = domain_name(getattr(request, "from")), domain_name(request.to)
        if len(request.key_id) != 16 or len(request.record_hash) != 32:
            raise Refusal(100)
        if to != self.domain.name:
            raise Refusal(111)
        if peer == self.domain.name:
            raise Refusal(112)
        record = self.domain.directory.for_hello(peer, request.record_hash)
        if self.tls_key_hash not in record.body.tls_key_hashes:
            raise Refusal(113)
        if not self.domain.proven(self.exporter, False, peer, record, request):
            raise Refusal(112)
        if len(self.peers | {peer}) > DOMAINS_MAX:
            raise Refusal(151)
        return peer


class Listener:
    """Serves the record and takes calls: one thread for each connection."""

    def __init__(self, domain: Domain, address: tuple[str, int]) -> None:
        self.domain = domain
        self.lock = threading.Lock()
        self.open: set[socket.socket] = set()
        self.context = tls_context([ALPN_PEER, ALPN_RECORD], domain.tls, domain.name, True, None)
        self.socket = socket.create_server(address)
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.socket.accept()
            except OSError:
                return
            with self.lock:
                full = len(self.open) >= CONNECTIONS_MAX
                if not full:
                    self.open.add(sock)
            if full:
                sock.close()
            else:
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            stream = TlsStream(sock, self.context)
            tls_key_hash, alpn = stream.peer_key_hash(), stream.tls.get_alpn_proto_negotiated()
            if alpn == ALPN_RECORD:
                stream.write(self.domain.signed_record(), time.monotonic() + RECORD_SECONDS)
                stream.close()
            elif alpn == ALPN_PEER and tls_key_hash is not None:
                session = Session(self.domain, stream, tls_key_hash)
                answerer = Answerer(stream)
                answerer.run(session.answer, session.patience, session.over)
                answerer.flush(time.monotonic() + CALL_SECONDS)
                answerer.close()
        except LinkBroken:
            pass
        finally:
            sock.close()
            with self.lock:
                self.open.discard(sock)

    def close(self) -> None:
        """Stops listening and ends all connections."""
        with self.lock:
            for sock in (self.socket, *self.open):
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        self.socket.close()
        self.thread.join(2)
