# SPDX-License-Identifier: Apache-2.0
"""The Python end of the message tests, for Python 3.6 and later.

    message_corpus.py dump PROTOCOL   writes every value of the corpus to stdout, pickled
    message_corpus.py check           reads as many messages from stdin, compares them with the corpus
    message_corpus.py echo PROTOCOL   reads messages from stdin, writes what it read, pickled again

Messages are framed as multiprocessing.connection does it. `check` prints a line for each value that
differs and ends with a line "N of M equal".
"""
import pickle
import random
import struct
import sys


def corpus():
    values = [None, True, False, "", "hello", "a" * 255, "b" * 256, "c" * 70000, "d" * 15, "e" * 16]
    # Integers at every boundary of every encoding, and far beyond.
    for bits in (1, 7, 8, 15, 16, 31, 32, 53, 63, 64, 65, 127, 128, 129, 1024, 2040, 2041, 4096):
        for around in range(-2, 3):
            values += [2 ** bits + around, -(2 ** bits) + around]
    values += list(range(-3, 4))
    values += [0.0, -0.0, 1.5, -2.25, 1e308, 5e-324, float("inf"), float("-inf"), float("nan"), 0.1]
    values += ["\u00e9\u20ac\U0001f600", "\x00", "\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff", "\u0301"]
    for size in (0, 1, 255, 256, 70000):
        values += [bytes(i % 256 for i in range(size)), bytearray(i % 256 for i in range(size))]
    for size in (0, 1, 2, 3, 4, 1000, 1001, 2000):
        values += [
            list(range(size)),
            tuple(range(size)),
            {i: str(i) for i in range(size)},
            {str(i): [i] for i in range(size)},
            set(range(size)),
            frozenset(range(size)),
            [[i, [str(i)]] for i in range(size)],
        ]
    values += [1 + 2j, complex("nan"), complex(0.0, -0.0), {(1, "a"): {2.5: b"x"}, None: 0, True: 1}]
    values += [{frozenset([1, frozenset([2])]), (1, (2, 3)), "x", b"y", 1.5, None}]
    x = ["shared", {"name of more than fifteen bytes": 1.0}]
    values += [[x, x], {"a": x, "b": (x, x)}, [[0] * 100] * 100, ["a longer shared string"] * 50]
    t = (x, 1)
    values += [[t, t, [t]], [{"id": i, "name": "n%d" % i, "tag": "the very same tag"} for i in range(1500)]]
    deep = []
    for _ in range(200):
        deep = [deep]
    values.append(deep)

    # And what was not thought of, the same in each run.
    chance = random.Random(20240607)

    def scalar():
        kind = chance.randrange(8)
        if kind == 0:
            return None
        if kind == 1:
            return chance.random() < 0.5
        if kind == 2:
            return chance.getrandbits(chance.choice((3, 8, 16, 31, 32, 63, 64, 100, 300))) * chance.choice((1, -1))
        if kind == 3:
            return struct.unpack("<d", struct.pack("<Q", chance.getrandbits(64)))[0]
        if kind == 4:
            return chance.uniform(-1e6, 1e6)
        if kind == 5:
            return bytes(chance.getrandbits(8) for _ in range(chance.randrange(20)))
        return "".join(chr(chance.choice((65, 97, 233, 0x20AC, 0x1F600, 10))) for _ in range(chance.randrange(20)))

    def key():
        if chance.random() < 0.1:
            return tuple(key() for _ in range(chance.randrange(3)))
        value = scalar()
        return 0.5 if isinstance(value, float) and value != value else value

    def value(depth):
        kind = chance.randrange(9)
        size = chance.randrange(6)
        if depth == 0 or kind < 3:
            return scalar()
        if kind == 3:
            return tuple(value(depth - 1) for _ in range(size))
        if kind in (4, 5):
            return {key(): value(depth - 1) for _ in range(size)}
        if kind == 6:
            return {key() for _ in range(size)}
        if kind == 7:
            shared = value(depth - 1)
            return [shared, [shared] * size]
        return [value(depth - 1) for _ in range(size)]

    values += [value(6) for _ in range(400)]
    return values


def same(a, b):
    """Equal, of the same types, in the same order; NaN is NaN and -0.0 is not 0.0."""
    if isinstance(a, bytearray):
        a = bytes(a)
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack("<d", a) == struct.pack("<d", b)
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    if isinstance(a, dict):
        return same(list(a.items()), list(b.items()))
    return a == b


def write(message):
    sys.stdout.buffer.write(struct.pack("!i", len(message)) + message)


def messages():
    while True:
        header = sys.stdin.buffer.read(4)
        if not header:
            return
        yield sys.stdin.buffer.read(struct.unpack("!i", header)[0])


def main(mode, protocol=4):
    if mode == "dump":
        for value in corpus():
            write(pickle.dumps(value, int(protocol)))
    elif mode == "echo":
        for message in messages():
            write(pickle.dumps(pickle.loads(message), int(protocol)))
    elif mode == "check":
        expected = corpus()
        equal = 0
        got = list(messages())
        for index, (value, message) in enumerate(zip(expected, got)):
            try:
                back = pickle.loads(message)
            except Exception as error:
                print("value %d: %r for %.60r" % (index, error, value))
                continue
            if same(value, back):
                equal += 1
            else:
                print("value %d: %.60r came back as %.60r" % (index, value, back))
        print("%d of %d equal" % (equal, len(expected)))
        if len(got) != len(expected):
            print("%d messages arrived" % len(got))


if __name__ == "__main__":
    main(*sys.argv[1:])
