# SPDX-License-Identifier: Apache-2.0
"""Python's signal handlers run while a thread waits in the C library: Ctrl-C as well as others."""
import ctypes
import signal
import threading
import time

import libcipc
from libcipc import ETIMEDOUT, NO_DEADLINE, SECONDS

EINTR = -4
NEVER, SIGNALS, SLICES = 0, 1, 2
PATIENCE = 10

TESTS = []


def test(function):
    TESTS.append(function)
    return function


def wait(call):
    """What a binding does around every call that waits."""
    while True:
        status = call()
        # Here, between two instructions of Python's, the handlers run.
        if status != EINTR:
            return status


class Senders:
    """Sends a signal to this process until it is told to stop: one of them finds it waiting."""

    def __init__(self, number, every=0.02):
        self.over = threading.Event()
        self.number, self.every = number, every
        self.thread = threading.Thread(target=self.run)

    def run(self):
        main = threading.main_thread().ident
        while not self.over.wait(self.every):
            signal.pthread_kill(main, self.number)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def waits(cipc):
    """Calls that wait for ever, by name, on objects that live as long as the result."""
    deadline = ctypes.c_int64(NO_DEADLINE)
    event = ctypes.create_string_buffer(cipc.cipc_type_size(b"cipc_event_t"))
    cipc.cipc_event_init(event, 0)
    semaphore = ctypes.create_string_buffer(cipc.cipc_semaphore_footprint(1))
    assert cipc.cipc_semaphore_init(semaphore, 1) == 0
    assert cipc.cipc_semaphore_acquire(semaphore, 1, deadline) == 0
    ring = ctypes.c_void_p()
    assert cipc.cipc_ring_create(ctypes.byref(ring), None) == 0
    one, other = ctypes.c_void_p(), ctypes.c_void_p()
    assert cipc.cipc_connection_pair(
        ctypes.byref(one), ctypes.byref(other), ctypes.c_uint64(0)) == 0
    length, bytes_ = ctypes.c_size_t(), ctypes.c_void_p()
    buffer = ctypes.create_string_buffer(64)
    big = ctypes.create_string_buffer(8 << 20)
    progress = ctypes.c_uint64()
    mutex = ctypes.create_string_buffer(cipc.cipc_type_size(b"cipc_mutex_t"))
    assert cipc.cipc_mutex_init(mutex, None) == 0
    barrier = ctypes.create_string_buffer(cipc.cipc_barrier_footprint(2))
    assert cipc.cipc_barrier_init(barrier, 2) == 0
    arrival = ctypes.create_string_buffer(cipc.cipc_type_size(b"cipc_barrier_arrival_t"))
    locked, over = threading.Event(), threading.Event()

    def hold():
        assert cipc.cipc_mutex_lock(mutex, deadline) == 0
        locked.set()
        over.wait()
        assert cipc.cipc_mutex_unlock(mutex) == 0

    holder = threading.Thread(target=hold)
    holder.start()
    locked.wait()

    def finish():
        over.set()
        holder.join()

    size = ctypes.c_size_t
    return finish, {
        "cipc_mutex_lock": lambda: cipc.cipc_mutex_lock(mutex, deadline),
        "cipc_event_wait": lambda: cipc.cipc_event_wait(event, deadline),
        "cipc_semaphore_acquire": lambda: cipc.cipc_semaphore_acquire(semaphore, 1, deadline),
        "cipc_ring_get": lambda: cipc.cipc_ring_get(
            ring, buffer, size(64), ctypes.byref(length), deadline),
        "cipc_barrier_wait_on": lambda: cipc.cipc_barrier_wait_on(
            barrier, 2, None, None, arrival, deadline),
        "cipc_connection_receive": lambda: cipc.cipc_connection_receive(
            one, ctypes.byref(bytes_), ctypes.byref(length), None, None, deadline),
        "cipc_connection_send_on": lambda: cipc.cipc_connection_send_on(
            other, big, size(8 << 20), None, size(0), ctypes.byref(progress), deadline),
        "cipc_connection_poll": lambda: cipc.cipc_connection_poll(other, deadline),
    }


class Caught(Exception):
    pass


def raise_caught(number, frame):
    raise Caught


@test
def ctrl_c_is_a_keyboard_interrupt(cipc):
    finish, calls = waits(cipc)
    assert cipc.cipc_interruptible(SIGNALS) == NEVER
    for name, call in calls.items():
        begin = time.monotonic()
        try:
            with Senders(signal.SIGINT):
                wait(call)
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError(name)
        assert time.monotonic() - begin < PATIENCE, name
    assert cipc.cipc_interruptible(NEVER) == SIGNALS
    finish()


@test
def handlers_run_and_the_wait_goes_on(cipc):
    seen = []
    signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    finish, calls = waits(cipc)
    # Once as Python installs its handlers, and once as a program that has asked for SA_RESTART.
    for restarts in (True, False):
        signal.siginterrupt(signal.SIGUSR1, not restarts)
        assert cipc.cipc_interruptible(SIGNALS) == NEVER
        for name, call in calls.items():
            del seen[:]
            begin = time.monotonic()

            def until_seen():
                status = call()
                assert status == EINTR, (name, status)
                return EINTR if len(seen) < 3 else 0

            with Senders(signal.SIGUSR1):
                assert wait(until_seen) == 0
            assert time.monotonic() - begin < PATIENCE, name
        assert cipc.cipc_interruptible(NEVER) == SIGNALS
    finish()


# Its handler is Python's own, in C, which only takes a note of the signal: a wait that begins just
# behind it does not know.
@test
def a_signal_just_before_the_wait_is_seen_a_slice_later(cipc):
    signal.signal(signal.SIGUSR1, raise_caught)
    finish, calls = waits(cipc)
    assert cipc.cipc_interruptible(SLICES) == NEVER
    for name, call in calls.items():
        begin = time.monotonic()
        statuses = [call() for _ in range(2)]
        assert statuses == [EINTR, EINTR], (name, statuses)
        assert time.monotonic() - begin < PATIENCE, name
    assert cipc.cipc_interruptible(NEVER) == SLICES
    finish()


@test
def without_it_handlers_wait_for_the_call(cipc):
    seen = []
    signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    event = ctypes.create_string_buffer(cipc.cipc_type_size(b"cipc_event_t"))
    cipc.cipc_event_init(event, 0)
    cipc.cipc_clock_deadline.argtypes = [ctypes.c_int64]
    with Senders(signal.SIGUSR1):
        status = cipc.cipc_event_wait(
            event, ctypes.c_int64(cipc.cipc_clock_deadline(SECONDS // 2)))
    assert status == ETIMEDOUT
    assert seen


@test
def it_is_the_threads_own(cipc):
    assert cipc.cipc_interruptible(SIGNALS) == NEVER
    found = []
    thread = threading.Thread(target=lambda: found.append(cipc.cipc_interruptible(SLICES)))
    thread.start()
    thread.join()
    assert found == [NEVER]
    assert cipc.cipc_interruptible(NEVER) == SIGNALS
    assert cipc.cipc_interruptible(7) == -22
    assert cipc.cipc_status_name(EINTR) == b"CIPC_EINTR"
    assert b"signal" in cipc.cipc_status_message(EINTR)


if __name__ == "__main__":
    libcipc.run(TESTS, libcipc.load())
