"""What becomes of what a peer says (PROTOCOL.md sections 6 to 8), for a domain without groups, files and calls."""

from __future__ import annotations

import json
import math
from typing import Any, Callable

from crypto import sha256
from envelope import Header, KeyAt, check_position, open_envelope
from names import LOCAL_PART_MAX, domain_name, domain_of_user
from record import HOUR
from refusal import Refusal
from schema import pb
from state import State

ITEMS_MAX, SIGNALS_MAX, FILES_MAX, DELETED_MAX = 1000, 128, 128, 1000
FIRST_TEXTS, FIRST_CHARACTERS = 3, 280
JSON_DEPTH_MAX = 100
INVITED = "JRPA"
MODES = set("JRWPASDO")
TO_GROUPS = {"group_message", "group_change", "group_request", "group_consent", "feed_item"}


class Later(Exception):
    """Not now (section 8.2): 140."""


def parse_json(data: bytes) -> Any:
    """Section 7.1: JSON that every reader takes, otherwise 100."""

    def number(text: str) -> float:
        if not math.isfinite(value := float(text)):
            raise ValueError(text)
        return value

    def whole(text: str) -> int:
        number(text)
        return int(text)

    def no_constant(text: str) -> None:
        raise ValueError(text)

    def check(value: Any, levels: int) -> None:
        if isinstance(value, str):
            value.encode()  # refuses half a surrogate pair
        elif isinstance(value, (dict, list)):
            if levels == 0:
                raise ValueError("too deep")
            for one in [*value, *value.values()] if isinstance(value, dict) else value:
                check(one, levels - 1)

    try:
        value = json.loads(data.decode(), parse_float=number, parse_int=whole, parse_constant=no_constant)
        check(value, JSON_DEPTH_MAX)
    except (ValueError, RecursionError):
        raise Refusal(100) from None
    return value


def check_pair(actor: str, other: str, peer: str, here: str) -> None:
    """Section 7: the acting person is of the origin (127), the other one of this domain (128)."""
    of_actor, of_other = domain_of_user(actor), domain_of_user(other)
    if of_actor != peer:
        raise Refusal(127)
    if of_other != here:
        raise Refusal(128)


def check_ids(head: Any, content: Any) -> None:
    """Section 7.1: a bare user id in `mentions`, or in a Drafty mention, is refused with 130."""
    ids = list(head["mentions"]) if isinstance(head.get("mentions"), list) else []
    entities = content.get("ent") if isinstance(content, dict) else None
    for entity in entities if isinstance(entities, list) else []:
        if isinstance(entity, dict) and entity.get("tp") == "MN" and isinstance(entity.get("data"), dict):
            ids.append(entity["data"].get("val"))
    if any(isinstance(one, str) and one.startswith("usr") and "@" not in one for one in ids):
        raise Refusal(130)


def words(content: Any) -> str:
    """The text of a message: a string, or the text of a Drafty document."""
    if isinstance(content, dict) and isinstance(content.get("txt"), str):
        return content["txt"]
    return content if isinstance(content, str) else json.dumps(content)


class Inbox:
    """Takes in what peers of `domain` say to its one person. `told(author, text)` is called for each message that is on
    disk; `agreed(domain)` when somebody there may be written to now."""

    def __init__(self, state: State, domain: str, person: str, local_part: str, public: bytes,
                 told: Callable[[str, str], None], agreed: Callable[[str], None]) -> None:
        self.state, self.domain, self.person = state, domain, person
        self.local_part, self.public = local_part, public
        self.told, self.agreed = told, agreed

    def deliver(self, peer: str, request: Any, key_at: KeyAt, now: int) -> Any:
        """Sections 8.1 and 8.2: a verdict for each item, when every effect is on disk."""
        positions = [item.position for item in request.items]
        if len(positions) > ITEMS_MAX:
            raise Refusal(102)
        if not positions or any(a >= b for a, b in zip(positions, positions[1:])):
            raise Refusal(100)
        response = pb["DeliverResponse"](decided=positions[-1])
        texts: list[tuple[str, str]] = []
        consents: list[str] = []
        waiting: set[tuple[str, str]] = set()
        opened = [self._open(peer, item, key_at, now) for item in request.items]
        with self.state.change():
            for item, one in zip(request.items, opened):
                result = response.results.add()
                try:
                    if isinstance(one, Refusal):
                        raise one
                    fresh = self._take_in(peer, *one, sha256(item.envelope.header), waiting, texts, consents)
                    getattr(result, "ok" if fresh else "duplicate").SetInParent()
                except Refusal as refusal:
                    result.refused.code = refusal.code
                except Later:
                    result.later.code, result.later.retry_after_ms = 140, HOUR
            self.state.run("INSERT OR REPLACE INTO received VALUES (?, ?, ?)",
                           peer, str(request.epoch), str(positions[-1]))
        for author, text in texts:
            self.told(author, text)
        for domain in set(consents):
            self.agreed(domain)
        return response

    def _open(self, peer: str, item: Any, key_at: KeyAt, now: int) -> tuple[Header, Any] | Refusal:
        """What can be said of an item without knowing what came before: section 6, and where it belongs."""
        try:
            if item.HasField("placed"):  # section 7.7: the entry of a group of which there is no copy here
                check_position(item.placed.position, item.placed.signature, peer, key_at)
                raise Refusal(131)
            header, payload = open_envelope(item.envelope, peer, self.domain, key_at, now)
            if (payload.WhichOneof("kind") in TO_GROUPS) != (header.domain is None):
                raise Refusal(121)
            if header.domain is None:  # section 7.7: a letter, and this is no home
                raise Refusal(132)
        except Refusal as refusal:
            return refusal
        return header, payload

    def _take_in(self, peer: str, header: Header, payload: Any, header_hash: bytes, waiting: set[tuple[str, str]],
                 texts: list[tuple[str, str]], consents: list[str]) -> bool:
        """Section 7, for one item: whether it is new. Raises `Refusal` or `Later`."""
        kind = payload.WhichOneof("kind")
        body = getattr(payload, kind)
        if kind == "direct_message":
            return self._message(header, header_hash, body, waiting, texts)
        if kind == "relation":
            check_pair(body.user, body.peer, peer, self.domain)
            self._relation(body, consents)
        elif kind == "cursor":  # section 7.4: this peer shows nobody how far others have read
            check_pair(body.reader, body.author, peer, self.domain)
        elif kind == "direct_deletion":
            self._deletion(peer, body)
        elif kind == "call_event":  # section 7.8: of a call that never was
            check_pair(body.user, body.peer, peer, self.domain)
        else:
            raise Refusal(129)
        return True

    def _message(self, header: Header, header_hash: bytes, message: Any, waiting: set[tuple[str, str]],
              texts: list[tuple[str, str]]) -> bool:
        """Sections 8.4 and 7.1: once, and the refusal it had once more."""
        known = self.state.row("SELECT hash, code FROM decided WHERE origin = ? AND id = ?",
                               header.origin, header.message_id)
        if known is not None:
            if known[0] != header_hash:
                raise Refusal(125)
            if known[1] != 0:
                raise Refusal(known[1])
            return False
        try:
            self._take(header, message, waiting, texts)
            code = 0
        except Refusal as refusal:
            code = refusal.code
        self.state.run("INSERT INTO decided VALUES (?, ?, ?, ?)", header.origin, header.message_id, header_hash, code)
        if code:
            raise Refusal(code)
        return True

    def _take(self, header: Header, message: Any, waiting: set[tuple[str, str]], texts: list[tuple[str, str]]) -> None:
        """Sections 7.1 and 7.3. Nobody is answered like somebody who has not looked at the invitation yet."""
        check_pair(message.author, message.recipient, header.origin, self.domain)
        head, content = parse_json(message.head or b"{}"), parse_json(message.content)
        if not isinstance(head, dict) or content is None or len(message.attachments) > FILES_MAX:
            raise Refusal(100)
        for file in message.attachments:
            domain_name(file.owner)
            if len(file.key) != 16 or len(file.sha256) != 32:
                raise Refusal(100)
        check_ids(head, content)
        chat = (message.recipient, message.author)
        want, taken = self._chat(*chat)
        if chat in waiting:  # section 8.4: behind one that waits
            raise Later
        if "J" not in want or "W" not in want:
            short = isinstance(content, str) and len(content) <= FIRST_CHARACTERS
            plain = short and not message.head and not message.attachments
            if not plain or taken >= FIRST_TEXTS:
                waiting.add(chat)
                raise Later
            self.state.run("UPDATE chats SET taken = taken + 1 WHERE user = ? AND other = ?", *chat)
        if message.recipient == self.person:
            self.state.run("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?)", header.origin, header.message_id,
                           message.author, message.recipient, message.head, message.content)
            texts.append((message.author, words(content)))

    def _chat(self, user: str, other: str) -> tuple[str, int]:
        """What our person wants of a chat, and how many first messages were taken. Who never stood in it is invited
        (section 7.3)."""
        self.state.run("INSERT OR IGNORE INTO chats (user, other, want) VALUES (?, ?, ?)", user, other, INVITED)
        want, taken = self.state.only("SELECT want, taken FROM chats WHERE user = ? AND other = ?", user, other)
        return want, taken

    def _relation(self, relation: Any, consents: list[str]) -> None:
        """Section 7.2: each part counts only if its version is above the one known. Section 7.3: a new W is the sign to
        offer what was kept back."""
        chat = (relation.peer, relation.user)
        self._chat(*chat)
        for part in ("want", "given"):
            version, mode = getattr(relation, part + "_version"), getattr(relation, part)
            old_mode, old_version = self.state.only(
                f"SELECT their_{part}, their_{part}_version FROM chats WHERE user = ? AND other = ?", *chat)
            if version <= int(old_version):
                continue
            if mode != "N" and (not mode or set(mode) - MODES):
                raise Refusal(100)
            self.state.run(f"UPDATE chats SET their_{part} = ?, their_{part}_version = ? WHERE user = ? AND other = ?",
                           mode, str(version), *chat)
            if part == "want" and "W" in mode and "W" not in old_mode:
                self.state.run("UPDATE outbox SET not_before = 0 WHERE chat = ?", f"{relation.peer} {relation.user}")
                consents.append(domain_of_user(relation.user))

    def _deletion(self, peer: str, deletion: Any) -> None:
        """Section 7.4.1: the author takes messages back; `decided` keeps them known."""
        check_pair(deletion.author, deletion.recipient, peer, self.domain)
        ids = deletion.message_ids
        if not 1 <= len(ids) <= DELETED_MAX or any(len(one) != 16 for one in ids):
            raise Refusal(100)
        for one in ids:
            self.state.run("DELETE FROM messages WHERE origin = ? AND id = ? AND author = ? AND recipient = ?",
                           peer, one, deletion.author, deletion.recipient)

    def signal(self, peer: str, request: Any) -> Any:
        """Section 7.5: one wrong signal refuses the call; none has an effect here."""
        if len(request.signals) > SIGNALS_MAX:
            raise Refusal(102)
        for signal in request.signals:
            if not signal.group:
                check_pair(signal.user, signal.peer, peer, self.domain)
            elif len(signal.group) != 16 or signal.peer:
                raise Refusal(100)
            elif domain_of_user(signal.user) != peer:
                raise Refusal(127)
        return pb["SignalResponse"]()

    def find(self, request: Any) -> Any:
        """Section 7.6: the one person, by local part in any case or by id."""
        query = request.WhichOneof("query")
        if query is None:
            raise Refusal(100)
        if query == "local_part":
            if len(request.local_part.encode()) > LOCAL_PART_MAX:
                raise Refusal(102)
            found = request.local_part.lower() == self.local_part
        else:
            if domain_of_user(request.user) != self.domain:
                raise Refusal(128)
            found = request.user == self.person
        if not found:
            return pb["FindResponse"]()
        return pb["FindResponse"](person={"user": self.person, "public": self.public, "public_changed_ms": 1})
