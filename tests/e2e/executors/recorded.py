"""Holds what `executor.py` says and reads as a driver against what Mesos' own driver and agent said: recorded.py DIRECTORY."""
import glob
import struct
import sys

import executor
from executor import fields, identity, read_id


def recorded(part):
    with open(sorted(glob.glob(f"{glob.escape(sys.argv[1])}/*{glob.escape(part)}.pb"))[0], "rb") as file:
        return file.read()


registration = recorded("slave(1)_mesos.internal.RegisterExecutorMessage")
ids = fields(registration)
framework, own = read_id(ids[1][0]), read_id(ids[2][0])
assert executor.message(*executor.registration(framework, own)) == registration

update = recorded("slave(1)_mesos.internal.StatusUpdateMessage")
known = fields(fields(update)[1][0])
status = fields(known[4][0])
named = [(number, known[number][0]) for number in (1, 2, 3)]
given = [(1, status[1][0]), (2, status[2][0]), (11, status[11][0])]
now, pid = struct.unpack("<d", known[5][0])[0], fields(update)[2][0]
assert executor.message(*executor.status_update(named, given, now, pid)) == update

# What the agent said to it.
driver = object.__new__(executor.Driver)
driver.framework, driver.seen = framework, executor.queue.Queue()
for name in "ExecutorRegistered", "RunTask", "StatusUpdateAcknowledgement", "ShutdownExecutor":
    driver.message(f"mesos.internal.{name}Message", fields(recorded(f"executor(1)_mesos.internal.{name}Message")))
heard = [driver.seen.get_nowait() for _ in range(4)]
assert [kind for kind, _ in heard] == ["registered", "launch", "acknowledged", "shutdown"], heard
assert identity(driver.slave_id) == known[3][0]
assert read_id(fields(heard[1][1])[2][0]) == "0"
print("as recorded")
