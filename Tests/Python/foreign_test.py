# SPDX-License-Identifier: Apache-2.0
"""What a language that reads no headers needs is in the library: sizes, inline functions, free."""
import ctypes
import glob
import mmap
import os
import re
import signal

import libcipc
from libcipc import EBUSY, EPERM, IMMEDIATELY, NO_DEADLINE, OWNER_DIED, SECONDS

TESTS = []


def test(function):
    TESTS.append(function)
    return function


def headers():
    for path in glob.glob(os.path.join(libcipc.ROOT, "Sources/CIPC/include/cipc/*.h")):
        with open(path) as header:
            yield header.read()


@test
def all_structures_have_a_size(cipc):
    wanted = set()
    for text in headers():
        text = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.S)
        wanted |= set(re.findall(r"\btypedef struct \w+ \{[^{}]*\} (cipc_\w+);", text))
        # Those with a structure or an enumeration inside.
        for name in re.findall(r"^\} (cipc_\w+);", text, re.M):
            if re.search(r"\btypedef struct %s \{" % name[:-2], text):
                wanted.add(name)
    found = set()
    while True:
        name = cipc.cipc_type_name(ctypes.c_size_t(len(found)))
        if name is None:
            break
        size, alignment = cipc.cipc_type_size(name), cipc.cipc_type_alignment(name)
        assert size > 0 and alignment in (1, 2, 4, 8, 16) and size % alignment == 0, name
        found.add(name.decode())
    assert found == wanted, found ^ wanted
    assert len(wanted) > 30
    assert cipc.cipc_type_size(b"cipc_segment_t") == 0
    assert cipc.cipc_type_size(None) == 0 and cipc.cipc_type_alignment(b"") == 0


@test
def sizes_are_those_that_the_headers_promise(cipc):
    for name, size in [("event", 4), ("semaphore", 64), ("condition", 32), ("rwlock", 128),
                       ("region", 128), ("segment_type", 48)]:
        assert cipc.cipc_type_size(b"cipc_%s_t" % name.encode()) == size, name
    assert cipc.cipc_barrier_footprint(4) == (
        cipc.cipc_type_size(b"cipc_barrier_t") + 4 * cipc.cipc_type_size(b"cipc_barrier_slot_t"))


@test
def allocated_memory_is_given_back(cipc):
    ours, theirs = os.pipe()
    os.write(theirs, b"\0\0\0\5hello")
    connection = ctypes.c_void_p()
    assert cipc.cipc_connection_adopt(
        ctypes.byref(connection), ours, 0, ctypes.c_uint64(1 << 20)) == 0
    message, length = ctypes.c_void_p(), ctypes.c_size_t()
    assert cipc.cipc_connection_receive(
        connection, ctypes.byref(message), ctypes.byref(length), None, None,
        ctypes.c_int64(NO_DEADLINE)) == 0
    assert ctypes.string_at(message, length.value) == b"hello"
    cipc.cipc_memory_free(message)
    cipc.cipc_memory_free(None)
    cipc.cipc_connection_free(connection)
    os.close(theirs)


def shared(size):
    """Memory that a forked child shares, and its address."""
    memory = mmap.mmap(-1, size)
    return memory, ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(memory)))


@test
def a_mutex_is_taken_and_counted(cipc):
    memory, lock = shared(cipc.cipc_type_size(b"cipc_mutex_t"))
    options = ctypes.c_int(1)  # cipc_mutex_options_t: recursive
    assert cipc.cipc_mutex_init(lock, ctypes.byref(options)) == 0
    assert cipc.cipc_mutex_depth(lock) == 0
    for depth in (1, 2, 3):
        assert cipc.cipc_mutex_lock(lock, ctypes.c_int64(NO_DEADLINE)) == 0
        assert cipc.cipc_mutex_depth(lock) == depth and cipc.cipc_mutex_is_owned(lock) == 1
    for depth in (2, 1, 0):
        assert cipc.cipc_mutex_unlock(lock) == 0
        assert cipc.cipc_mutex_depth(lock) == depth
    assert cipc.cipc_mutex_unlock(lock) == EPERM


@test
def a_mutex_tells_of_a_dead_owner(cipc):
    memory, lock = shared(cipc.cipc_type_size(b"cipc_mutex_t"))
    assert cipc.cipc_mutex_init(lock, None) == 0
    child = os.fork()
    if child == 0:
        taken = cipc.cipc_mutex_lock(lock, ctypes.c_int64(NO_DEADLINE))
        os.kill(os.getpid(), signal.SIGKILL if taken == 0 else signal.SIGTERM)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    deadline = ctypes.c_int64(cipc.cipc_clock_deadline(ctypes.c_int64(10 * SECONDS)))
    assert cipc.cipc_mutex_lock(lock, deadline) == OWNER_DIED
    assert cipc.cipc_mutex_casualty(lock) == child
    assert cipc.cipc_mutex_recover(lock) == 0 and cipc.cipc_mutex_unlock(lock) == 0
    assert cipc.cipc_mutex_trylock(lock) == 0 and cipc.cipc_mutex_unlock(lock) == 0


@test
def a_semaphore_is_taken_and_given_back(cipc):
    memory, semaphore = shared(cipc.cipc_semaphore_footprint(2))
    assert cipc.cipc_semaphore_init(semaphore, 2) == 0
    permits = {cipc.cipc_semaphore_acquire(semaphore, 2, ctypes.c_int64(IMMEDIATELY))
               for _ in range(2)}
    assert permits == {0, 1}
    owner = ctypes.c_uint64(cipc.cipc_participant_this_thread())
    assert cipc.cipc_semaphore_try(semaphore, 2, owner) == EBUSY
    for permit in permits:
        assert cipc.cipc_semaphore_release(semaphore, 2, permit) == 0
    assert cipc.cipc_semaphore_value(semaphore, 2) == 2


@test
def an_event_is_set_and_cleared(cipc):
    memory, event = shared(cipc.cipc_type_size(b"cipc_event_t"))
    cipc.cipc_event_init(event, 0)
    assert cipc.cipc_event_is_set(event) == 0
    cipc.cipc_event_set(event)
    assert cipc.cipc_event_is_set(event) == 1
    assert cipc.cipc_event_wait(event, ctypes.c_int64(NO_DEADLINE)) == 0
    cipc.cipc_event_clear(event)
    assert cipc.cipc_event_is_set(event) == 0


@test
def a_cell_is_read_and_stored(cipc):
    memory, cell = shared(cipc.cipc_cell_footprint(8))
    value, size = ctypes.c_double(1.5), ctypes.c_size_t(8)
    assert cipc.cipc_cell_init(cell, ctypes.byref(value), size) == 0
    value.value = 2.5
    assert cipc.cipc_cell_store(cell, ctypes.byref(value), size, ctypes.c_int64(NO_DEADLINE)) == 0
    found = ctypes.c_double()
    assert cipc.cipc_cell_read(cell, ctypes.byref(found), size, ctypes.c_int64(NO_DEADLINE)) == 0
    assert found.value == 2.5


@test
def integers_are_added_to(cipc):
    memory, word = shared(8)
    width, one = ctypes.c_size_t(8), ctypes.c_uint64(1)
    for before in range(3):
        assert cipc.cipc_atomic_add(word, width, one) == before
    assert cipc.cipc_atomic_load(word, width) == 3


libcipc.run(TESTS, libcipc.load())
