"""Numbered refusals."""

from __future__ import annotations


class Refusal(Exception):
    """Something of another domain that is refused, or of ours by another, with its number in the table of PROTOCOL.md
    section 9, and in the latter case with the other one's words."""

    def __init__(self, code: int, text: str = "") -> None:
        super().__init__(f"{code} {printable(text)}")
        self.code = code


def printable(text: str) -> str:
    """What somebody else wrote, without what a terminal would obey."""
    return "".join(one if one.isprintable() else " " for one in text)
