# SPDX-License-Identifier: Apache-2.0
"""ipctool against real processes that use libcipc: what it lists, and what it refuses to remove."""
import ctypes
import json
import os
import signal
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TOOL = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, ".build/debug/ipctool")
NO_DEADLINE = 2**63 - 1
KIND_SEMAPHORE, KIND_RWLOCK = 6, 10
TESTS = []


class Type(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_uint32), ("version", ctypes.c_uint32), ("element_size", ctypes.c_uint64),
        ("stride", ctypes.c_uint64), ("alignment", ctypes.c_uint64), ("count", ctypes.c_uint64),
        ("fingerprint", ctypes.c_uint64)]


class Options(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.POINTER(Type)), ("label", ctypes.c_char_p), ("named", ctypes.c_int),
        ("flags", ctypes.c_uint), ("mode", ctypes.c_uint), ("backed", ctypes.c_size_t)]


cipc = ctypes.CDLL(os.path.join(HERE, "../../build/libcipc.so"))
# CIPC_SEGMENT_CREATED of cipc/status.h.
SEGMENT_CREATED = 5
cipc.cipc_segment_address.restype = ctypes.c_void_p
cipc.cipc_segment_address.argtypes = [ctypes.c_void_p]
cipc.cipc_segment_create.argtypes = [
    ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t, ctypes.POINTER(Options)]
cipc.cipc_segment_publish.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
cipc.cipc_segment_open_named.argtypes = [
    ctypes.POINTER(ctypes.c_void_p), ctypes.c_char_p, ctypes.POINTER(Options)]
cipc.cipc_segment_close.argtypes = [ctypes.c_void_p]
cipc.cipc_segment_close.restype = None
cipc.cipc_rwlock_footprint.restype = ctypes.c_size_t
cipc.cipc_element.restype = ctypes.c_void_p
cipc.cipc_ring_fingerprint.restype = ctypes.c_uint64
cipc.cipc_ring_fingerprint.argtypes = [ctypes.c_int, ctypes.c_void_p]
cipc.cipc_fingerprint_of.restype = ctypes.c_uint64
cipc.cipc_rwlock_init.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
cipc.cipc_rwlock_write_lock.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int64]


RING_LEASED = 2


class RingOptions(ctypes.Structure):
    _fields_ = [
        ("flags", ctypes.c_uint), ("capacity", ctypes.c_uint64), ("records", ctypes.c_uint64),
        ("fingerprint", ctypes.c_uint64), ("label", ctypes.c_char_p)]


class Record(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("ticket", ctypes.c_uint64),
        ("deliveries", ctypes.c_uint32)]


cipc.cipc_ring_open_or_create.argtypes = [
    ctypes.POINTER(ctypes.c_void_p), ctypes.c_char_p, ctypes.POINTER(RingOptions)]
cipc.cipc_ring_put.argtypes = [
    ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int64]
cipc.cipc_ring_lease.argtypes = [ctypes.c_void_p, ctypes.POINTER(Record), ctypes.c_int64]
cipc.cipc_ring_finish.argtypes = [ctypes.c_void_p, ctypes.c_int64]


def make_queue(name, flags=0, capacity=0, records=0, fingerprint=None):
    ring = ctypes.c_void_p()
    if fingerprint is None:
        # CIPC_RING_OF_ELEMENTS
        fingerprint = cipc.cipc_ring_fingerprint(1, cipc.cipc_element(b"int64"))
    given = RingOptions(flags, capacity, records, fingerprint, None)
    assert cipc.cipc_ring_open_or_create(ctypes.byref(ring), name.encode(), given) == SEGMENT_CREATED
    return ring


def test(function):
    TESTS.append(function)
    return function


def options(named):
    kind = Type(KIND_RWLOCK, 1, 64, 64, 64, 4, 1)
    return Options(ctypes.pointer(kind), b"a label", named, 0, 0)


def make(name):
    """A reader-writer lock in a segment of its own, named or anonymous."""
    segment = ctypes.c_void_p()
    size = cipc.cipc_rwlock_footprint(4)
    assert cipc.cipc_segment_create(
        ctypes.byref(segment), size, ctypes.byref(options(name is not None))) == 0
    assert cipc.cipc_rwlock_init(cipc.cipc_segment_address(segment), 4) == 0
    assert cipc.cipc_segment_publish(segment, name and name.encode()) == 0
    return segment


def child(body):
    """Forks; returns its pid once the body has said that it is ready."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            body(lambda: os.write(writer, b"!"))
            signal.pause()
        finally:
            os._exit(1)
    os.close(writer)
    assert os.read(reader, 1) == b"!"
    os.close(reader)
    return pid


def end(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def run(*arguments, status=0):
    done = subprocess.run([TOOL, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text = done.stdout.decode()
    assert done.returncode == status, (arguments, done.returncode, text)
    return text


def show(name):
    return json.loads(run("show", "--json", name))


def unlink(name):
    try:
        os.unlink("/dev/shm" + name)
    except FileNotFoundError:
        pass


def states(segment):
    return {p["pid"]: p["state"] for p in segment["participants"]}


@test
def a_named_lock_is_shown_with_its_holder_and_waiters(name):
    def hold(ready):
        lock = cipc.cipc_segment_address(make(name))
        assert cipc.cipc_rwlock_write_lock(lock, 4, NO_DEADLINE) == 0
        ready()

    def wait(ready):
        segment = ctypes.c_void_p()
        assert cipc.cipc_segment_open_named(
            ctypes.byref(segment), name.encode(), ctypes.byref(options(1))) == 0
        ready()
        cipc.cipc_rwlock_write_lock(cipc.cipc_segment_address(segment), 4, NO_DEADLINE)

    holder = child(hold)
    waiter = child(wait)
    # Asleep: that is seen from outside, and so without a pause here.
    while open("/proc/%d/stat" % waiter).read().rsplit(")")[1].split()[0] != "S":
        pass
    try:
        segment = show(name)
        assert segment["kind"] == "rwlock" and segment["name"] == name, segment
        assert states(segment) == {holder: "alive", waiter: "alive"}, segment
        assert [h["pid"] for h in segment["holders"]] == [holder], segment
        assert segment["holders"][0]["isAlive"], segment
        assert segment["holders"][0]["heldForAtLeast"] > 0, segment
        assert waiter in [w["pid"] for w in segment.get("waiters", [])], segment
        assert name in run("ls") and name in run("show", name)
        assert "in use by" in run("rm", name, status=1)
        assert os.path.exists("/dev/shm" + name)
    finally:
        end(waiter)
        end(holder)


@test
def a_queue_is_shown_with_its_depth(name):
    def fill(ready):
        ring = make_queue(name)
        for number in range(7):
            assert cipc.cipc_ring_put(ring, number.to_bytes(8, "little"), 8, NO_DEADLINE) == 0
        assert cipc.cipc_ring_finish(ring, NO_DEADLINE) == 0
        ready()

    pid = child(fill)
    try:
        segment = show(name)
        assert segment["kind"] == "queue" and segment["type"] == "int64", segment
        assert segment["queue"] == {
            "depth": 7, "unfinished": 7, "bytes": 7 * 16, "capacity": 2**30, "isFinished": True,
            "delivery": "at most once"}, segment
        assert states(segment) == {pid: "alive"}, segment
        header, line = [l for l in run("ls").split("\n") if name in l or l.startswith("NAME")]
        assert header.split()[4] == "DEPTH" and line.split()[4] == "7", line
        assert "finished" in line, line
        text = run("show", name)
        assert "queue of int64" in text and "elements: 7" in text and "finished" in text, text
    finally:
        end(pid)


@test
def leases_count_as_not_done(name):
    def fill(ready):
        text = cipc.cipc_fingerprint_of(b"text")
        ring = make_queue(name, RING_LEASED, records=10, fingerprint=text)
        for number in range(5):
            assert cipc.cipc_ring_put(ring, b"text", 4, NO_DEADLINE) == 0
        record = Record()
        for _ in range(2):
            assert cipc.cipc_ring_lease(ring, ctypes.byref(record), NO_DEADLINE) == 0
        ready()

    pid = child(fill)
    try:
        segment = show(name)
        queue = segment["queue"]
        assert segment["type"] == "text" and queue["delivery"] == "leased", segment
        assert (queue["depth"], queue["unfinished"]) == (3, 5), segment
        assert queue["capacityElements"] == 10 and not queue["isFinished"], segment
        assert segment["state"] == "5 of 10 elements, leased, 2 being worked on", segment
    finally:
        end(pid)


@test
def a_queue_that_was_written_over_is_no_crash(name):
    pid = child(lambda ready: (make_queue(name, capacity=4096), ready()))
    end(pid)
    data = bytearray(open("/dev/shm" + name, "rb").read())
    random = __import__("random").Random(2)
    senseless = 0
    for round in range(50):
        damaged = bytearray(data)
        for _ in range(1 + round):
            # Behind the segment's header: the ring's own words.
            damaged[random.randrange(128, 128 + 1088)] = random.randrange(256)
        with open("/dev/shm" + name, "r+b") as file:
            file.write(damaged)
        segment = show(name)
        assert segment["kind"] == "queue", segment
        senseless += "queue" not in segment
    assert senseless > 10, senseless


@test
def what_the_dead_left_is_removed(name):
    pid = child(lambda ready: (make(name), ready()))
    end(pid)
    segment = show(name)
    assert states(segment) == {pid: "dead"}, segment
    assert name in run("ls", "--stale")
    assert "removed" in run("rm", name)
    assert not os.path.exists("/dev/shm" + name)
    assert "no such segment" in run("rm", name, status=1)


@test
def all_that_is_stale_goes_at_once_and_nothing_else(name):
    living = child(lambda ready: (make(name), ready()))
    dead = [name + "-1", name + "-2"]
    for other in dead:
        end(child(lambda ready: (make(other), ready())))
    try:
        text = run("rm", "--stale")
        assert all(other + ": removed" in text for other in dead), text
        assert os.path.exists("/dev/shm" + name)
        assert not any(os.path.exists("/dev/shm" + other) for other in dead)
    finally:
        end(living)


@test
def anonymous_ones_are_found_through_their_users(name):
    pid = child(lambda ready: (make(None), ready()))
    try:
        mine = [s for s in json.loads(run("ls", "--json")) if pid in states(s)]
        assert len(mine) == 1 and mine[0]["label"] == "a label" and "name" not in mine[0], mine
        title = "memfd:%d" % mine[0]["inode"]
        assert "no name" in run("rm", title, status=1)
        assert show(title)["kind"] == "rwlock"
    finally:
        end(pid)


@test
def plain_bytes_are_nobodys_to_remove(name):
    with open("/dev/shm" + name, "wb") as file:
        file.write(b"x" * 10000)
    assert name not in run("ls") and name in run("ls", "--all")
    assert "plain" in run("rm", name, status=1)
    assert os.path.exists("/dev/shm" + name)


@test
def garbage_behind_a_header_is_an_error_and_not_a_crash(name):
    pid = child(lambda ready: (make(name), ready()))
    end(pid)
    data = bytearray(open("/dev/shm" + name, "rb").read())
    random = __import__("random").Random(1)
    for round in range(50):
        damaged = bytearray(data)
        for _ in range(1 + round):
            # The magic stays, or it would be plain bytes.
            damaged[random.randrange(8, len(damaged))] = random.randrange(256)
        with open("/dev/shm" + name, "r+b") as file:
            file.write(damaged)
        assert run("show", "--json", name).startswith("{")
    with open("/dev/shm" + name, "r+b") as file:
        file.truncate(130)
    run("show", name)


@test
def names_do_nothing_to_a_terminal(name):
    hostile = name + "\x1b[2J\nevil \u202e"
    with open("/dev/shm" + hostile, "wb") as file:
        file.write(b"x" * 100)
    try:
        for text in (run("ls", "--all"), run("show", hostile), run("rm", hostile, status=1)):
            assert name + "\\u{1B}[2J\\u{A}" in text and "\\u{202E}" in text, text
            assert "\x1b" not in text and "\u202e" not in text, text
    finally:
        os.unlink("/dev/shm" + hostile)


def main():
    for function in TESTS:
        name = "/ipctool-test-%d" % os.getpid()
        print(function.__name__, flush=True)
        try:
            function(name)
        finally:
            unlink(name)
    print("%d passed, 0 failed" % len(TESTS))


main()
