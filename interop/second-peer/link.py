"""Connections between domains: TLS 1.3 (PROTOCOL.md sections 4.4 and 5.1), HTTP/2 and gRPC (5.2, 5.5).

A connection belongs to the one thread that made it. Every wait has an end.
"""

from __future__ import annotations

import socket
import sqlite3
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Callable

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL

from crypto import Key, sha256
from record import RECORD_MAX
from refusal import Refusal
from schema import decode

ALPN_PEER, ALPN_RECORD = b"freehold-peer/1", b"freehold-record/1"
EXPORTER_LABEL = b"EXPORTER-freehold-hello-v1"
SERVICE = "/freehold.peer.v1.Peer/"
FRAME_MAX, HELLO_MAX = 1048576, 16384
HEADERS_MAX, CALLS_AT_ONCE, RESETS_MAX = 16384, 8, 32
CONNECT_SECONDS, CALL_SECONDS = 10.0, 30.0
# What answers a call, by its method and the bytes of the request: a message, none for a method that does not exist, or
# no bytes for a stream without any message. May raise `Refusal`.
Answer = Callable[[str, bytes], Any]
OK, UNIMPLEMENTED, FAILED_PRECONDITION, UNAVAILABLE = 0, 12, 9, 14


class LinkBroken(Exception):
    """The connection is of no use any more; what was asked may have been done or not."""


class CallFailed(Exception):
    """The peer answered a call with a gRPC status that is no refusal."""


def tls_context(alpn: list[bytes], key: Key | None, name: str, server: bool, pinned: set[bytes] | None) -> SSL.Context:
    """Section 5.1: TLS 1.3 only. Of a certificate only the key counts: with `pinned`, its hash must stand there, or
    the handshake ends. pyOpenSSL cannot keep OpenSSL from sending tickets; no session is kept that one would resume."""

    def judge(_: Any, certificate: Any, __: int, depth: int, ___: int) -> bool:
        return depth > 0 or pinned is None or spki_hash(certificate.to_cryptography()) in pinned

    context = SSL.Context(SSL.TLS_SERVER_METHOD if server else SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(SSL.OP_NO_TICKET)
    context.set_verify(SSL.VERIFY_PEER, judge)
    if key is not None:
        context.use_certificate(key.certificate(name))
        context.use_privatekey(key.private)
    if server:
        context.set_alpn_select_callback(
            lambda _, offered: next((one for one in alpn if one in offered), SSL.NO_OVERLAPPING_PROTOCOLS))
    else:
        context.set_alpn_protos(alpn)
    return context


def spki_hash(certificate: Any) -> bytes:
    """H(SubjectPublicKeyInfo) of a certificate (section 3)."""
    return sha256(certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


class TlsStream:
    """TLS over a socket, with a deadline for each step."""

    def __init__(self, sock: socket.socket, context: SSL.Context, server_name: str | None = None,
                 seconds: float = CONNECT_SECONDS) -> None:
        """Does the handshake: as the initiator with the name of the domain that is wanted (SNI), or as the acceptor."""
        self.sock = sock
        self.tls = SSL.Connection(context, None)
        if server_name is None:
            self.tls.set_accept_state()
        else:
            self.tls.set_tlsext_host_name(server_name.encode())
            self.tls.set_connect_state()
        deadline = time.monotonic() + seconds
        while (done := self._step(self.tls.do_handshake, deadline)) is None:
            pass
        if not done:
            raise LinkBroken("closed by the other side")
        self._flush(deadline)

    def _step(self, action: Callable[[], Any], deadline: float) -> Any:
        """One try of something that may want bytes first: None if it did, empty at the end of what the other side says.
        Raises `LinkBroken`."""
        try:
            return action() or True
        except SSL.WantReadError:
            self._flush(deadline)
            if not (data := self._receive(deadline)):
                raise LinkBroken("closed by the other side") from None
            self.tls.bio_write(data)
            return None
        except SSL.ZeroReturnError:
            return b""
        except SSL.Error as error:
            self._flush(deadline)  # the alert, so that the other side learns why
            raise LinkBroken(f"TLS: {error}") from None

    def _wait_until(self, deadline: float) -> None:
        if (left := deadline - time.monotonic()) <= 0:
            raise LinkBroken("timed out")
        self.sock.settimeout(left)

    def _receive(self, deadline: float) -> bytes:
        self._wait_until(deadline)
        try:
            return self.sock.recv(65536)
        except OSError as error:
            raise LinkBroken(str(error)) from None

    def _flush(self, deadline: float) -> None:
        try:
            while True:
                data = self.tls.bio_read(65536)
                self._wait_until(deadline)
                self.sock.sendall(data)
        except SSL.WantReadError:
            pass
        except OSError as error:
            raise LinkBroken(str(error)) from None

    def read(self, deadline: float) -> bytes:
        """What comes next; nothing at the end."""
        while (data := self._step(lambda: self.tls.recv(65536), deadline)) is None:
            pass
        return data

    def write(self, data: bytes, deadline: float) -> None:
        """Sends all of it."""
        while data:
            data = data[self.tls.send(data[:16384]) :]
            self._flush(deadline)

    def exporter(self) -> bytes:
        """Section 5.1."""
        return self.tls.export_keying_material(EXPORTER_LABEL, 32)

    def peer_key_hash(self) -> bytes | None:
        """H(SubjectPublicKeyInfo) of the other side's Ed25519 key; none if it showed no certificate, or another key."""
        certificate = self.tls.get_peer_certificate(as_cryptography=True)
        if certificate is None or not isinstance(certificate.public_key(), Ed25519PublicKey):
            return None
        return spki_hash(certificate)

    def close(self) -> None:
        """Says that this is the end, and hangs up."""
        try:
            self.tls.shutdown()
            self._flush(time.monotonic() + 1)
        except (SSL.Error, LinkBroken):
            pass
        self.sock.close()


def connect(address: tuple[str, int], context: SSL.Context, domain: str,
            seconds: float = CONNECT_SECONDS) -> TlsStream:
    """TCP and TLS to a domain."""
    try:
        sock = socket.create_connection(address, seconds)
    except OSError as error:
        raise LinkBroken(f"{address[0]}:{address[1]}: {error}") from None
    try:
        return TlsStream(sock, context, domain, seconds)
    except BaseException:
        sock.close()
        raise


def fetch_record(address: tuple[str, int], domain: str, seconds: float = CONNECT_SECONDS) -> bytes:
    """Section 4.4: the encoded `SignedRecord` that is served there. It certifies itself."""
    end = time.monotonic() + seconds
    stream = connect(address, tls_context([ALPN_RECORD], None, domain, False, None), domain, seconds)
    try:
        if stream.tls.get_alpn_proto_negotiated() != ALPN_RECORD:
            raise LinkBroken("does not serve records")
        data = b""
        while len(data) <= RECORD_MAX and (piece := stream.read(end)):
            data += piece
        return data
    finally:
        stream.close()


def framed(message: bytes) -> bytes:
    """A gRPC message: not compressed, its length, its bytes."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def unframed(data: bytes) -> bytes:
    """The one message of a unary call, or 100."""
    if len(data) < 5 or data[0] != 0 or len(data) - 5 != int.from_bytes(data[1:5], "big"):
        raise Refusal(100)
    return data[5:]


@dataclass
class Stream:
    """One call: what has come, and what is still to be sent."""

    headers: dict[str, str] = field(default_factory=dict)
    data: bytes = b""
    out: bytes = b""
    trailers: list[tuple[str, str]] | None = None
    ended: bool = False


class Http2:
    """What the two sides of an HTTP/2 connection have in common: events in, bytes out as the windows allow."""

    def __init__(self, tls: TlsStream, client: bool) -> None:
        self.tls = tls
        self.streams: dict[int, Stream] = {}
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=client, header_encoding="utf-8"))
        codes = h2.settings.SettingCodes
        limits = {codes.MAX_HEADER_LIST_SIZE: HEADERS_MAX}
        limits |= {codes.ENABLE_PUSH: 0} if client else {codes.MAX_CONCURRENT_STREAMS: CALLS_AT_ONCE}
        self.h2.local_settings = h2.settings.Settings(client, limits)
        self.h2.initiate_connection()

    def flush(self, deadline: float) -> None:
        """Sends what the peer's windows allow."""
        for number, stream in list(self.streams.items()):
            while stream.out and (room := self.h2.local_flow_control_window(number)) > 0:
                size = min(room, self.h2.max_outbound_frame_size)
                piece, stream.out = stream.out[:size], stream.out[size:]
                self.h2.send_data(number, piece, end_stream=not stream.out and stream.trailers is None)
            if not stream.out and stream.trailers is not None:
                self.h2.send_headers(number, stream.trailers, end_stream=True)
                del self.streams[number]
        self.tls.write(self.h2.data_to_send(), deadline)

    def turn(self, deadline: float) -> list[Stream | int]:
        """Reads once. Answers with the streams that have ended, and the numbers of those that were reset."""
        self.flush(deadline)
        if not (data := self.tls.read(deadline)):
            raise LinkBroken("closed by the other side")
        finished: list[Stream | int] = []
        try:
            for event in self.h2.receive_data(data):
                number: int = getattr(event, "stream_id", None) or 0
                if isinstance(event, h2.events.ConnectionTerminated):
                    raise LinkBroken(f"closed by the other side, {event.error_code}")
                if isinstance(event, h2.events.RequestReceived):
                    self.streams[number] = Stream()
                stream = self.streams.get(number)
                if isinstance(event, h2.events.DataReceived):
                    self.h2.acknowledge_received_data(event.flow_controlled_length, number)
                    if stream is not None and len(stream.data) <= FRAME_MAX + 5:
                        stream.data += event.data
                elif stream is None:
                    continue
                elif isinstance(event, h2.events.StreamReset):
                    del self.streams[number]
                    if not stream.ended:  # an answer may come before all of the question was read
                        finished.append(number)
                elif isinstance(event, h2.events.StreamEnded):
                    stream.ended = True
                    finished.append(stream)
                elif hasattr(event, "headers"):
                    stream.headers |= dict(event.headers)
        except h2.exceptions.ProtocolError as error:
            self.tls.write(self.h2.data_to_send(), deadline)
            raise LinkBroken(f"HTTP/2: {error}") from None
        return finished

    def close(self) -> None:
        """Says goodbye."""
        try:
            self.h2.close_connection()
            self.tls.write(self.h2.data_to_send(), time.monotonic() + 1)
        except (LinkBroken, h2.exceptions.ProtocolError, SSL.Error):
            pass
        self.tls.close()


class Caller(Http2):
    """The initiator's side: one call at a time."""

    def __init__(self, tls: TlsStream, domain: str) -> None:
        super().__init__(tls, client=True)
        self.domain = domain

    def call(self, method: str, request: Any, answer: str) -> Any:
        """Section 5.2. Raises `Refusal` (5.5), `CallFailed` or `LinkBroken`."""
        deadline = time.monotonic() + CALL_SECONDS
        headers = [(":method", "POST"), (":scheme", "https"), (":authority", self.domain), (":path", SERVICE + method),
                   ("te", "trailers"), ("content-type", "application/grpc")]
        try:
            number = self.h2.get_next_available_stream_id()
            self.h2.send_headers(number, headers)
        except h2.exceptions.ProtocolError as error:
            raise LinkBroken(f"HTTP/2: {error}") from None
        stream = self.streams[number] = Stream(out=framed(request.SerializeToString()))
        while not stream.ended:
            if number in self.turn(deadline):
                raise LinkBroken("the call was reset")
        self.streams.pop(number, None)
        status, refusal = stream.headers.get("grpc-status"), stream.headers.get("freehold-refusal", "")
        if status == str(OK):
            return decode(answer, unframed(stream.data))
        if status == str(FAILED_PRECONDITION) and refusal.isascii() and refusal.isdigit():
            raise Refusal(int(refusal))
        raise CallFailed(f"gRPC status {status}: {stream.headers.get('grpc-message', '')}")


class Answerer(Http2):
    """The acceptor's side."""

    def __init__(self, tls: TlsStream) -> None:
        super().__init__(tls, client=False)

    def run(self, answer: Answer, patience: Callable[[], float], over: Callable[[], bool]) -> None:
        """Answers calls until the connection ends, it is `over`, or a call comes before a hello. `patience` is how many
        seconds the next one may take."""
        now, resets = time.monotonic(), 0
        while resets <= RESETS_MAX and not over():
            for finished in self.turn(now + patience()):
                now = time.monotonic()
                if isinstance(finished, int):
                    resets += 1
                elif not self._reply(finished, answer):
                    return

    def _reply(self, stream: Stream, answer: Answer) -> bool:
        """Answers one call; whether the connection stays."""
        number = next(number for number, one in self.streams.items() if one is stream)
        method = stream.headers.get(":path", "").removeprefix(SERVICE)
        start = [(":status", "200"), ("content-type", "application/grpc")]
        try:
            if len(stream.data) > (HELLO_MAX if method == "Hello" else FRAME_MAX) + 5:
                raise Refusal(102)
            if (message := answer(method, unframed(stream.data))) is None:
                stream.trailers = [*start, ("grpc-status", str(UNIMPLEMENTED))]
                return True
            self.h2.send_headers(number, start)
            # No message at all is how ReadFile says that there is no such file.
            stream.out = b"" if message == b"" else framed(message.SerializeToString())
            stream.trailers = [("grpc-status", str(OK))]
        except Refusal as refusal:
            stream.trailers = [*start, ("grpc-status", str(FAILED_PRECONDITION)), ("grpc-message", "refused"),
                               ("freehold-refusal", str(refusal.code))]
            return refusal.code != 110
        except (OSError, sqlite3.Error) as error:  # section 5.5: our own fault
            print(f"{method}: {error}", file=sys.stderr)
            stream.trailers = [*start, ("grpc-status", str(UNAVAILABLE))]
        return True
