"""What a domain remembers, in one SQLite file. What is committed is on disk, before anything is answered (8.2)."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TABLES = """
CREATE TABLE IF NOT EXISTS own (name TEXT PRIMARY KEY, value BLOB);
-- Section 4.3: the last record that was believed.
CREATE TABLE IF NOT EXISTS pins (domain TEXT PRIMARY KEY, signed BLOB);
-- Section 8.4: messages that were decided; `code` is 0 for ok.
CREATE TABLE IF NOT EXISTS decided (origin TEXT, id BLOB, hash BLOB, code INTEGER, PRIMARY KEY (origin, id));
-- Section 8.1: how far each peer's stream was decided. Numbers as text: they have 64 bits.
CREATE TABLE IF NOT EXISTS received (origin TEXT PRIMARY KEY, epoch TEXT, position TEXT);
-- Section 8.1: our stream to each peer, and what waits in it. `chat` is empty for what waits alone.
CREATE TABLE IF NOT EXISTS streams (domain TEXT PRIMARY KEY, epoch INTEGER, next INTEGER);
CREATE TABLE IF NOT EXISTS outbox (domain TEXT, position INTEGER, envelope BLOB, chat TEXT, not_before INTEGER,
    PRIMARY KEY (domain, position));
-- Section 7.2: how `user`, who is ours, and `other` stand; `their_` is what the other domain said. `taken`: messages
-- taken before consent (section 7.3).
CREATE TABLE IF NOT EXISTS chats (user TEXT, other TEXT, want TEXT,
    announced INTEGER DEFAULT 0, taken INTEGER DEFAULT 0,
    their_want TEXT DEFAULT '', their_want_version TEXT DEFAULT '0',
    their_given TEXT DEFAULT '', their_given_version TEXT DEFAULT '0', PRIMARY KEY (user, other));
CREATE TABLE IF NOT EXISTS messages (origin TEXT, id BLOB, author TEXT, recipient TEXT, head BLOB, content BLOB,
    PRIMARY KEY (origin, id));
"""


class State:
    """The file, for any number of threads: one at a time."""

    def __init__(self, path: Path) -> None:
        self.lock = threading.RLock()
        self.db = sqlite3.connect(path, check_same_thread=False, timeout=10)
        path.chmod(0o600)
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.executescript(TABLES)

    @contextlib.contextmanager
    def change(self) -> Iterator[None]:
        """All writes inside are on disk together behind it, or none are."""
        with self.lock, self.db:
            yield

    def run(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows that a statement gives."""
        with self.lock:
            return self.db.execute(sql, values).fetchall()

    def row(self, sql: str, *values: Any) -> tuple[Any, ...] | None:
        """The first row, if there is one."""
        return next(iter(self.run(sql, *values)), None)

    def only(self, sql: str, *values: Any) -> tuple[Any, ...]:
        """The one row that there must be."""
        (row,) = self.run(sql, *values)
        return row

    def close(self) -> None:
        """Closes the file."""
        with self.lock:
            self.db.close()
