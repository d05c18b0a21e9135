"""Plays the test vectors: every good one must be taken, every bad one refused with the expected refusal."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, Callable

import crypto
import envelope as layouts
import record
from names import address, domain_name, domain_of_user
from record import NotBelieved
from refusal import Refusal
from schema import pb

Outcome = str | int | bool


def outcome(judge: Callable[[], Any]) -> Outcome:
    """What became of a case: "ok", the number of a refusal, or why a record is not believed."""
    try:
        judge()
    except Refusal as refusal:
        return refusal.code
    except NotBelieved as reason:
        return str(reason)
    return "ok"


def key_at(listed: dict[str, Any]) -> layouts.KeyAt:
    """The one signing key that a file of vectors lists."""

    def find(key_id: bytes, at: int) -> bytes | None:
        good = key_id.hex() == listed["key_id"] and listed["valid_from_ms"] <= at < listed["valid_until_ms"]
        return bytes.fromhex(listed["public_key"]) if good else None

    return find


def sealed(case: dict[str, str]) -> Any:
    """The envelope of a case."""
    names = ("header", "signature", "salt", "payload")
    return pb["Envelope"](**{name: bytes.fromhex(case[name]) for name in names})


def judge_envelope(file: Any, case: Any) -> Outcome:
    """Section 6."""
    find = key_at(file["record"]["signing_key"])
    origin = file["record"]["domain"]
    return outcome(lambda: layouts.open_envelope(sealed(case), origin, "beta.test", find, file["now_ms"]))


def judge_hello(file: Any, case: Any, acceptor: bool = False) -> Outcome:
    """Section 5.3, step 5, or what the initiator checks in the same way."""
    key = file["record"]["signing_key"]
    exporter, record_hash = bytes.fromhex(file["exporter"]), bytes.fromhex(file["record_hash"])
    signed = layouts.hello(exporter, acceptor, file["from"], file["to"], bytes.fromhex(key["key_id"]), record_hash)
    if not acceptor and crypto.HELLO + signed != bytes.fromhex(file["signed"]):
        return "other bytes are signed"
    if case["tls_key_hash"] != file["record"]["tls_key_hash"]:
        return 113
    public = bytes.fromhex(key["public_key"])
    return "ok" if crypto.holds(public, crypto.HELLO, signed, bytes.fromhex(case["signature"])) else 112


def judge_record(file: Any, case: Any) -> Outcome:
    """Section 3."""
    signed, anchor = bytes.fromhex(case["signed"]), bytes.fromhex(file["anchor"])
    return outcome(lambda: record.believe(signed, file["domain"], anchor, file["now_ms"]))


def judge_position(file: Any, case: Any) -> Outcome:
    """Section 7.7."""
    position, signature = bytes.fromhex(case["position"]), bytes.fromhex(case["signature"])
    home, find = file["record"]["domain"], key_at(file["record"]["signing_key"])
    return outcome(lambda: layouts.check_position(position, signature, home, find))


def judge_entry(file: Any, case: Any) -> Outcome:
    """Section 7.7."""
    home, author = file["home"], file["author"]
    position, signature = bytes.fromhex(case["position"]), bytes.fromhex(case["position_signature"])
    placed = layouts.check_position(position, signature, home["domain"], key_at(home["signing_key"]))

    def judge() -> Any:
        # Whose words they are the header says; the home's own are judged by the home's record.
        said = sealed(case)
        origin = home if layouts.check_forms(said).origin == home["domain"] else author
        return layouts.check_entry(said, placed, origin["domain"], key_at(origin["signing_key"]))

    return outcome(judge)


def judge_signature(_: Any, case: Any) -> Outcome:
    """Section 4.2."""
    public, context, signed, signature = (
        bytes.fromhex(case[name]) for name in ("public_key", "context", "bytes", "signature"))
    return crypto.holds(public, context, signed, signature)


FILES: dict[str, tuple[str, Callable[[Any, Any], Outcome]]] = {
    "envelope": ("envelopes", judge_envelope),
    "hello": ("hellos", judge_hello),
    "record": ("records", judge_record),
    "position": ("positions", judge_position),
    "entry": ("entries", judge_entry),
    "signature": ("signatures", judge_signature),
    "signature_rules": ("signatures", judge_signature),
}
TEXTS: dict[str, Callable[[str], Any]] = {
    "domain_names": domain_name, "user_ids": domain_of_user, "addresses": address}


def play(folder: Path) -> bool:
    """All files, one line of output for each; whether all cases came out as expected."""
    all_good = True

    def tell(name: str, results: list[tuple[str, Outcome, Outcome]]) -> None:
        nonlocal all_good
        wrong = [result for result in results if result[1] != result[2]]
        taken = sum(expected in ("ok", True) for _, expected, _ in results)
        print(f"{name}: {len(results)} cases, {taken} to take, {len(results) - taken} to refuse, {len(wrong)} wrong")
        for comment, expected, got in wrong:
            print(f"  {comment}: expected {expected!r}, got {got!r}")
        all_good = all_good and bool(results) and not wrong

    def play_file(path: Path, cases: str, judge: Callable[[Any, Any], Outcome]) -> None:
        file = json.loads(path.read_text())
        tell(path.name, [(case["comment"], case["expect"], judge(file, case)) for case in file[cases]])

    for name, (cases, judge) in FILES.items():
        play_file(folder / f"{name}.json", cases, judge)
    play_file(folder / "hello.json", "answers", functools.partial(judge_hello, acceptor=True))
    for name, parse in TEXTS.items():
        for kind, expected in (("valid", "ok"), ("invalid", "refused")):
            text = (folder / f"{name}_{kind}.txt").read_text()
            lines = [line for line in text.split("\n") if line and not line.startswith("#")]
            got = ["ok" if outcome(functools.partial(parse, line)) == "ok" else "refused" for line in lines]
            tell(f"{name}_{kind}.txt", [(repr(line), expected, one) for line, one in zip(lines, got)])
    played = {f"{name}.json" for name in FILES}
    for path in sorted(folder.glob("*.json")):
        if path.name not in played:
            print(f"{path.name}: NOT PLAYED: this peer is no home of groups, and announces nothing")
    return all_good
