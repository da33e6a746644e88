"""What the test tells this client to do, a JSON object a line on standard input, and what came of it, a line each on standard output."""
import hashlib
import json
import random
import struct
import sys
import time

import postern


class Conversation:
    def __init__(self, directory):
        self.directory = directory
        self.client = None
        self.channel = None

    def keeping(self, action):
        """Does something that can be lost in the middle: comes back, and does it again."""
        while True:
            try:
                return action()
            except postern.Lost:
                self.client.reconnect()

    def code_of(self, action):
        try:
            action()
        except postern.PosternError as error:
            return error.code
        return None

    def hello(self, key, wrong):
        client = self.client = postern.Client(self.directory, app="pytalk", key=wrong)
        client.frames = postern.Frames(postern.connect(self.directory))
        started = time.monotonic()
        code = self.code_of(lambda: client.say_hello({}))
        waited = time.monotonic() - started
        # The same connection may say hello again.
        client.params["key"] = key
        hello = client.say_hello({})
        return {"wrong": code, "waitedMs": waited * 1000, "hello": {k: hello[k] for k in ("protocol", "peerId", "scopes", "limits", "resumed")}}

    def errors(self, peer):
        call = self.client.call
        codes = {
            "status": self.code_of(lambda: call("status", {})),
            "otherApp": self.code_of(lambda: call("listen", {"app": "other"})),
            "method": self.code_of(lambda: call("no.such.method", {})),
            "params": self.code_of(lambda: call("channel.open", {"peer": peer, "app": "tstalk", "mode": "carrier-pigeon"})),
            "badPeer": self.code_of(lambda: call("channel.open", {"peer": "nobody", "app": "tstalk", "mode": "unreliable"})),
            "noApp": self.code_of(lambda: call("channel.open", {"peer": peer, "app": "pytalk/nobody", "mode": "unreliable"})),
            "unknownChannel": self.code_of(lambda: call("channel.stats", {"channel": 99})),
        }
        # A frame of a later version is ignored, a batch is answered, and the connection lives.
        self.client.frames.append(0x80, b"\x01\x02\x03")
        self.client.frames.append(0, b"[]")
        self.client.frames.append(0, b"not json")
        self.client.call("unsubscribe", {})
        return codes

    def broken(self):
        """Breaks the protocol on a connection of its own."""
        client = postern.Client(self.directory)
        client.open()
        client.frames.append(5, b"")
        code = self.code_of(lambda: client.call("unsubscribe", {}))
        rude = postern.Frames(postern.connect(self.directory))
        rude.append(0, b'{"jsonrpc":"2.0","id":1,"method":"status"}')
        frames = []
        try:
            while True:
                frames += rude.pump(5)
        except postern.Lost:
            pass
        return {"code": code, "first": [json.loads(body) for _, body in frames]}

    def listen(self):
        self.client.listen("pytalk", credit=8192)
        return {}

    def accept(self):
        unwanted = self.keeping(self.client.incoming)
        self.client.reject(unwanted, "not you")
        channel = self.client.accept(self.client.incoming())
        message = channel.receive()
        channel.send(message.data[::-1])
        text = channel.receive().data.decode("utf-8")
        channel.send(("Grüße zurück: " + text).encode("utf-8"))
        end = channel.receive()
        return {"peer": channel.peer, "meta": channel.meta.decode("utf-8"), "end": end, "closed": channel.closed}

    def withhold(self):
        """Takes a channel and reads nothing: the daemon may write one window and one message."""
        channel = self.client.accept(self.client.incoming())
        waited = 0
        while waited < 20:
            before = len(channel.messages)
            self.client.pump(0.05)
            waited = 0 if len(channel.messages) > before else waited + 1
        cost = sum(len(m.data) + postern.MESSAGE_COST for m in channel.messages)
        held = len(channel.messages)
        data = hashlib.sha256()
        count = 0
        while True:
            message = channel.receive()
            if message is None:
                break
            data.update(message.data)
            count += 1
        return {"held": held, "cost": cost, "window": channel.window, "count": count, "sha256": data.hexdigest()}

    def open(self, peer):
        self.channel = self.client.open_channel(peer, "tstalk", credit=16384, meta=b"from python")
        return {"sendCredit": self.channel.balance, "maxMessage": self.channel.max_message}

    def blocked(self):
        """Sends until there is no credit for a while, as the other app does not read; then the rest when it does."""
        sent = 0
        code = None
        try:
            while sent < 4000:
                self.channel.send(struct.pack("<I", sent) + bytes(2000), timeout=1)
                sent += 1
        except TimeoutError:
            code = "blocked"
        print(json.dumps({"blockedAt": sent, "code": code, "balance": self.channel.balance}), flush=True)
        while sent < 4000:
            self.channel.send(struct.pack("<I", sent) + bytes(2000))
            sent += 1
        self.client.flush()
        return {"sent": sent}

    def many(self, count, cuts):
        """So many messages there and back, in order, each once, through connections that break."""
        client, channel = self.client, self.channel
        draw = random.Random(7)
        sizes = [4 + draw.randrange(600) for _ in range(count)]
        at_cut = {count * (i + 1) // (cuts + 1) for i in range(cuts)}
        sent = received = repeated = 0
        while received < count:
            if sent < count and sent - received < 200:
                if sent in at_cut:
                    at_cut.discard(sent)
                    client.pump(0)
                    client.cut()
                self.keeping(lambda: channel.send(struct.pack("<I", sent) + bytes([sent % 251]) * (sizes[sent] - 4)))
                sent += 1
                continue
            message = self.keeping(channel.receive)
            number, = struct.unpack_from("<I", message.data)
            if number != received or message.data[4:] != bytes([number % 251]) * (sizes[number] - 4):
                raise AssertionError("%d came in place of %d" % (number, received))
            received += 1
            repeated += message.repeated
        return {"sent": sent, "received": received, "losses": client.losses, "kept": len(channel.kept)}

    def wanted(self):
        self.client.call("subscribe", {"topics": ["app"]})
        print(json.dumps({"subscribed": True}), flush=True)
        while not self.client.events:
            self.client.pump(60)
        return {"event": self.client.events.popleft()}

    def restarted(self, peer):
        """The daemon ends and starts again: it says so, nothing of before is there, and a new channel works."""
        instance = self.client.hello["instance"]
        print(json.dumps({"ready": True}), flush=True)
        code = None
        while code is None:
            try:
                self.client.pump(60)
            except postern.PosternError as error:
                code = error.code
            except postern.Lost:
                code = "lost"
        self.client.reconnect()
        hello = self.client.hello
        channel = self.client.open_channel(peer, "tstalk")
        channel.send(b"\x00\x01\x02\xff")
        answer = channel.receive().data
        channel.close(code=300, reason="enough")
        return {"code": code, "other": hello["instance"] != instance, "resumed": hello["resumed"], "old": self.channel.closed["code"], "answer": list(answer)}

    def leave(self):
        self.client.leave()
        return {}


def main():
    conversation = Conversation(sys.argv[1])
    for line in sys.stdin:
        request = json.loads(line)
        step = request.pop("do")
        result = getattr(conversation, step)(**request)
        print(json.dumps(dict(result, done=step)), flush=True)


if __name__ == "__main__":
    main()
