"""Names, ids and addresses (PROTOCOL.md section 2)."""

from __future__ import annotations

import base64
import binascii
import re

from refusal import Refusal

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
LOCAL_PART_MAX = 96


def domain_name(text: str) -> str:
    """Section 2.1: the name as it is if it is canonical, otherwise 103. Nothing is put right."""
    labels = text.split(".")
    good = len(text) <= 253 and len(labels) >= 2 and all(LABEL.fullmatch(label) for label in labels)
    if not good or labels[-1].isdigit():
        raise Refusal(103)
    return text


def base64url(data: bytes) -> str:
    """Section 1: without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str, size: int) -> bytes:
    """Section 1: `size` bytes in their one spelling, otherwise 100."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, binascii.Error):
        raise Refusal(100) from None
    if len(data) != size or base64url(data) != text:
        raise Refusal(100)
    return data


def domain_of_user(user: str) -> str:
    """Section 2.2: the domain of a global user id; 100 if it is none, 103 for its domain."""
    local, at, domain = user.partition("@")
    if not at or not local.startswith("usr"):
        raise Refusal(100)
    from_base64url(local[3:], 8)
    return domain_name(domain)


def address(text: str) -> tuple[str, str]:
    """Section 2.2: `local@domain` as a person types it. Only the domain is lower-cased, as ASCII."""
    local, at, domain = text.partition("@")
    if not at or not 1 <= len(local.encode()) <= LOCAL_PART_MAX:
        raise Refusal(100)
    if any(c.isspace() or c in '@,:"' or ord(c) < 32 or 127 <= ord(c) < 160 for c in local):
        raise Refusal(100)
    return local, domain_name("".join(c.lower() if c.isascii() else c for c in domain))
