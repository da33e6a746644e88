"""A client of the local IPC of Postern, written from docs/ipc.md alone, with the standard library of Python 3.8 and nothing else.

One thread, blocking calls: whatever waits, reads. Section numbers are those of docs/ipc.md.
"""
import base64
import collections
import json
import os
import random
import select
import socket
import stat
import struct
import time

KIND_JSON, KIND_MESSAGE, KIND_CREDIT, KIND_NOTICE = 0, 1, 2, 3
MESSAGE_COST = 32
TAG_MAX = 0xFFFFFFFF
READ_SIZE = 65536
WRITE_SIZE = 65536  # §2: many frames in one write. What is left goes with the next wait, or by `flush`.


class PosternError(Exception):
    """An error answer (§4), or `event.bye`. Match `code`, never the sentence."""

    def __init__(self, code, message="", data=None):
        super().__init__("%s: %s" % (code, message))
        self.code = code
        self.data = data or {}


class Lost(Exception):
    """The connection is gone without a goodbye: its channels may go on (§3)."""


def socket_paths(directory=None):
    """§1: where the socket is."""
    directory = directory or os.environ.get("POSTERN_DIR")
    if directory:
        return [os.path.join(directory, "run", "postern.sock")]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    places = [os.path.join(runtime, "postern")] if runtime else []
    places += ["/run/postern", os.path.join(os.environ.get("TMPDIR") or "/tmp", "postern-%d" % os.getuid())]
    return [os.path.join(place, "postern.sock") for place in places]


def connect(directory=None):
    """The first socket where a daemon answers, in a directory that belongs to us or to root."""
    for path in socket_paths(directory):
        try:
            owner = os.stat(os.path.dirname(path))
            if not stat.S_ISDIR(owner.st_mode) or owner.st_uid not in (os.getuid(), 0):
                continue
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.connect(path)
            return connection
        except (FileNotFoundError, ConnectionRefusedError):
            continue
    raise Lost("no daemon answers")


class Frames:
    """§2: one stream of frames, both ways; writing never waits while there is something to read."""

    def __init__(self, connection):
        connection.setblocking(False)
        self.connection = connection
        self.unsent = bytearray()
        self.unread = bytearray()

    def append(self, kind, body):
        self.unsent += struct.pack("<IB", 1 + len(body), kind) + body

    def pump(self, timeout):
        """Writes and reads what is possible, waiting for at most so many seconds; the frames that came."""
        try:
            writes = [self.connection] if self.unsent else []
            readable, writable, _ = select.select([self.connection], writes, [], timeout)
            if writable:
                del self.unsent[: self.connection.send(self.unsent)]
            if readable:
                chunk = self.connection.recv(READ_SIZE)
                if not chunk:
                    raise Lost("the daemon closed the connection")
                self.unread += chunk
        except (BrokenPipeError, ConnectionResetError) as error:
            # What the daemon said before it closed may still be here.
            self.drain()
            last = list(self.take())
            if not last:
                raise Lost(str(error))
            return last
        return list(self.take())

    def drain(self):
        try:
            while True:
                chunk = self.connection.recv(READ_SIZE)
                if not chunk:
                    return
                self.unread += chunk
        except OSError:
            return

    def take(self):
        at = 0
        while len(self.unread) - at >= 5:
            length, kind = struct.unpack_from("<IB", self.unread, at)
            if len(self.unread) - at < 4 + length:
                break
            yield kind, bytes(self.unread[at + 5 : at + 4 + length])
            at += 4 + length
        del self.unread[:at]

    def close(self):
        self.connection.close()


class Message:
    def __init__(self, flags, lane, handle, number, data):
        self.gap = bool(flags & 1)
        self.repeated = bool(flags & 2)
        self.lane, self.handle, self.id, self.data = lane, handle, number, data


class Channel:
    """A channel with both its credit accounts (§7), and what is needed to go on with it after a loss (§3)."""

    def __init__(self, client, number, mode, window):
        self.client, self.number = client, number
        self.reliable = mode.startswith("reliable")
        self.window = window
        self.closed = None
        self.messages = collections.deque()
        self.last_id = None  # Of the last message that was taken or waits here.
        self.owed = 0  # Cost of messages that were taken and not given back yet.
        self.balance = 0
        self.first_balance = 0
        self.max_message = 0
        self.tag = 0
        self.kept = collections.deque()  # (tag, bytes) that credit has not covered.
        self.covered = 0
        self.foreign = 0  # Credit still to come for messages that are not kept any more.
        self.notices = []

    def start(self, account):
        self.balance = self.first_balance = account["sendCredit"]
        self.max_message = account["maxMessage"]

    # Sending

    def send(self, data, timeout=60):
        """Waits for credit, which is backpressure. Raises Lost only before the message is taken over."""
        deadline = time.monotonic() + timeout
        if self.client.frames is None or len(self.client.frames.unsent) >= WRITE_SIZE:
            self.client.pump(0)
        while self.balance <= 0:
            self.check_open()
            if time.monotonic() > deadline:
                raise TimeoutError("no credit")
            self.client.pump(max(0, deadline - time.monotonic()))
        self.check_open()
        self.tag = 1 if self.tag == TAG_MAX else self.tag + 1
        if self.reliable:
            self.kept.append((self.tag, data))
        self.write(self.tag, data)

    def write(self, tag, data):
        self.balance -= len(data) + MESSAGE_COST
        if self.client.frames is None:
            return  # Kept where that matters: it goes when the connection is there again.
        self.client.frames.append(KIND_MESSAGE, struct.pack("<IBBHII", self.number, 0, 255, 0, tag, 0) + data)

    def granted(self, add):
        self.balance += add
        own = max(0, add - self.foreign)
        self.foreign = max(0, self.foreign - add)
        self.covered += own
        while self.kept and self.covered >= len(self.kept[0][1]) + MESSAGE_COST:
            self.covered -= len(self.kept.popleft()[1]) + MESSAGE_COST

    # Receiving

    def receive(self, timeout=60):
        """The next message, or None when the channel has ended and everything was read."""
        deadline = time.monotonic() + timeout
        while not self.messages:
            if self.closed is not None:
                return None
            if time.monotonic() > deadline:
                raise TimeoutError("no message")
            self.client.pump(max(0, deadline - time.monotonic()))
        message = self.messages.popleft()
        self.owed += len(message.data) + MESSAGE_COST
        if self.owed >= self.window / 4:
            self.give_credit()
        return message

    def give_credit(self):
        if self.owed > 0 and self.closed is None:
            self.client.frames.append(KIND_CREDIT, struct.pack("<II", self.number, self.owed))
            self.owed = 0

    def came(self, flags, lane, handle, number, data):
        self.last_id = number
        self.messages.append(Message(flags, lane, handle, number, data))

    # A lost connection

    def resume(self, accepted_tag, balance):
        while self.kept and not after(self.kept[0][0], accepted_tag):
            self.kept.popleft()
        self.covered = 0
        self.foreign = max(0, self.first_balance - balance)
        self.balance = balance
        # Earlier messages earn no credit any more. Those that wait here were named as received, so they are among them.
        self.owed = -sum(len(message.data) + MESSAGE_COST for message in self.messages)
        for tag, data in self.kept:
            self.write(tag, data)

    def close(self, **params):
        self.client.call("channel.close", dict(channel=self.number, **params))

    def check_open(self):
        if self.closed is not None:
            raise PosternError(self.closed["code"], self.closed["reason"], self.closed)


def after(tag, other):
    """Whether a tag comes after another one: they are numbered 1, 2, … and begin again."""
    return other == 0 or 0 < (tag - other) % (TAG_MAX + 1) < 0x80000000


class Client:
    """One program's connection to its daemon, made anew when it is lost."""

    def __init__(self, directory=None, app=None, key=None, name="python"):
        self.directory = directory
        self.params = {"protocol": 1, "client": name}
        self.params.update({k: v for k, v in (("app", app), ("key", key)) if v is not None})
        self.frames = None
        self.hello = None
        self.next_id = 1
        self.answers = {}
        self.channels = {}
        self.windows = {}
        self.offers = collections.deque()
        self.events = collections.deque()
        self.bye = None
        self.losses = 0
        self.pending = {}

    # §3: a connection from beginning to end

    def open(self):
        self.frames = Frames(connect(self.directory))
        self.say_hello({})

    def say_hello(self, more):
        self.bye = None
        self.hello = self.call("hello", dict(self.params, **more), take=self.welcome)
        if self.hello["protocol"] < 1:
            raise PosternError("protocol", "the daemon is too old")
        return self.hello

    def welcome(self, hello):
        """While the answer is handled: the frames behind it are for these channels."""
        accounts = {account["channel"]: account for account in hello["channels"]}
        for number, channel in list(self.channels.items()):
            if number in accounts:
                account = accounts.pop(number)
                channel.resume(account["acceptedTag"], account["sendCredit"])
            else:
                channel.closed = {"code": "disconnected", "reason": "the daemon does not have it any more"}
                del self.channels[number]
        for number in accounts:
            self.post("channel.close", {"channel": number, "abort": True})

    def reconnect(self):
        """After a loss: with all channels where that is possible (§3)."""
        token, said_bye = (self.hello or {}).get("resume"), self.bye
        if self.frames is not None:
            self.frames.close()
        self.answers.clear()
        self.offers.clear()
        more = {}
        if token is not None and said_bye is None:
            received = {str(n): c.last_id for n, c in self.channels.items() if c.last_id is not None}
            more = {"resume": token, "received": received}
        else:
            for channel in self.channels.values():
                channel.closed = {"code": "disconnected", "reason": "the connection ended"}
            self.channels.clear()
        delay = 0.05
        time.sleep((said_bye or {}).get("retryMs", 0) / 1000)
        while True:
            time.sleep(delay * (0.5 + random.random()))
            delay = min(5, 2 * delay)
            try:
                self.frames = Frames(connect(self.directory))
                self.say_hello(more)
                self.losses += 1
                return
            except Lost:
                continue

    def cut(self):
        """Breaks the connection without a word, with what was queued in it: for tests."""
        self.frames.close()
        self.frames = None

    def leave(self):
        for channel in list(self.channels.values()):
            channel.close()
        self.call("leave", {})
        self.frames.close()

    # §4: requests and answers

    def post(self, method, params, take=None):
        number = self.next_id
        self.next_id += 1
        self.pending[number] = take
        body = json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        self.frames.append(KIND_JSON, body.encode("utf-8"))
        return number

    def call(self, method, params, take=None, timeout=60):
        number = self.post(method, params, take)
        deadline = time.monotonic() + timeout
        while number not in self.answers:
            if time.monotonic() > deadline:
                raise TimeoutError(method)
            self.pump(max(0, deadline - time.monotonic()))
        answer = self.answers.pop(number)
        if "error" in answer:
            error = answer["error"]
            raise PosternError(error["data"]["code"], error["message"], error["data"])
        return answer["result"]

    def pump(self, timeout):
        """Writes what is queued and handles what came. Raises Lost or, after a goodbye, PosternError."""
        if self.frames is None:
            raise Lost("there is no connection")
        try:
            frames = self.frames.pump(timeout)
        except Lost:
            if self.bye is not None:
                raise PosternError(self.bye["code"], self.bye["reason"], self.bye)
            raise
        for kind, body in frames:
            if kind == KIND_JSON:
                self.json(json.loads(body.decode("utf-8")))
            elif kind == KIND_MESSAGE:
                channel, flags, lane, _, handle, number = struct.unpack_from("<IBBHII", body)
                if channel in self.channels:
                    self.channels[channel].came(flags, lane, handle, number, body[16:])
            elif kind == KIND_CREDIT:
                channel, add = struct.unpack("<II", body)
                if channel in self.channels:
                    self.channels[channel].granted(add)
            elif kind == KIND_NOTICE:
                channel, what, reason, _, first, last = struct.unpack("<IBBHII", body)
                if channel in self.channels:
                    self.channels[channel].notices.append((what, reason, first, last))
            # Kinds from 128 on are of later versions: ignored.

    def flush(self, timeout=60):
        deadline = time.monotonic() + timeout
        while self.frames.unsent:
            if time.monotonic() > deadline:
                raise TimeoutError("the daemon does not read")
            self.pump(max(0, deadline - time.monotonic()))

    def json(self, value):
        if "method" not in value:
            # An answer is handled where it stands in the stream: messages behind it need the channel it speaks of.
            take = self.pending.pop(value["id"], None) if value["id"] is not None else None
            if take is not None and "result" in value:
                take(value["result"])
            self.answers[value["id"]] = value
            return
        name, params = value["method"], value.get("params", {})
        if name == "event.channel.incoming":
            # It exists from now on: its end, and its first messages, may come before the answer to accept.
            channel = Channel(self, params["channel"], params["mode"], self.windows.get(params["app"], 262144))
            channel.peer, channel.app, channel.meta = params["peer"], params["app"], base64.b64decode(params["meta"])
            self.channels[channel.number] = channel
            self.offers.append(channel)
        elif name == "event.channel.closed":
            channel = self.channels.pop(params["channel"], None)
            if channel is not None:
                channel.closed = params
        elif name == "event.bye":
            self.bye = params
        else:
            self.events.append((name, params))

    # §5: methods

    def listen(self, app, credit=262144, accept_from="roster"):
        self.windows[app] = credit
        self.call("listen", {"app": app, "from": accept_from, "credit": credit})

    def incoming(self, timeout=60):
        """The next channel that a remote app wants and that has not ended since."""
        deadline = time.monotonic() + timeout
        while True:
            while self.offers:
                channel = self.offers.popleft()
                if channel.closed is None:
                    return channel
            if time.monotonic() > deadline:
                raise TimeoutError("nobody came")
            self.pump(max(0, deadline - time.monotonic()))

    def accept(self, channel):
        self.call("channel.accept", {"channel": channel.number}, take=channel.start)
        return channel

    def reject(self, channel, reason=""):
        self.call("channel.reject", {"channel": channel.number, "reason": reason})
        self.channels.pop(channel.number, None)

    def open_channel(self, peer, app, mode="reliable-ordered", credit=262144, meta=b""):
        made = []

        def take(result):
            channel = Channel(self, result["channel"], mode, credit)
            channel.start(result)
            self.channels[channel.number] = channel
            made.append(channel)

        meta = base64.b64encode(meta).decode("ascii")
        self.call("channel.open", {"peer": peer, "app": app, "mode": mode, "credit": credit, "meta": meta}, take=take)
        return made[0]
