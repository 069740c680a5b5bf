"""An executor without dependencies, for either of Mesos' executor APIs; it shares no code with what it tests.

    executor.py stream|driver [stubborn] [twice]

`stream` speaks the v1 API in protobuf, `driver` the libprocess messages of Mesos' executor driver, both by hand. A task runs until a
message ends it; messages are commands:

    finish TASK         reports it finished          flood COUNT SIZE   that many messages of that size, numbered
    exit STATUS         ends without a word          broken             posts what is no call
    killpg              kills its process group      subscribe          subscribes once more
    tasks               names the tasks that it runs run SHELL          says what a shell prints
    anything else       comes back, byte for byte

stubborn: does not end when it is told to. twice: registers two times in a row.
"""
import os
import queue
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid

RUNNING, FINISHED, KILLED = 1, 2, 4
SOURCE_EXECUTOR = 2


# Protobuf: what is written is a list of (number, value), what is read a dict of lists.
def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes([number])


def message(*fields):
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        elif isinstance(value, float):
            out += varint(number << 3 | 1) + struct.pack("<d", value)
        else:
            value = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def read_varint(data, at):
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return number, at


def fields(data):
    found, at = {}, 0
    while at < len(data):
        tag, at = read_varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = read_varint(data, at)
        else:
            length, at = (8, at) if kind == 1 else (4, at) if kind == 5 else read_varint(data, at)
            value, at = data[at : at + length], at + length
        found.setdefault(tag >> 3, []).append(value)
    return found


def identity(value):
    return message((1, value))


def read_id(data):
    return fields(data)[1][0].decode()


# HTTP: heads, and bodies with a length or in chunks.
def read_head(stream):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            return None
        head += line
    return head.decode("latin-1")


def chunks(stream):
    while True:
        size = int(stream.readline().split(b";")[0] or b"0", 16)
        if size:
            yield stream.read(size)
        stream.readline()
        if not size:
            return


def read_body(stream, head):
    for line in head.splitlines():
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            return stream.read(int(value))
        if name.lower() == "transfer-encoding":
            return b"".join(chunks(stream))
    return b""


def post(stream, path, body, *headers):
    head = [f"POST {path} HTTP/1.1", "Host: slave", f"Content-Length: {len(body)}", *headers]
    stream.write(("\r\n".join(head) + "\r\n\r\n").encode() + body)
    stream.flush()


def connect(address):
    host, port = address.split(":")
    return socket.create_connection((host, int(port))).makefile("rwb")


class Stream:
    """The v1 API."""

    def __init__(self, framework, executor):
        self.endpoint = os.environ["MESOS_AGENT_ENDPOINT"]
        self.ids = [(1, identity(executor)), (2, identity(framework))]
        self.calls = connect(self.endpoint)
        self.events = None
        self.seen = queue.Queue()

    def register(self):
        self.events = connect(self.endpoint)
        body = message(*self.ids, (3, 1), (4, b""))
        kind = "application/x-protobuf"
        post(self.events, "/slave(1)/api/v1/executor", body, f"Content-Type: {kind}", f"Accept: {kind}")
        head = read_head(self.events)
        assert head.startswith("HTTP/1.1 200"), head
        print("stream", kind in head, flush=True)
        threading.Thread(target=self.follow, args=[self.events], daemon=True).start()

    def follow(self, events):
        data = b""
        try:
            for chunk in chunks(events):
                data += chunk
                while b"\n" in data:
                    size, rest = data.split(b"\n", 1)
                    if len(rest) < int(size):
                        break
                    self.event(fields(rest[: int(size)]))
                    data = rest[int(size) :]
        except (OSError, ValueError) as error:
            print("stream broke:", error, flush=True)
        print("stream ended", flush=True)

    def event(self, event):
        kind = event[1][0]
        if kind == 1:
            self.seen.put(("registered", None))
        elif kind == 2:
            self.seen.put(("launch", fields(event[4][0])[1][0]))
        elif kind == 8:
            for task in fields(fields(event[8][0])[1][0])[1]:
                self.seen.put(("launch", task))
        elif kind == 3:
            self.seen.put(("kill", read_id(fields(event[5][0])[1][0])))
        elif kind == 4:
            self.seen.put(("acknowledged", fields(event[3][0])[2][0]))
        elif kind == 5:
            self.seen.put(("message", fields(event[6][0])[1][0]))
        elif kind == 7:
            self.seen.put(("shutdown", None))

    def call(self, body, kind="application/x-protobuf"):
        post(self.calls, "/api/v1/executor", body, f"Content-Type: {kind}")
        head = read_head(self.calls)
        text = read_body(self.calls, head)
        return head.split()[1], text.decode()

    def checked(self, body):
        status, text = self.call(body)
        assert status == "202", (status, text)

    def update(self, status):
        status = message(*status, (9, SOURCE_EXECUTOR))
        self.checked(message(*self.ids, (3, 2), (5, message((1, status)))))

    def say(self, data):
        self.checked(message(*self.ids, (3, 3), (6, message((2, data)))))

    def broken(self):
        answers = [self.call(b'{"type": "UPDATE", ', "application/json"), self.call(b"\xff\xff\xff"), self.call(b"", "text/html")]
        return " ".join(status for status, _ in answers)


def registration(framework, executor):
    return (1, identity(framework)), (2, identity(executor))


def status_update(named, status, now, pid):
    """What Mesos' driver makes of a status: it fills in the slave, the time, and the uuid beside the status."""
    slave_id = named[2][1]
    known = dict(status)[11]
    whole = message(*sorted([*status, (5, slave_id), (6, now)]))
    return (1, message(*named, (4, whole), (5, now), (6, known))), (2, pid)


class Driver:
    """Mesos' executor driver, as libprocess talks."""

    def __init__(self, framework, executor):
        self.framework, self.executor, self.slave_id = framework, executor, ""
        self.slave = os.environ["MESOS_SLAVE_PID"]
        server = socket.create_server((os.environ["LIBPROCESS_IP"], int(os.environ["LIBPROCESS_PORT"])))
        host, port = server.getsockname()
        self.pid = f"executor(1)@{host}:{port}"
        self.out = connect(self.slave.split("@")[1])
        self.seen = queue.Queue()
        threading.Thread(target=self.drain, daemon=True).start()
        threading.Thread(target=self.accept, args=[server], daemon=True).start()

    def drain(self):
        while (head := read_head(self.out)) is not None:
            read_body(self.out, head)

    def accept(self, server):
        while True:
            stream = server.accept()[0].makefile("rwb")
            threading.Thread(target=self.follow, args=[stream], daemon=True).start()

    def follow(self, stream):
        print("connection", flush=True)
        while (head := read_head(stream)) is not None:
            name = head.split()[1].rsplit("/", 1)[1]
            body = read_body(stream, head)
            sender = [line for line in head.splitlines() if line.lower().startswith("libprocess-from: ")]
            if sender != [f"Libprocess-From: {self.slave}"]:
                print("a stranger:", sender, flush=True)
                continue
            stream.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
            stream.flush()
            self.message(name, fields(body))

    def message(self, name, body):
        if name == "mesos.internal.ExecutorRegisteredMessage":
            self.slave_id = read_id(body[5][0])
            self.seen.put(("registered", None))
        elif name == "mesos.internal.RunTaskMessage":
            assert read_id(fields(body[2][0])[3][0]) == self.framework and 3 in body
            self.seen.put(("launch", body[4][0]))
        elif name == "mesos.internal.KillTaskMessage":
            self.seen.put(("kill", read_id(body[2][0])))
        elif name == "mesos.internal.StatusUpdateAcknowledgementMessage":
            self.seen.put(("acknowledged", body[4][0]))
        elif name == "mesos.internal.FrameworkToExecutorMessage":
            self.seen.put(("message", body[4][0]))
        elif name == "mesos.internal.ShutdownExecutorMessage":
            self.seen.put(("shutdown", None))

    def send(self, name, *body):
        path = f"/{self.slave.split('@')[0]}/mesos.internal.{name}"
        headers = [f"User-Agent: libprocess/{self.pid}", f"Libprocess-From: {self.pid}", "Connection: Keep-Alive"]
        post(self.out, path, message(*body), *headers)

    def register(self):
        self.send("RegisterExecutorMessage", *registration(self.framework, self.executor))

    def update(self, status):
        named = [(1, identity(self.framework)), (2, identity(self.executor)), (3, identity(self.slave_id))]
        self.send("StatusUpdateMessage", *status_update(named, status, time.time(), self.pid))

    def say(self, data):
        self.send(
            "ExecutorToFrameworkMessage",
            (1, identity(self.slave_id)), (2, identity(self.framework)), (3, identity(self.executor)), (4, data),
        )

    def broken(self):
        self.send("StatusUpdateMessage", (1, b"\xff\xff\xff"))
        self.send("NoSuchMessage", (1, b"x"))
        return "dropped"


class Executor:
    def __init__(self, api, habits):
        self.api, self.habits = api, habits
        self.tasks, self.unacknowledged = {}, set()

    def run(self):
        for _ in range(2 if "twice" in self.habits else 1):
            self.api.register()
        while True:
            kind, value = self.api.seen.get()
            if kind == "registered":
                print("registered", flush=True)
            elif kind == "launch":
                task = fields(value)
                name = read_id(task[2][0])
                self.tasks[name] = task
                # What the task was given is what its first update gives back.
                self.report(name, RUNNING, task.get(6, [None])[0])
            elif kind == "kill":
                self.report(value, KILLED)
            elif kind == "acknowledged":
                self.unacknowledged.discard(value)
            elif kind == "message":
                self.obey(value)
            elif kind == "shutdown":
                print("shutdown,", len(self.unacknowledged), "unacknowledged", flush=True)
                if "stubborn" not in self.habits:
                    sys.exit(0)

    def report(self, name, state, data=None):
        update = uuid.uuid4().bytes
        self.unacknowledged.add(update)
        if state != RUNNING:
            self.tasks.pop(name, None)
        extra = [] if data is None else [(3, data)]
        self.api.update([(1, identity(name)), (2, state), *extra, (4, "by hand"), (11, update)])

    def obey(self, data):
        words = data[:64].split() or [b""]
        if words[0] == b"finish":
            self.report(words[1].decode(), FINISHED)
        elif words[0] == b"exit":
            os._exit(int(words[1]))
        elif words[0] == b"killpg":
            os.killpg(0, signal.SIGKILL)
        elif words[0] == b"flood":
            for number in range(int(words[1])):
                self.api.say(str(number).encode().ljust(int(words[2])))
        elif words[0] == b"broken":
            self.api.say(self.api.broken().encode())
        elif words[0] == b"subscribe":
            self.api.register()
        elif words[0] == b"run":
            self.api.say(subprocess.run(["sh", "-c", data[4:]], stdout=subprocess.PIPE).stdout)
        elif words[0] == b"tasks":
            self.api.say(" ".join(sorted(self.tasks)).encode())
        else:
            self.api.say(data)


def main():
    api, habits = sys.argv[1], sys.argv[2:]
    if "stubborn" in habits:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    kind = {"stream": Stream, "driver": Driver}[api]
    Executor(kind(os.environ["MESOS_FRAMEWORK_ID"], os.environ["MESOS_EXECUTOR_ID"]), habits).run()


if __name__ == "__main__":
    main()
