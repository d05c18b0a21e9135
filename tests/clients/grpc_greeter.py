"""A bot as the stock chatbots are: it hosts the service `pbx.Plugin` with the stock stubs for Python, learns
there of new accounts, and greets whoever they belong to over an ordinary session.

    python grpc_greeter.py PLUGIN ADDRESS     PLUGIN is written: the section of the domain's configuration;
                                              ADDRESS is read: where the domain speaks gRPC

Prints `ok` or `not ok` for each scene; the exit code is 1 when anything was not ok.
"""

import json
import os
import queue
import sys
import threading
import time
from concurrent import futures

import grpc
from tinode_grpc import pb, pbx

from grpc_bot import WITHIN, Client, as_json, expect, play

ASKED_FOR = 60.0
SECTION = """
[[plugins]]
name = "greeter"
address = "http://127.0.0.1:{port}"
accounts = ["create"]
topics = ["create"]
subscriptions = ["create"]
messages = ["p2p"]
requests = ["pub"]
searches = true
"""


class Greeter(pbx.PluginServicer):
    """Notes what it is told; forbids one word; finds the help desk."""

    def __init__(self):
        self.newcomers = queue.Queue()
        self.told = queue.Queue()
        self.desk = None

    def Account(self, event, context):
        self.newcomers.put((event.action, event.user_id, event.public))
        return pb.Unused()

    def Topic(self, event, context):
        self.told.put(("topic", event.action, event.name))
        return pb.Unused()

    def Subscription(self, event, context):
        self.told.put(("subscription", event.user_id, event.topic))
        return pb.Unused()

    def Message(self, event, context):
        self.told.put(("message", event.msg.from_user_id, json.loads(event.msg.content)))
        return pb.Unused()

    def FireHose(self, request, context):
        said = getattr(request.msg, "pub").content
        if said != as_json("darn"):
            return pb.ServerResp(status=pb.CONTINUE)
        answer = pb.ServerCtrl(id=getattr(request.msg, "pub").id, code=422, text=request.sess.user_id)
        return pb.ServerResp(status=pb.RESPOND, srvmsg=pb.ServerMsg(ctrl=answer))

    def Find(self, query, context):
        if query.query != "help":
            return pb.SearchFound(status=pb.CONTINUE)
        desk = pb.TopicSub(user_id=self.desk, public=as_json({"fn": "Help desk"}))
        return pb.SearchFound(status=pb.RESPOND, result=[desk])

    def hears(self, wanted):
        """Waits until it has been told this."""
        end = time.monotonic() + WITHIN
        while True:
            try:
                told = self.told.get(timeout=max(0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"was not told {wanted!r}") from None
            if told == wanted:
                return


def greets(bot, greeter, own):
    """Subscribes to whoever is new, and says hello."""
    while True:
        action, user, public = greeter.newcomers.get()
        if action == pb.CREATE and user != own:
            bot.attach(user)
            bot.publish(user, f"Welcome, {json.loads(public)['fn']}!")


def serve(greeter, path):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    pbx.add_PluginServicer_to_server(greeter, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with open(path + ".new", "w", encoding="utf-8") as section:
        section.write(SECTION.format(port=port))
    os.rename(path + ".new", path)
    return server


def address_in(path):
    end = time.monotonic() + ASKED_FOR
    while not os.path.exists(path):
        assert time.monotonic() < end, "the domain does not begin"
        time.sleep(0.02)
    with open(path, encoding="utf-8") as address:
        return address.read()


def main():
    greeter = Greeter()
    server = serve(greeter, sys.argv[1])
    address = address_in(sys.argv[2])
    bot, ann = Client(address, "greeter/1"), Client(address, "person/1")
    state = {}

    def entering():
        bot.greet()
        greeter.desk = bot.register("greeter", "Greeter")
        action, user, _ = greeter.newcomers.get(timeout=WITHIN)
        expect((action, user), (pb.CREATE, greeter.desk), "the first newcomer")
        bot.attach("me")
        threading.Thread(target=greets, args=(bot, greeter, greeter.desk), daemon=True).start()

    def greeting():
        ann.greet()
        state["ann"] = ann.register("ann", "Ann")
        ann.attach("me", get_query=pb.GetQuery(what="sub"))
        listed = lambda it: any(row.topic == greeter.desk and row.seq_id for row in it.meta.sub)
        news = lambda it: it.pres.src == greeter.desk and it.pres.what == pb.ServerPres.MSG
        ann.wait("the greeting", lambda it: listed(it) or news(it))
        ann.attach(greeter.desk, get_query=pb.GetQuery(what="data"))
        heard = ann.hear(greeter.desk, "Welcome, Ann!")
        expect(heard.from_user_id, greeter.desk, "the author")
        greeter.hears(("subscription", state["ann"], greeter.desk))
        greeter.hears(("message", greeter.desk, "Welcome, Ann!"))

    def judging():
        ann.publish(greeter.desk, "thank you")
        greeter.hears(("message", state["ann"], "thank you"))
        answer = ann.ask("pub", pb.ClientPub(topic=greeter.desk, content=as_json("darn")), 422)
        expect(answer.text, state["ann"], "who was told so")

    def finding():
        ann.attach("fnd")
        desc = pb.SetDesc(public=as_json("help"))
        ann.ask("set", pb.ClientSet(topic="fnd", query=pb.SetQuery(desc=desc)), 200)
        ann.send(get=pb.ClientGet(id="find", topic="fnd", query=pb.GetQuery(what="sub")))
        found = ann.wait("what was found", lambda it: it.meta.id == "find").meta.sub
        expect([(it.topic, json.loads(it.public)["fn"]) for it in found],
               [(greeter.desk, "Help desk")], "what was found")

    def founding():
        made = ann.attach("new1")
        greeter.hears(("topic", pb.CREATE, made.topic))

    play([
        ("the bot makes its account, and is told so", entering),
        ("somebody new is greeted by the bot", greeting),
        ("the bot judges what is said", judging),
        ("the bot says what a search finds", finding),
        ("the bot is told of a new group", founding),
    ])
    server.stop(None)


main()
