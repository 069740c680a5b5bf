#!/usr/bin/env python3
"""Makes the recordings that the replay tests play out of folders of captures with one file per message.

  extract.py CAPTURES            CAPTURES holds mesos-1.11/ and mesos-0.9/; writes <recording>/bytes and <recording>/index.tsv here

Taken: every libprocess message from and to the agent, the replies between it and the master, the requests of HTTP
executors, and the events that they are sent. Left out: what schedulers and operators say to the master, and other responses.
Beside the messages the index tells when the agent was started and signalled, and when a peer closed its connection. See
README.md for the columns.
"""
import csv
import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

# What was done to the agent, in seconds since the first message, for the captures that have no timeline.
DONE_0_9 = {
    "1-basic": [],
    "2-slave-kill": [(10.002, "SIGKILL"), (18.0, "start")],
    "3-executor-kill": [(15.018, "SIGTERM")],
    "4-pong-timeout": [(5.0, "SIGSTOP"), (105.0, "SIGCONT")],
    "5-update-retry": [],
    "6-command-tasks": [],
    "8-slave-first": [],
}
# A word of timeline.txt, and what it stands for.
DONE_1_11 = [("agent SIGUSR1", "SIGUSR1"), ("agent SIGTERM", "SIGTERM"), ("agent SIGSTOP", "SIGSTOP"), ("agent SIGCONT", "SIGCONT")]
CAPTURES_1_11 = ["main", "execport", "fw", "auth", "failure", "pymesos", "spark-coarse", "spark-fine"]


class Recording:
    def __init__(self):
        self.rows = []

    def message(self, time, sender, receiver, raw, what):
        self.rows.append((time, sender, receiver, raw, what))

    def done(self, time, what):
        self.rows.append((time, "agent", "-", b"", what))

    def closed(self, time, sender, receiver):
        self.rows.append((time, sender, receiver, b"", "closed"))

    def write(self, name):
        directory = os.path.join(HERE, name)
        os.makedirs(directory, exist_ok=True)
        offset = 0
        with open(os.path.join(directory, "bytes"), "wb") as data, open(os.path.join(directory, "index.tsv"), "w") as index:
            index.write("seconds\tfrom\tto\toffset\tlength\twhat\n")
            for time, sender, receiver, raw, what in sorted(self.rows, key=lambda row: row[0]):
                index.write(f"{time:.6f}\t{sender}\t{receiver}\t{offset}\t{len(raw)}\t{what}\n")
                data.write(raw)
                offset += len(raw)


def read(directory, file):
    with open(os.path.join(directory, file), "rb") as raw:
        return raw.read()


def address(port):
    return f"127.0.0.1:{port}"


def mesos_1_11(directory):
    recording = Recording()
    with open(os.path.join(directory, "index.jsonl")) as lines:
        entries = [json.loads(line) for line in lines]
    registration = next(entry for entry in entries if (entry.get("message") or "").endswith(".RegisterSlaveMessage"))
    master, agent = registration["dst"], int(registration["headers"]["libprocess-from"].rsplit(":", 1)[1])
    peers = {}  # connection -> who sends on it
    taken = {}  # connection -> requests on it that were taken, by the line that a reply names
    for entry in entries:
        if entry["kind"] != "req":
            continue
        sender = (entry["headers"].get("libprocess-from") or "").strip()
        words = entry["line"].split(" ")
        target = words[1]
        if entry["dst"] == agent and target.endswith("/api/v1/executor"):
            sender, receiver, what = f"http@{address(entry['src'])}", f"slave(1)@{address(agent)}", target
        elif sender and (entry["dst"] == agent or sender.endswith(f":{agent}")):
            receiver, what = f"{target.split('/')[1]}@{address(entry['dst'])}", entry["message"]
        else:
            continue
        peers.setdefault(entry["conn"], (sender, receiver))
        if entry["dst"] in (master, agent) and not sender.startswith(("executor", "http")):
            taken.setdefault(entry["conn"], []).append(entry["line"])
        recording.message(entry["t"], sender, receiver, read(directory, entry["file"]), what)
    for entry in entries:
        if entry["kind"] == "resp" and entry["request_line"] in taken.get(entry["conn"], []):
            sender, receiver = peers[entry["conn"]]
            # A reply is the connection's, not a process's.
            recording.message(entry["t"], receiver, sender, read(directory, entry["file"]), "202")
        # A stream is cut into one chunk for each event.
        if entry["kind"] == "resp" and entry["src"] == agent and (entry["request_line"] or "").endswith("/api/v1/executor HTTP/1.1"):
            receiver, sender = peers[entry["conn"]]
            raw = read(directory, entry["file"])
            for chunk in entry["chunks"] or []:
                begin = raw.index(b"\n", chunk["offset"]) + 1  # after the chunk's size
                recording.message(chunk["t"], sender, receiver, raw[begin : begin + chunk["len"]], "event")
    with open(os.path.join(directory, "connections.json")) as text:
        for connection in json.load(text):
            if connection["conn"] not in peers or not connection["fin"]:
                continue
            client = f"{connection['client']}>"
            first = min(connection["fin"].items(), key=lambda side: side[1][0])
            sender, receiver = peers[connection["conn"]]
            by_client = first[0].startswith(client)
            if by_client and connection["server"] == agent and sender.startswith(("executor", "http")):
                recording.closed(first[1][0], sender, receiver)
            if not by_client and connection["server"] == master:
                recording.closed(first[1][0], f"master@{address(master)}", f"slave(1)@{address(agent)}")
    timeline = os.path.join(directory, "timeline.txt")
    if not os.path.exists(timeline):
        recording.done(registration["t"] - 0.001, "start")
        return recording
    started = False
    with open(timeline) as lines:
        for line in lines:
            time, text = line.rstrip("\n").split(" ", 1)
            restart = re.search(r"agent .*restart|agent restart", text)
            if "SIGKILL" in text and "agent" in text and not restart or text.startswith(("agent restart with", "second agent restart")):
                recording.done(float(time), "SIGKILL")
            for word, what in DONE_1_11:
                if text.startswith(word):
                    recording.done(float(time), what)
            if text == "agent start" or restart:
                recording.done(float(time), "start")
                started = True
    assert started, directory
    return recording


def mesos_0_9(directory, name):
    recording = Recording()
    pids, executors = {}, {}
    with open(os.path.join(directory, "INDEX.tsv")) as text:
        rows = list(csv.DictReader(text, delimiter="\t"))
    files = {int(file.split("_")[0]): file for file in os.listdir(directory) if file.endswith(".http")}
    for row in rows:
        if "slave" not in (row["from"], row["to"]) or not row["first_line"].startswith("POST"):
            continue
        raw = read(directory, files[int(row["n"])])
        sender = re.search(rb"User-Agent: libprocess/(\S+)", raw).group(1).decode()
        port = row["connection"].split(">")[1].split("#")[0]
        _, to, what = row["first_line"].split(" ")[1].split("/")
        if row["from"].startswith("exec"):
            executors[row["connection"].split(">")[0]] = (sender, f"{to}@{address(port)}")
        recording.message(float(row["t_seconds"]), sender, f"{to}@{address(port)}", raw, what)
    closed = set()
    masters = {row["connection"].split(">")[0] for row in rows if row["from"].startswith("master") and row["to"] == "slave"}
    with open(os.path.join(directory, "CONNECTIONS.tsv")) as text:
        for line in text:
            time, what, sender, receiver = line.rstrip("\n").split("\t")
            ports = [side.split("(")[0] for side in (sender, receiver)]
            if what != "FIN" or frozenset(ports) in closed:
                continue
            closed.add(frozenset(ports))
            if ports[0] in executors and ports[1] == "5061":
                recording.closed(float(time), *executors[ports[0]])
            if ports[0] in masters and ports[1] == "5061":
                recording.closed(float(time), "master@127.0.0.1:5060", "slave@127.0.0.1:5061")
    recording.done(float(rows[0]["t_seconds"]) - 0.001, "start")
    for time, what in DONE_0_9[name]:
        recording.done(time, what)
    return recording


def main():
    captures = sys.argv[1]
    for name in CAPTURES_1_11:
        mesos_1_11(os.path.join(captures, "mesos-1.11", name)).write(f"1.11-{name}")
    for name in DONE_0_9:
        mesos_0_9(os.path.join(captures, "mesos-0.9", name), name).write(f"0.9-{name}")


if __name__ == "__main__":
    main()
