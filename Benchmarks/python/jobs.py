# SPDX-License-Identifier: Apache-2.0
"""The jobs of the benchmarks, done with CPython's multiprocessing.

    jobs.py version
    jobs.py JOB [--core N --peer-core N]
    jobs.py echo-on-3 [--core N]            sends back what it receives on descriptor 3

prints the median and the p99 of one operation in nanoseconds. Operations are timed in batches of
20 µs (streams: 10 ms) or of one operation, whichever is longer, as the Swift side does. Interpreted loops cost what
they cost: that is what a Python program pays.
"""

import argparse
import array
import concurrent.futures
import multiprocessing
import multiprocessing.connection
import os
import pickle
import platform
import threading
import time
from dataclasses import dataclass

BATCH_NS = 20_000
STREAM_NS = 10_000_000
SECONDS = 0.5
MEBIBYTE = 1 << 20


def measure(operation, minimum=30, batch=BATCH_NS):
    """Runs operation(count) in batches for a while; (median, p99) in ns per operation."""

    def timed(count):
        start = time.perf_counter_ns()
        operation(count)
        return (time.perf_counter_ns() - start) / count

    count = 1
    while timed(count) * count < batch and count < 1 << 20:
        count *= 2
    samples = []
    end = time.perf_counter() + SECONDS
    while len(samples) < minimum or time.perf_counter() < end:
        samples.append(timed(count))
    samples.sort()
    return samples[(len(samples) - 1) // 2], samples[min(len(samples) - 1, len(samples) * 99 // 100)]


def lock(_):
    mutex = multiprocessing.Lock()

    def run(count):
        for _ in range(count):
            with mutex:
                pass

    return measure(run)


def semaphore(_):
    permits = multiprocessing.BoundedSemaphore(4)

    def run(count):
        for _ in range(count):
            with permits:
                pass

    return measure(run)


def signals(_):
    signal = multiprocessing.Semaphore(1)

    def run(count):
        for _ in range(count):
            signal.acquire()
            signal.release()

    return measure(run)


def event_check(_):
    event = multiprocessing.Event()

    def run(count):
        for _ in range(count):
            event.is_set()

    return measure(run)


def event_set_clear(_):
    event = multiprocessing.Event()

    def run(count):
        for _ in range(count):
            event.set()
            event.clear()

    return measure(run)
def barrier_peer(barrier, core):
    pin(core)
    try:
        while True:
            barrier.wait()
    except threading.BrokenBarrierError:
        pass


def barrier(options):
    context = multiprocessing.get_context("spawn")
    shared = context.Barrier(2)
    process = context.Process(target=barrier_peer, args=(shared, options.peer_core))
    process.start()

    def run(count):
        for _ in range(count):
            shared.wait()

    run(1)
    result = measure(run)
    shared.abort()
    process.join()
    return result


def condition_peer(condition, turn, core):
    pin(core)
    with condition:
        while True:
            condition.wait_for(lambda: turn.value != 0)
            if turn.value == 2:
                return
            turn.value = 0
            condition.notify()


def condition(options):
    context = multiprocessing.get_context("spawn")
    shared = context.Condition()
    turn = context.Value("i", 0, lock=False)
    process = context.Process(target=condition_peer, args=(shared, turn, options.peer_core))
    process.start()

    def run(count):
        with shared:
            for _ in range(count):
                turn.value = 1
                shared.notify()
                shared.wait_for(lambda: turn.value == 0)

    run(1)
    result = measure(run)
    with shared:
        turn.value = 2
        shared.notify()
    process.join()
    return result


def value_read(_):
    value = multiprocessing.Value("d", 0.0)

    def run(count):
        for _ in range(count):
            value.value

    return measure(run)


def value_update(_):
    value = multiprocessing.Value("q", 0)

    def run(count):
        for _ in range(count):
            with value.get_lock():
                value.value += 1

    return measure(run)


def negate(length):
    numbers = multiprocessing.Array("i", length, lock=False)

    def run(count):
        for _ in range(count):
            for i in range(length):
                numbers[i] = -numbers[i]

    return measure(run, minimum=3)


def copy_out(length):
    numbers = multiprocessing.Array("i", length, lock=False)

    def run(count):
        for _ in range(count):
            bytes(memoryview(numbers))

    return measure(run)


def pin(core):
    if core is not None:
        os.sched_setaffinity(0, {core})


def echo_bytes(connection, core):
    pin(core)
    try:
        while True:
            connection.send_bytes(connection.recv_bytes())
    except EOFError:
        pass


def echo(connection, core):
    pin(core)
    try:
        while True:
            connection.send(connection.recv())
    except EOFError:
        pass


def sink(connection, core):
    pin(core)
    try:
        while True:
            connection.recv_bytes()
            connection.send_bytes(b"a")
    except EOFError:
        pass


def with_peer(peer, make_run, options):
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=peer, args=(theirs, options.peer_core))
    process.start()
    theirs.close()
    run = make_run(ours)
    run(1)
    result = measure(run)
    ours.close()
    process.join()
    return result


def round_trip(options):
    payload = bytes(64)

    def make_run(connection):
        def run(count):
            for _ in range(count):
                connection.send_bytes(payload)
                connection.recv_bytes()

        return run

    return with_peer(echo_bytes, make_run, options)


def typed_round_trip(options):
    def make_run(connection):
        def run(count):
            for _ in range(count):
                connection.send([42, None, "hello"])
                connection.recv()

        return run

    return with_peer(echo, make_run, options)


def mebibyte_messages(options):
    payload = bytes(MEBIBYTE)

    def make_run(connection):
        def run(count):
            for _ in range(count):
                connection.send_bytes(payload)
            for _ in range(count):
                connection.recv_bytes()

        return run

    return with_peer(sink, make_run, options)


def queue_peer(queue, answers, core):
    pin(core)
    while (number := queue.get()) is not None:
        if number < 0:
            answers.send_bytes(b"a")


def queue(options):
    context = multiprocessing.get_context("spawn")
    numbers = context.Queue()
    ours, theirs = context.Pipe()
    process = context.Process(target=queue_peer, args=(numbers, theirs, options.peer_core))
    process.start()

    def run(count):
        for i in range(count - 1):
            numbers.put(i)
        numbers.put(-1)
        ours.recv_bytes()

    run(1)
    result = measure(run, batch=STREAM_NS)
    numbers.put(None)
    process.join()
    return result


def queue_echo(there, back, core):
    pin(core)
    while (number := there.get()) is not None:
        back.put(number)


def queue_ping_pong(options):
    context = multiprocessing.get_context("spawn")
    there, back = context.Queue(), context.Queue()
    process = context.Process(target=queue_echo, args=(there, back, options.peer_core))
    process.start()

    def run(count):
        for i in range(count):
            there.put(i)
            back.get()

    run(1)
    result = measure(run)
    there.put(None)
    process.join()
    return result


def nothing():
    pass


def start_and_join(method):
    context = multiprocessing.get_context(method)

    def run(count):
        for _ in range(count):
            process = context.Process(target=nothing)
            process.start()
            process.join()

    run(1)  # starts the fork server and the resource tracker, once
    return measure(run)


@dataclass
class Record:
    id: int
    name: str
    values: list


RECORD = Record(7, "temperature", [i + 0.5 for i in range(10)])


def record_encode(_):
    # A dictionary, since that is what a Codable struct is on the wire.
    def run(count):
        for _ in range(count):
            pickle.dumps(vars(RECORD), 4)

    return measure(run)


def record_decode(_):
    data = pickle.dumps(vars(RECORD), 4)

    def run(count):
        for _ in range(count):
            Record(**pickle.loads(data))

    return measure(run)


def pickle_loads(_):
    data = pickle.dumps(vars(RECORD), 4)

    def run(count):
        for _ in range(count):
            pickle.loads(data)

    return measure(run)


def thousand():
    return array.array("d", (i + 0.5 for i in range(1000)))


def thousand_encode(_):
    numbers = thousand()

    def run(count):
        for _ in range(count):
            pickle.dumps(numbers, 4)

    return measure(run)


def thousand_decode(_):
    data = pickle.dumps(thousand(), 4)

    def run(count):
        for _ in range(count):
            pickle.loads(data)

    return measure(run)


def thousand_round_trip(options):
    numbers = thousand()

    def make_run(connection):
        def run(count):
            for _ in range(count):
                connection.send(numbers)
                connection.recv()

        return run

    return with_peer(echo, make_run, options)


def same(number):
    return number


def increment(number):
    return number + 1


def total(array):
    return array.sum() if hasattr(array, "sum") else sum(array)


def with_pool(workers, make_run, options, minimum=30):
    with multiprocessing.get_context("fork").Pool(
        workers, initializer=pin, initargs=(options.peer_core if workers == 1 else None,)
    ) as pool:
        run = make_run(pool)
        run(1)
        return measure(run, minimum=minimum)


def with_executor(workers, make_run, options, minimum=30):
    with concurrent.futures.ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("fork"),
        initializer=pin,
        initargs=(options.peer_core if workers == 1 else None,),
    ) as pool:
        run = make_run(pool)
        run(1)
        return measure(run, minimum=minimum)


def pool_apply(options):
    def make_run(pool):
        def run(count):
            for i in range(count):
                pool.apply(same, (i,))

        return run

    return with_pool(1, make_run, options)


def executor_apply(options):
    def make_run(pool):
        def run(count):
            for i in range(count):
                pool.submit(same, i).result()

        return run

    return with_executor(1, make_run, options)


def pool_map(workers, length, chunk_size):
    def job(options):
        def make_run(pool):
            def run(count):
                for _ in range(count):
                    pool.map(increment, range(length), chunk_size)

            return run

        return with_pool(workers, make_run, options, minimum=3)

    return job


def executor_map(workers, length, chunk_size):
    def job(options):
        def make_run(pool):
            def run(count):
                for _ in range(count):
                    for _ in pool.map(increment, range(length), chunksize=chunk_size):
                        pass

            return run

        return with_executor(workers, make_run, options, minimum=3)

    return job


def pool_map_array(options):
    # As bytes of numbers, which pickle copies without looking at them.
    chunks = [array.array("i", bytes(1 << 20))] * 256

    def make_run(pool):
        def run(count):
            for _ in range(count):
                pool.map(total, chunks, 1)

        return run

    return with_pool(2, make_run, options, minimum=1)


def pool_from_nothing(_):
    context = multiprocessing.get_context("fork")

    def run(count):
        for i in range(count):
            pool = context.Pool(2)
            pool.apply(same, (i,))
            pool.close()
            pool.join()

    run(1)
    return measure(run)


JOBS = {
    "lock": lock,
    "semaphore": semaphore,
    "signals": signals,
    "event-check": event_check,
    "event-set-clear": event_set_clear,
    "barrier": barrier,
    "condition": condition,
    "value-read": value_read,
    "value-update": value_update,
    "negate-4096": lambda _: negate(4096),
    "copy-out-16384": lambda _: copy_out(16384),
    "round-trip": round_trip,
    "typed-round-trip": typed_round_trip,
    "mebibyte-messages": mebibyte_messages,
    "queue": queue,
    "queue-ping-pong": queue_ping_pong,
    "spawn": lambda _: start_and_join("spawn"),
    "fork": lambda _: start_and_join("fork"),
    "forkserver": lambda _: start_and_join("forkserver"),
    "record-encode": record_encode,
    "pool-apply": pool_apply,
    "executor-apply": executor_apply,
    "pool-map-singly": pool_map(1, 1000, 1),
    "executor-map-singly": executor_map(1, 1000, 1),
    "pool-map-million": pool_map(2, 1_000_000, None),
    "executor-map-million": executor_map(2, 1_000_000, 62_500),
    "pool-map-array": pool_map_array,
    "pool-from-nothing": pool_from_nothing,
    "record-decode": record_decode,
    "pickle-loads": pickle_loads,
    "thousand-encode": thousand_encode,
    "thousand-decode": thousand_decode,
    "thousand-round-trip": thousand_round_trip,
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("job", choices=[*JOBS, "version", "echo-on-3"])
    parser.add_argument("--core", type=int)
    parser.add_argument("--peer-core", type=int)
    options = parser.parse_args()
    if options.job == "version":
        print(platform.python_version())
        return
    if options.job == "echo-on-3":
        echo(multiprocessing.connection.Connection(3), options.core)
        return
    pin(options.core)
    print(*JOBS[options.job](options))


if __name__ == "__main__":
    main()
