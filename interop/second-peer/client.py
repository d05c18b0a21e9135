"""A person of a Freehold domain: what the test needs of the client protocol 0.25 (JSON over WebSocket)."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import websocket

API_KEY = "AQEAAAABAAD_rAp4DJh05a1HAwFT3A6K"


class Client:
    """One session. Every wait ends after `seconds`."""

    def __init__(self, port: int, seconds: float = 10) -> None:
        self.seconds = seconds
        self.socket = websocket.create_connection(
            f"ws://127.0.0.1:{port}/v0/channels?apikey={API_KEY}", timeout=seconds)
        self.heard: list[dict[str, Any]] = []
        self.last_id = 0
        self.ask("hi", ver="0.25", ua="pypeer")

    def ask(self, what: str, **fields: Any) -> dict[str, Any]:
        """Says one thing and waits for its {ctrl}; a code above 399 is an error."""
        self.last_id += 1
        number = str(self.last_id)
        self.socket.send(json.dumps({what: {"id": number, **fields}}))
        ctrl = self.wait(lambda frame: frame.get("ctrl", {}).get("id") == number)["ctrl"]
        if ctrl["code"] >= 400:
            raise RuntimeError(f"{what}: {ctrl['code']} {ctrl.get('text')}")
        return ctrl

    def wait(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first frame that is wanted, of those that came and those to come."""
        end = time.monotonic() + self.seconds
        for frame in self.heard:
            if wanted(frame):
                self.heard.remove(frame)
                return frame
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            frame = json.loads(self.socket.recv())
            if wanted(frame):
                return frame
            self.heard.append(frame)
        raise TimeoutError("nothing of the kind came")

    def register(self, name: str, password: str) -> str:
        """Makes an account and logs in; the user id."""
        secret = base64.b64encode(f"{name}:{password}".encode()).decode()
        public = {"fn": name.capitalize()}
        made = self.ask("acc", user="new", scheme="basic", secret=secret, login=True, desc={"public": public})
        return made["params"]["user"]

    def conversations(self) -> list[str]:
        """The topics that `me` lists, with what they hold."""
        self.ask("sub", topic="me")
        self.socket.send(json.dumps({"get": {"id": "subs", "topic": "me", "what": "sub"}}))
        frame = self.wait(lambda f: f.get("meta", {}).get("id") == "subs" or f.get("ctrl", {}).get("id") == "subs")
        self.ask("leave", topic="me")
        return [one["topic"] for one in frame.get("meta", {}).get("sub", [])]

    def find(self, address: str) -> str | None:
        """Somebody by their address; their user id."""
        self.ask("sub", topic="fnd")
        self.ask("set", topic="fnd", desc={"public": address})
        self.socket.send(json.dumps({"get": {"id": "found", "topic": "fnd", "what": "sub"}}))
        frame = self.wait(lambda f: f.get("meta", {}).get("id") == "found" or f.get("ctrl", {}).get("id") == "found")
        self.ask("leave", topic="fnd")
        return next((one.get("user") or one.get("topic") for one in frame.get("meta", {}).get("sub", [])), None)

    def open(self, topic: str) -> None:
        """Begins a conversation, or comes back to one."""
        self.ask("sub", topic=topic)

    def accept(self, topic: str) -> None:
        """Consents to a conversation: wants W too. What was written is asked for."""
        self.ask("sub", topic=topic, set={"sub": {"mode": "JRWPA"}}, get={"what": "data"})

    def write(self, topic: str, text: str) -> None:
        """Says something in a conversation."""
        self.ask("pub", topic=topic, content=text)

    def hear(self, topic: str) -> tuple[str, str]:
        """The next message of a conversation that this session did not hear yet: author and content."""
        data = self.wait(lambda f: f.get("data", {}).get("topic") == topic)["data"]
        return data["from"], data["content"]

    def close(self) -> None:
        """Hangs up."""
        self.socket.close()
