# SPDX-License-Identifier: Apache-2.0
"""What Swift shares by name, Python shares through ctypes, and the other way round: each noun is made
by one side and used by both. The other side is the program Tests/ForeignPeer."""
import ctypes
import os
import pickle
import signal
import struct
import subprocess
import sys

import libcipc
from libcipc import (
    ANY_COUNT, ENOENT, IMMEDIATELY, NO_DEADLINE, OWNER_DIED, SECONDS, Element, RingOptions)

PEER = os.path.join(libcipc.ROOT, os.environ.get("FOREIGN_PEER", ".build/debug/ForeignPeer"))
TESTS = []


class Peer:
    """The Swift program, which does what it is told."""

    def __init__(self):
        self.process = subprocess.Popen(
            [PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, *words):
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()

    def answer(self):
        return self.process.stdout.readline().rstrip("\n")

    def ask(self, *words):
        self.tell(*words)
        return self.answer()

    def ended(self):
        """How it ended: it was told to die."""
        return self.process.wait()

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


class Case:
    """A test's name for its object, with and without a slash in turns, and what it has open."""

    number = 0

    def __init__(self, cipc, label):
        Case.number += 1
        self.cipc = cipc
        self.peer = Peer()
        self.name = "cipc-%s-%d" % (label, os.getpid())
        self.path = ("/" + self.name if Case.number % 2 else self.name).encode()
        self.others = []
        self.segments = []

    def open(self, function, *arguments, status=0):
        segment = ctypes.c_void_p()
        found = function(ctypes.byref(segment), self.path, *arguments)
        assert found == status, (found, self.cipc.cipc_segment_refusal(found))
        self.segments.append(segment)
        return ctypes.c_void_p(self.cipc.cipc_segment_address(segment))

    def refused(self, function, *arguments):
        """What is said of something else."""
        segment = ctypes.c_void_p()
        found = function(ctypes.byref(segment), self.path, *arguments)
        assert found < 0 and not segment.value, found
        return self.cipc.cipc_segment_refusal(found).decode()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.peer.close()
        for segment in self.segments:
            self.cipc.cipc_segment_close(segment)
        for name in [self.path] + self.others:
            self.cipc.cipc_segment_unlink(name)


def test(function):
    TESTS.append(function)
    return function


def both_ways(label):
    """A test that is run twice: Swift makes the object, then Python does. The opener that makes it
    is chosen by `made_by`."""
    def decorate(body):
        for made_by in ("swift", "python"):
            def run(cipc, made_by=made_by):
                with Case(cipc, label) as case:
                    body(cipc, case, made_by == "swift")
            run.__name__ = "%s_made_by_%s" % (body.__name__, made_by)
            TESTS.append(run)
        return body
    return decorate


def soon(cipc):
    return ctypes.c_int64(cipc.cipc_clock_deadline(ctypes.c_int64(60 * SECONDS)))


FOREVER = ctypes.c_int64(NO_DEADLINE)
AT_ONCE = ctypes.c_int64(IMMEDIATELY)
CREATED = 5


def fork_and_die(body):
    """A child of this process that is killed after the body."""
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), signal.SIGKILL if body() == 0 else signal.SIGTERM)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    return child


@both_ways("lock")
def a_lock(cipc, case, by_swift):
    if by_swift:
        assert case.peer.ask("lock", case.name, "create", "try") == "free"
        lock = case.open(cipc.cipc_mutex_open_named, None)
    else:
        lock = case.open(cipc.cipc_mutex_open_or_create, None, status=CREATED)
        assert case.peer.ask("lock", case.name, "open", "try") == "free"
    assert cipc.cipc_mutex_lock(lock, FOREVER) == 0
    assert case.peer.ask("lock", case.name, "open", "try") == "busy"
    assert cipc.cipc_mutex_unlock(lock) == 0
    assert case.peer.ask("lock", case.name, "any", "try") == "free"
    # A Swift owner is killed.
    victim = Peer()
    victim.tell("lock", case.name, "open", "die")
    assert victim.ended() == -signal.SIGKILL
    assert cipc.cipc_mutex_lock(lock, soon(cipc)) == OWNER_DIED
    assert cipc.cipc_mutex_casualty(lock) == victim.process.pid
    assert cipc.cipc_mutex_recover(lock) == 0 and cipc.cipc_mutex_unlock(lock) == 0
    # One in Python.
    child = fork_and_die(lambda: cipc.cipc_mutex_lock(lock, FOREVER))
    told = case.peer.ask("lock", case.name, "open", "try")
    assert told.startswith("process %d died while it held the lock" % child), told
    assert case.peer.ask("lock", case.name, "open", "repair") == "held"
    assert cipc.cipc_mutex_trylock(lock) == 0 and cipc.cipc_mutex_unlock(lock) == 0


@both_ways("recursive")
def a_recursive_lock(cipc, case, by_swift):
    recursive = ctypes.c_int(1)
    if by_swift:
        assert case.peer.ask("recursive", case.name, "create") == "twice"
        lock = case.open(cipc.cipc_mutex_open_named, ctypes.byref(recursive))
    else:
        lock = case.open(
            cipc.cipc_mutex_open_or_create, ctypes.byref(recursive), status=CREATED)
        assert case.peer.ask("recursive", case.name, "open") == "twice"
    for depth in (1, 2):
        assert cipc.cipc_mutex_lock(lock, FOREVER) == 0
        assert cipc.cipc_mutex_depth(lock) == depth
    for _ in range(2):
        assert cipc.cipc_mutex_unlock(lock) == 0
    said = case.refused(cipc.cipc_mutex_open_named, None)
    assert said.startswith("segment type fingerprint: recursive instead of plain"), said


@both_ways("rwlock")
def a_reader_writer_lock(cipc, case, by_swift):
    if by_swift:
        assert case.peer.ask("rwlock", case.name, "create") == "read"
        lock = case.open(cipc.cipc_rwlock_open_named, ctypes.c_uint64(ANY_COUNT))
        assert cipc.cipc_segment_count(case.segments[0]) == 1
    else:
        lock = case.open(cipc.cipc_rwlock_open_or_create, 1, status=CREATED)
    assert cipc.cipc_rwlock_read_lock(lock, 1, FOREVER) == 0
    assert case.peer.ask("rwlock", case.name, "open") == "read"
    assert case.peer.ask("rwlock", case.name, "open", "write") == "busy"
    assert cipc.cipc_rwlock_read_unlock(lock, 1) == 0
    assert case.peer.ask("rwlock", case.name, "open", "write") == "written"
    victim = Peer()
    victim.tell("rwlock", case.name, "open", "die")
    assert victim.ended() == -signal.SIGKILL
    assert cipc.cipc_rwlock_read_lock(lock, 1, soon(cipc)) == OWNER_DIED
    assert cipc.cipc_rwlock_casualty(lock) == victim.process.pid
    assert cipc.cipc_rwlock_read_unlock(lock, 1) == 0
    assert cipc.cipc_rwlock_write_lock(lock, 1, soon(cipc)) == OWNER_DIED
    assert cipc.cipc_rwlock_recover(lock) == 0 and cipc.cipc_rwlock_write_unlock(lock, 1) == 0
    child = fork_and_die(lambda: cipc.cipc_rwlock_write_lock(lock, 1, FOREVER))
    told = case.peer.ask("rwlock", case.name, "open")
    assert told.startswith("process %d died while it wrote" % child), told


@both_ways("semaphore")
def a_semaphore(cipc, case, by_swift):
    if by_swift:
        assert case.peer.ask("semaphore", case.name, "create") == "2 of 2"
        semaphore = case.open(cipc.cipc_semaphore_open_named, ctypes.c_uint64(ANY_COUNT))
        assert cipc.cipc_segment_count(case.segments[0]) == 2
    else:
        semaphore = case.open(cipc.cipc_semaphore_open_or_create, 2, status=CREATED)
    permit = cipc.cipc_semaphore_acquire(semaphore, 2, FOREVER)
    assert permit >= 0
    holder = Peer()
    assert holder.ask("semaphore", case.name, "open", "take") == "0 of 2"
    assert case.peer.ask("semaphore", case.name, "open", "take") == "none"
    # A permit comes back from a dead holder.
    holder.process.kill()
    holder.close()
    second = cipc.cipc_semaphore_acquire(semaphore, 2, soon(cipc))
    assert second >= 0 and second != permit
    for number in (permit, second):
        assert cipc.cipc_semaphore_release(semaphore, 2, number) == 0
    assert case.peer.ask("semaphore", case.name, "open") == "2 of 2"
    said = case.refused(cipc.cipc_semaphore_open_named, ctypes.c_uint64(3))
    assert said.startswith("segment count: 2 instead of 3"), said


@both_ways("unowned")
def an_unowned_semaphore(cipc, case, by_swift):
    if by_swift:
        assert case.peer.ask("unowned", case.name, "create") == "0 of 5"
        semaphore = case.open(cipc.cipc_semaphore_open_named_unowned, 5)
    else:
        semaphore = case.open(
            cipc.cipc_semaphore_open_or_create_unowned, 0, 5, status=CREATED)
    case.peer.tell("unowned", case.name, "open", "take")
    assert cipc.cipc_semaphore_post(semaphore, 1) == 0
    assert case.peer.answer() == "0 of 5"
    assert case.peer.ask("unowned", case.name, "open", "release") == "2 of 5"
    for _ in range(2):
        assert cipc.cipc_semaphore_take(semaphore, soon(cipc)) == 0
    said = case.refused(cipc.cipc_semaphore_open_named_unowned, 6)
    assert said.startswith("segment bound: 5 instead of 6"), said


@both_ways("event")
def an_event(cipc, case, by_swift):
    if by_swift:
        assert case.peer.ask("event", case.name, "create") == "false"
        event = case.open(cipc.cipc_event_open_named)
    else:
        event = case.open(cipc.cipc_event_open_or_create, 0, status=CREATED)
    case.peer.tell("event", case.name, "open", "wait")
    cipc.cipc_event_set(event)
    assert case.peer.answer() == "true"
    cipc.cipc_event_clear(event)
    assert case.peer.ask("event", case.name, "open", "set") == "true"
    assert cipc.cipc_event_wait(event, soon(cipc)) == 0
    assert case.peer.ask("event", case.name, "open", "clear") == "false"
    assert cipc.cipc_event_is_set(event) == 0


@both_ways("condition")
def a_condition(cipc, case, by_swift):
    path = case.path + b"-lock"
    case.others.append(path)
    if by_swift:
        assert case.peer.ask("condition", case.name, "create") == "made"
        condition = case.open(cipc.cipc_condition_open_named, ctypes.c_uint64(4))
    else:
        condition = case.open(cipc.cipc_condition_open_or_create, 4, status=CREATED)
    segment = ctypes.c_void_p()
    made = cipc.cipc_mutex_open_or_create(ctypes.byref(segment), path, None)
    assert made == (0 if by_swift else CREATED)
    case.segments.append(segment)
    lock = ctypes.c_void_p(cipc.cipc_segment_address(segment))
    # Swift waits: it has entered itself when the lock is free and a waiter is there.
    case.peer.tell("condition", case.name, "open", "wait")
    waiting = 0
    while waiting == 0:
        assert cipc.cipc_mutex_lock(lock, soon(cipc)) == 0
        waiting = cipc.cipc_condition_waiting(condition, 4)
        if waiting:
            assert cipc.cipc_condition_notify(condition, 4, lock, 1) == 1
        assert cipc.cipc_mutex_unlock(lock) == 0
    assert case.peer.answer() == "notified"
    # Python waits, and Swift can only notify when it has let the lock go.
    assert cipc.cipc_mutex_lock(lock, soon(cipc)) == 0
    case.peer.tell("condition", case.name, "open", "notify")
    assert cipc.cipc_condition_wait(condition, 4, lock, soon(cipc)) == 0
    assert cipc.cipc_mutex_unlock(lock) == 0
    assert case.peer.answer() == "1"


@both_ways("barrier")
def a_barrier(cipc, case, by_swift):
    if by_swift:
        case.peer.tell("barrier", case.name, "create")
        status = ENOENT
        while status == ENOENT:
            segment = ctypes.c_void_p()
            status = cipc.cipc_barrier_open_named(
                ctypes.byref(segment), case.path, ctypes.c_uint64(2))
        assert status == 0
        case.segments.append(segment)
        barrier = ctypes.c_void_p(cipc.cipc_segment_address(segment))
    else:
        barrier = case.open(cipc.cipc_barrier_open_or_create, 2, status=CREATED)
        case.peer.tell("barrier", case.name, "open")
    orders = {cipc.cipc_barrier_wait(barrier, 2, None, None, soon(cipc)), int(case.peer.answer())}
    assert orders == {0, 1}, orders
    # A party that was enrolled and is dead breaks it.
    case.peer.process.kill()
    assert cipc.cipc_barrier_wait(barrier, 2, None, None, soon(cipc)) == libcipc.EBROKEN
    assert cipc.cipc_barrier_is_broken(barrier) == 1


def a_value(cipc, case, by_swift, noun, element, format, first, described):
    """`described` is what Swift says of the first value, and of what it becomes there."""
    size = ctypes.c_size_t(struct.calcsize(format))
    buffer = ctypes.create_string_buffer(struct.pack(format, *first))
    if by_swift:
        assert case.peer.ask(noun, case.name, "create") == described[0]
        cell = case.open(cipc.cipc_cell_open_named, element)
    else:
        cell = case.open(cipc.cipc_cell_open_or_create, element, buffer, status=CREATED)
        assert case.peer.ask(noun, case.name, "open") == described[0]
    assert cipc.cipc_cell_read(cell, buffer, size, FOREVER) == 0
    changed = struct.unpack(format, buffer.raw[:size.value])
    assert cipc.cipc_cell_begin(cell, buffer, size, FOREVER) == 0
    assert cipc.cipc_cell_commit(cell, buffer, size) == 0
    assert case.peer.ask(noun, case.name, "open") == described[1]
    buffer = ctypes.create_string_buffer(struct.pack(format, *first))
    assert cipc.cipc_cell_store(cell, buffer, size, FOREVER) == 0
    assert case.peer.ask(noun, case.name, "any") == described[0]
    # Killed in the middle of a change: nothing changed.
    before = ctypes.create_string_buffer(size.value)
    assert cipc.cipc_cell_read(cell, before, size, FOREVER) == 0
    fork_and_die(lambda: cipc.cipc_cell_begin(cell, buffer, size, FOREVER))
    assert case.peer.ask(noun, case.name, "open") == described[1]
    any_type = Element(0, 0, 0, libcipc.FINGERPRINT_ANY)
    case.open(cipc.cipc_cell_open_named, ctypes.byref(any_type))
    return changed


@both_ways("double")
def a_value_of_a_double(cipc, case, by_swift):
    element = cipc.cipc_element(b"float64")
    changed = a_value(cipc, case, by_swift, "double", element, "d", (1.5,), ("1.5", "2.5"))
    assert changed == (2.5,)
    said = case.refused(cipc.cipc_cell_open_named, cipc.cipc_element(b"int64"))
    assert said.startswith("segment type fingerprint: float64 instead of int64"), said
    said = case.peer.ask("integer", case.name, "open")
    assert "segment type fingerprint: float64 instead of int64" in said, said
    said = case.refused(cipc.cipc_mutex_open_named, None)
    assert said.startswith("segment kind: value instead of mutex"), said


@both_ways("integer")
def a_value_of_an_integer(cipc, case, by_swift):
    element = cipc.cipc_element(b"int64")
    changed = a_value(cipc, case, by_swift, "integer", element, "q", (7,), ("7", "8"))
    assert changed == (8,)


@both_ways("truth")
def a_value_of_a_truth_value(cipc, case, by_swift):
    element = cipc.cipc_element(b"bool")
    changed = a_value(cipc, case, by_swift, "truth", element, "?", (False,), ("false", "true"))
    assert changed == (True,)


@both_ways("reading")
def a_value_of_a_type_with_a_name(cipc, case, by_swift):
    element = Element()
    assert cipc.cipc_element_init(
        ctypes.byref(element), b"com.example.reading", ctypes.c_size_t(12), ctypes.c_size_t(8)) == 0
    described = ["Reading(celsius: 21.5, station: %d)" % station for station in (4, 5)]
    changed = a_value(
        cipc, case, by_swift, "reading", ctypes.byref(element), "=dI", (21.5, 4), described)
    assert changed == (21.5, 5)
    assert cipc.cipc_element_init(
        ctypes.byref(element), b"com.example.other", ctypes.c_size_t(12), ctypes.c_size_t(8)) == 0
    said = case.refused(cipc.cipc_cell_open_named, ctypes.byref(element))
    assert said.startswith("segment type fingerprint: 0x"), said


@both_ways("atomic")
def an_atomic_integer(cipc, case, by_swift):
    element, width = cipc.cipc_element(b"uint16"), ctypes.c_size_t(2)
    if by_swift:
        assert case.peer.ask("atomic", case.name, "create") == "7"
        word = case.open(cipc.cipc_atomic_open_named, element)
    else:
        word = case.open(
            cipc.cipc_atomic_open_or_create, element, ctypes.c_uint64(7), status=CREATED)
        assert case.peer.ask("atomic", case.name, "open") == "7"
    assert cipc.cipc_atomic_add(word, width, ctypes.c_uint64(10)) == 8
    assert case.peer.ask("atomic", case.name, "open") == "18"
    assert cipc.cipc_atomic_load(word, width) == 19


def open_array(cipc, case, function, *arguments, status=0):
    size = cipc.cipc_type_size(b"cipc_array_t")
    array = ctypes.create_string_buffer(size)
    segment = ctypes.c_void_p()
    found = function(ctypes.byref(segment), array, case.path, *arguments)
    assert found == status, (found, cipc.cipc_segment_refusal(found))
    case.segments.append(segment)
    return array, libcipc.Array.from_buffer(array)


@both_ways("array")
def an_array(cipc, case, by_swift):
    element, shape = cipc.cipc_element(b"float32"), (ctypes.c_uint64 * 2)(2, 3)
    if by_swift:
        assert case.peer.ask("array", case.name, "create") == "[2, 3] 4.0"
        array, view = open_array(cipc, case, cipc.cipc_array_open_named, element)
    else:
        array, view = open_array(
            cipc, case, cipc.cipc_array_open_or_create, element, ctypes.c_uint64(2), shape, 0,
            status=CREATED)
    assert (view.count, view.stride, view.rank, list(view.shape[:2])) == (6, 4, 2, [2, 3])
    elements = (ctypes.c_float * 6).from_address(view.elements)
    assert cipc.cipc_array_lock(array, FOREVER) == 0
    elements[:] = [0, 1, 2, 3, 4, 5]
    assert cipc.cipc_array_unlock(array) == 0
    assert case.peer.ask("array", case.name, "open") == "[2, 3] 16.0"
    assert list(elements) == [0, 1, 2, 3, 4, 6]
    victim = Peer()
    victim.tell("array", case.name, "open", "die")
    assert victim.ended() == -signal.SIGKILL
    assert cipc.cipc_array_lock(array, soon(cipc)) == OWNER_DIED
    assert cipc.cipc_array_recover(array) == 0 and cipc.cipc_array_unlock(array) == 0
    child = fork_and_die(lambda: cipc.cipc_array_lock(array, FOREVER))
    told = case.peer.ask("array", case.name, "open")
    assert told.startswith("process %d died" % child), told


@both_ways("journal")
def a_transactional_array(cipc, case, by_swift):
    element, shape = cipc.cipc_element(b"int32"), (ctypes.c_uint64 * 1)(4)
    if by_swift:
        assert case.peer.ask("journal", case.name, "create") == "[1, 2, 2, 1]"
        array, view = open_array(cipc, case, cipc.cipc_array_open_named, element)
    else:
        array, view = open_array(
            cipc, case, cipc.cipc_array_open_or_create, element, ctypes.c_uint64(1), shape, 1,
            status=CREATED)
    journal, area = ctypes.c_void_p(view.journal), ctypes.byref(view.area)
    start, length = ctypes.c_size_t(0), ctypes.c_size_t(16)
    redo = (ctypes.c_int32 * 4).from_address(view.area.redo)
    assert cipc.cipc_journal_begin(journal, area, start, length, FOREVER) == 0
    redo[:] = [9, 9, 9, 9]
    assert cipc.cipc_journal_commit(journal, area, start, length) == 0
    # Killed before the commit: nothing changed, and there is nothing to repair.
    fork_and_die(lambda: cipc.cipc_journal_begin(journal, area, start, length, FOREVER))
    assert case.peer.ask("journal", case.name, "open") == "[9, 10, 10, 9]"
    elements = (ctypes.c_int32 * 4).from_address(view.elements)
    assert list(elements) == [9, 10, 10, 9]


def content(cipc, bytes):
    buffer, length = ctypes.create_string_buffer(32), ctypes.c_size_t()
    assert cipc.cipc_bytes_read(
        bytes, ctypes.c_size_t(32), buffer, ctypes.c_size_t(32), ctypes.byref(length),
        FOREVER) == 0
    return buffer.raw[:length.value]


@both_ways("string")
def a_text(cipc, case, by_swift):
    first = "grüße".encode()
    if by_swift:
        assert case.peer.ask("string", case.name, "create") == "grüße"
        text = case.open(cipc.cipc_string_open_named, ctypes.c_uint64(ANY_COUNT))
        assert cipc.cipc_segment_count(case.segments[0]) == 32
    else:
        text = case.open(
            cipc.cipc_string_open_or_create, ctypes.c_size_t(32), first,
            ctypes.c_size_t(len(first)), status=CREATED)
    assert content(cipc, text) == first
    assert cipc.cipc_bytes_store(
        text, ctypes.c_size_t(32), b"ready", ctypes.c_size_t(5), FOREVER) == 0
    assert case.peer.ask("string", case.name, "open") == "ready"
    assert case.peer.ask("string", case.name, "open", "steady") == "steady"
    assert content(cipc, text) == b"steady"


@both_ways("bytes")
def bytes_of_a_capacity(cipc, case, by_swift):
    if by_swift:
        assert case.peer.ask("bytes", case.name, "create") == "[1, 2, 3]"
        data = case.open(cipc.cipc_bytes_open_named, ctypes.c_uint64(32))
    else:
        data = case.open(
            cipc.cipc_bytes_open_or_create, ctypes.c_size_t(32), b"\1\2\3", ctypes.c_size_t(3),
            status=CREATED)
        assert case.peer.ask("bytes", case.name, "open") == "[1, 2, 3]"
    assert content(cipc, data) == b"\1\2\3"
    assert case.peer.ask("bytes", case.name, "open", "abc") == "[97, 98, 99]"
    assert content(cipc, data) == b"abc"
    said = case.refused(cipc.cipc_string_open_named, ctypes.c_uint64(32))
    assert said.startswith("segment kind: bytes instead of string"), said


@both_ways("region")
def a_region(cipc, case, by_swift):
    if by_swift:
        assert case.peer.ask("region", case.name, "create") == '1.5 ["total"]'
        region = case.open(cipc.cipc_region_open_named, ctypes.c_uint64(ANY_COUNT))
    else:
        region = case.open(
            cipc.cipc_region_open_or_create, ctypes.c_size_t(8192), status=CREATED)
        assert case.peer.ask("region", case.name, "open") == '1.5 ["total"]'
    assert cipc.cipc_segment_size(case.segments[0]) == 8192
    entry = ctypes.create_string_buffer(cipc.cipc_type_size(b"cipc_region_entry_t"))
    assert cipc.cipc_region_find(region, ctypes.c_size_t(8192), b"total", None, entry) == 0
    cell = ctypes.c_void_p(cipc.cipc_region_address(region, entry))
    value = ctypes.c_double()
    assert cipc.cipc_cell_read(cell, ctypes.byref(value), ctypes.c_size_t(8), FOREVER) == 0
    assert value.value == 1.5
    value.value = 4.5
    assert cipc.cipc_cell_store(cell, ctypes.byref(value), ctypes.c_size_t(8), FOREVER) == 0
    assert case.peer.ask("region", case.name, "open") == '4.5 ["total"]'


@test
def plain_memory(cipc):
    with Case(cipc, "memory") as case:
        assert case.peer.ask("memory", "/" + case.name, "any") == "64"
        address = case.open(cipc.cipc_segment_open_named, None)
        assert ctypes.string_at(address, 64) == bytes(64)


@test
def the_page_about_foreign_languages(cipc):
    with open(os.path.join(libcipc.ROOT, "Documentation/Foreign.md")) as page:
        code = page.read().split("```python\n")[1].split("```")[0]
    names = {name: "cipc-page-%s-%d" % (name, os.getpid()) for name in ("total-lock", "total", "log")}
    for name, own in names.items():
        code = code.replace('b"%s"' % name, 'b"%s"' % own)
    path = os.path.join(libcipc.ROOT, "build/libcipc.so")
    code = code.replace('CDLL("libcipc.so")', "CDLL(%r)" % path)
    with Case(cipc, "page") as case:
        case.others += [name.encode() for name in names.values()]
        assert case.peer.ask("double", names["total"], "create") == "1.5"
        assert case.peer.ask("lock", names["total-lock"], "create", "try") == "free"
        case.peer.tell("queue", names["log"], "create", "text", "get")
        found = ctypes.c_void_p()
        while True:
            # Until Swift has made it.
            any_type = RingOptions(fingerprint=libcipc.FINGERPRINT_ANY)
            name = names["log"].encode()
            if cipc.cipc_ring_open_named(ctypes.byref(found), name, ctypes.byref(any_type)) == 0:
                break
        # What is made is only looked at here; the page's code uses it.
        exec(code, {})
        assert case.peer.answer() == "the total is 3.5"
        cipc.cipc_ring_close(found)
        assert case.peer.ask("double", names["total"], "open") == "3.5"
        assert case.peer.ask("lock", names["total-lock"], "open", "try") == "free"


class Ring:
    """A queue as ctypes has it."""

    def __init__(self, cipc, case, function, fingerprint, status):
        self.cipc = cipc
        self.ring = ctypes.c_void_p()
        options = RingOptions(fingerprint=fingerprint)
        found = function(ctypes.byref(self.ring), case.path, ctypes.byref(options))
        assert found == status, (found, cipc.cipc_segment_refusal(found))

    def put(self, record):
        assert self.cipc.cipc_ring_put(
            self.ring, record, ctypes.c_size_t(len(record)), FOREVER) == 0

    def get(self):
        buffer, length = ctypes.create_string_buffer(256), ctypes.c_size_t()
        status = self.cipc.cipc_ring_get(
            self.ring, buffer, ctypes.c_size_t(256), ctypes.byref(length), soon(self.cipc))
        assert status == 0, status
        return buffer.raw[:length.value]

    def close(self):
        self.cipc.cipc_ring_close(self.ring)


def own_reading(cipc):
    element = Element()
    assert cipc.cipc_element_init(
        ctypes.byref(element), b"com.example.reading", ctypes.c_size_t(12), ctypes.c_size_t(8)) == 0
    return element


def own_note(cipc):
    return Element(0, 0, 0, cipc.cipc_fingerprint_of(b"com.example.note"))


# What is in the queue, its fingerprint, the record, and what Swift says of it.
QUEUES = {
    "bytes": (lambda cipc: cipc.cipc_fingerprint_of(b"bytes"), b"bytes", "[98, 121, 116, 101, 115]"),
    "text": (lambda cipc: cipc.cipc_fingerprint_of(b"text"), "grüße".encode(), "grüße"),
    "int32": (lambda cipc: cipc.cipc_ring_fingerprint(1, cipc.cipc_element(b"int32")),
              struct.pack("i", -5), "-5"),
    "floats": (lambda cipc: cipc.cipc_ring_fingerprint(2, cipc.cipc_element(b"float64")),
               struct.pack("2d", 0.5, 1), "[0.5, 1.0]"),
    "reading": (lambda cipc: cipc.cipc_ring_fingerprint(1, ctypes.byref(own_reading(cipc))),
                struct.pack("=dI", 21.5, 4), "Reading(celsius: 21.5, station: 4)"),
    "note": (lambda cipc: cipc.cipc_ring_fingerprint(4, ctypes.byref(own_note(cipc))),
             pickle.dumps({"text": "hello"}, 4), 'Note(text: "hello")'),
}


def a_queue(kind):
    def body(cipc, case, by_swift):
        fingerprint, record, described = QUEUES[kind]
        fingerprint = fingerprint(cipc)
        if by_swift:
            assert case.peer.ask("queue", case.name, "create", kind, "put") == "put"
            ring = Ring(cipc, case, cipc.cipc_ring_open_named, fingerprint, 0)
        else:
            ring = Ring(cipc, case, cipc.cipc_ring_open_or_create, fingerprint, CREATED)
            assert case.peer.ask("queue", case.name, "open", kind, "put") == "put"
        got = ring.get()
        if kind == "note":
            assert pickle.loads(got) == pickle.loads(record)
        else:
            assert got == record, got
        # Swift waits for what Python puts.
        case.peer.tell("queue", case.name, "open", kind, "get")
        ring.put(record)
        said = case.peer.answer()
        assert said.endswith(described), said
        # Whatever is in it, as bytes.
        anything = Ring(cipc, case, cipc.cipc_ring_open_named, libcipc.FINGERPRINT_ANY, 0)
        ring.put(record)
        assert anything.get() == record
        anything.close()
        ring.close()
        other = "text" if kind != "text" else "bytes"
        said = case.peer.ask("queue", case.name, "open", other, "get")
        assert "segment type fingerprint: " in said and " instead of %s" % other in said, said
    body.__name__ = "a_queue_of_" + kind
    both_ways("queue")(body)


for kind in QUEUES:
    a_queue(kind)


def main():
    if not os.path.exists(PEER):
        sys.exit("%s is not there: swift build --product ForeignPeer" % PEER)
    libcipc.run(TESTS, libcipc.load())


main()
