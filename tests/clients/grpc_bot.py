"""Two clients with the stock gRPC stubs for Python: a person, and a bot that answers messages.

    python grpc_bot.py FILE     FILE holds the line printed by `freehold demo --json`

Prints `ok` or `not ok` for each scene; the exit code is 1 when anything was not ok. A scene that fails
ends the play, since those after it build upon it.
"""

import json
import queue
import sys
import threading
import time

import grpc
from tinode_grpc import pb, pbx

WITHIN = 6.0
# From before 0.25; what an old client says of itself must do.
VERSION = "0.22.3"


class Client:
    """One session. Requests are answered in turn; whatever else comes is kept until somebody waits for it."""

    def __init__(self, address, agent):
        self.agent = agent
        self.said = queue.Queue()
        self.heard = queue.Queue()
        self.kept = []
        self.number = 0
        self.channel = grpc.insecure_channel(address)
        self.stream = pbx.NodeStub(self.channel).MessageLoop(iter(self.said.get, None))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        try:
            for message in self.stream:
                self.heard.put(message)
        except grpc.RpcError:
            pass
        self.heard.put(None)

    def send(self, **message):
        self.said.put(pb.ClientMsg(**message))

    def wait(self, awaited, fits):
        """The first message that fits, among those kept and those to come."""
        for message in self.kept:
            if fits(message):
                self.kept.remove(message)
                return message
        end = time.monotonic() + WITHIN
        while True:
            try:
                message = self.heard.get(timeout=max(0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"waited in vain for {awaited}") from None
            if message is None:
                raise AssertionError(f"the stream ended before {awaited}")
            if fits(message):
                return message
            self.kept.append(message)

    def ask(self, kind, request, code):
        """Sends a request and expects its answer to have this code."""
        self.number += 1
        request.id = str(self.number)
        self.send(**{kind: request})
        answer = self.wait(f"the answer to {kind}", lambda it: it.ctrl.id == request.id).ctrl
        expect(answer.code, code, f"the code of the answer to {kind}")
        return answer

    def greet(self):
        hi = pb.ClientHi(ver=VERSION, user_agent=self.agent, lang="en", platform="web")
        return self.ask("hi", hi, 201)

    def log_in(self, login, password):
        secret = f"{login}:{password}".encode()
        answer = self.ask("login", pb.ClientLogin(scheme="basic", secret=secret), 200)
        return json.loads(answer.params["user"])

    def register(self, login, name):
        acc = pb.ClientAcc(
            user_id="new", scheme="basic", secret=f"{login}:a long secret".encode(), login=True,
            desc=pb.SetDesc(public=as_json({"fn": name})))
        return json.loads(self.ask("acc", acc, 200).params["user"])

    def attach(self, topic, **more):
        return self.ask("sub", pb.ClientSub(topic=topic, **more), 200)

    def publish(self, topic, content, **head):
        request = pb.ClientPub(
            topic=topic, content=as_json(content), no_echo=True,
            head={key: as_json(value) for key, value in head.items()})
        return json.loads(self.ask("pub", request, 202).params["seq"])

    def hear(self, topic, content):
        wanted = as_json(content)
        return self.wait(f"{content!r}", lambda it: it.data.topic == topic and it.data.content == wanted).data

    def page(self, topic, **options):
        """A page of messages, newest first."""
        self.number += 1
        asked = str(self.number)
        query = pb.GetQuery(what="data", data=pb.GetOpts(**options))
        self.send(get=pb.ClientGet(id=asked, topic=topic, query=query))
        page = []
        while True:
            message = self.wait("a page", lambda it: it.data.topic == topic or it.ctrl.id == asked)
            if message.HasField("ctrl"):
                return page, message.ctrl
            page.append(json.loads(message.data.content))

    def hang_up(self):
        self.said.put(None)
        self.channel.close()


class Bot(threading.Thread):
    """An ordinary client that listens on `me`, and answers what it is told."""

    def __init__(self, client):
        super().__init__(daemon=True)
        self.client = client

    def run(self):
        bot = self.client
        while True:
            told = bot.wait("a message for the bot", lambda it: it.pres.what == pb.ServerPres.MSG).pres
            bot.attach(told.src, get_query=pb.GetQuery(what="data", data=pb.GetOpts(limit=1)))
            text = json.loads(bot.wait("the message", lambda it: it.data.topic == told.src).data.content)
            bot.publish(told.src, f"You said: {text}", auto=True)
            bot.ask("leave", pb.ClientLeave(topic=told.src), 200)


def as_json(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def expect(seen, wanted, what):
    assert seen == wanted, f"{what}: expected {wanted!r}, got {seen!r}"


def main():
    with open(sys.argv[1], encoding="utf-8") as line:
        alpha = json.load(line)["domains"][0]
    resident = alpha["users"][0]
    ann, bot = Client(alpha["grpc"], "person/1"), Client(alpha["grpc"], "bot/1")
    state = {}

    def greeting():
        params = ann.greet().params
        expect(json.loads(params["ver"]), "0.25", "the protocol version")
        expect(type(json.loads(params["maxMessageSize"])), int, "the type of maxMessageSize")
        bot.greet()

    def entering():
        ann.ask("sub", pb.ClientSub(topic="me"), 401)
        ann.ask("login", pb.ClientLogin(scheme="basic", secret=b"nobody:nothing"), 401)
        state["ann"] = ann.log_in(resident["login"], resident["password"])
        state["bot"] = bot.register(f"bot{time.time_ns() // 1000}", "Echo")

    def myself():
        ann.attach("me", get_query=pb.GetQuery(what="desc sub"))
        desc = ann.wait("a description", lambda it: it.meta.HasField("desc")).meta.desc
        assert json.loads(desc.public)["fn"], desc
        assert desc.created_at > 1_500_000_000_000, desc
        bot.attach("me")

    def answering():
        Bot(bot).start()
        answer = ann.attach(state["bot"])
        assert "want" in json.loads(answer.params["acs"]), answer
        ann.publish(state["bot"], "Здравствуй")
        heard = ann.hear(state["bot"], "You said: Здравствуй")
        expect((heard.from_user_id, heard.seq_id), (state["bot"], 2), "author and number")
        expect(json.loads(heard.head["auto"]), True, "the mark of a bot")

    def noting():
        note = pb.ClientNote(topic=state["bot"], what=pb.READ, seq_id=2)
        ann.send(note=note)
        ann.ask("get", pb.ClientGet(topic=state["bot"], query=pb.GetQuery(what="aux")), 204)
        ann.number += 1
        asked = str(ann.number)
        ann.send(get=pb.ClientGet(id=asked, topic=state["bot"], query=pb.GetQuery(what="desc")))
        desc = ann.wait("the description", lambda it: it.meta.id == asked).meta.desc
        expect((desc.seq_id, desc.read_id), (2, 2), "last and read")

    def group():
        desc = pb.SetDesc(public=as_json({"fn": "A group"}), private=as_json({"comment": "mine"}))
        made = ann.attach("new1", set_query=pb.SetQuery(desc=desc))
        assert made.topic.startswith("grp"), made
        expect(json.loads(made.params["tmpname"]), "new1", "tmpname")
        state["grp"] = made.topic
        for number in range(1, 6):
            expect(ann.publish(made.topic, {"txt": f"number {number}"}), number, "seq")
        changed = ann.ask("set", pb.ClientSet(
            topic=made.topic, query=pb.SetQuery(sub=pb.SetSub(user_id=state["bot"], mode="JRW"))), 200)
        expect(json.loads(changed.params["user"]), state["bot"], "who was invited")

    def paging():
        echoes = [it for it in ann.kept if it.data.topic == state["grp"]]
        expect(echoes, [], "the echoes of messages sent with no_echo")
        page, end = ann.page(state["grp"], since_id=2, before_id=5, limit=2)
        expect(([it["txt"] for it in page], end.code), (["number 4", "number 3"], 208), "the page")

    def deleting():
        ranges = [pb.SeqRange(low=2, hi=4)]
        gone = ann.ask("del", pb.ClientDel(
            topic=state["grp"], what=pb.ClientDel.MSG, del_seq=ranges, hard=True), 200)
        expect(json.loads(gone.params["del"]), 1, "the number of the deletion")
        page, _ = ann.page(state["grp"])
        expect([it["txt"] for it in page], ["number 5", "number 4", "number 1"], "the page")
        ann.number += 1
        asked = str(ann.number)
        ann.send(get=pb.ClientGet(id=asked, topic=state["grp"], query=pb.GetQuery(what="del")))
        deleted = ann.wait("what was deleted", lambda it: it.meta.id == asked).meta
        expect(getattr(deleted, "del").del_id, 1, "the number of the deletion")

    def refusing():
        bad = pb.ClientPub(topic=state["grp"], content=b"not JSON")
        ann.ask("pub", bad, 400)
        ann.ask("del", pb.ClientDel(topic=state["grp"]), 400)
        extra = pb.ClientExtra(on_behalf_of=state["bot"])
        ann.send(pub=pb.ClientPub(id="obo", topic=state["grp"], content=b"1"), extra=extra)
        refused = ann.wait("a refusal", lambda it: it.ctrl.id == "obo").ctrl
        expect(refused.code, 403, "the code for who is no administrator")
        expect(ann.publish(state["grp"], "still here"), 6, "seq")

    def leaving():
        ann.ask("leave", pb.ClientLeave(topic=state["grp"]), 200)
        ann.ask("pub", pb.ClientPub(topic=state["grp"], content=b"1"), 409)
        ann.ask("del", pb.ClientDel(topic=state["grp"], what=pb.ClientDel.TOPIC, hard=True), 200)
        ann.hang_up()

    play([
        ("a client of 2023 is greeted with what this server can do", greeting),
        ("a person logs in and a bot makes its account", entering),
        ("both enter, and the person is described", myself),
        ("the bot answers a message", answering),
        ("a message is marked as read", noting),
        ("a group is made, written to, and the bot invited", group),
        ("a page of messages comes newest first", paging),
        ("messages are deleted", deleting),
        ("nonsense is refused and nobody is thrown out", refusing),
        ("the person leaves, deletes the group and hangs up", leaving),
    ])


def play(scenes):
    for sentence, scene in scenes:
        try:
            scene()
        except Exception as fault:  # Whatever it is, it is news.
            print(f"not ok {sentence}: {type(fault).__name__}: {fault}", flush=True)
            sys.exit(1)
        print(f"ok {sentence}", flush=True)


if __name__ == "__main__":
    main()
