# SPDX-License-Identifier: Apache-2.0
"""Both dialects of authentication, and both of passing descriptors, on any Python.

Written from the protocol, not from CPython's source, so that a machine with one Python tries the
dialects of the others: what a Python up to 3.11 says ("old", or "md5" for an old one's answers to new
challenges), and one from 3.12 on ("new").

    handshake.py listen|connect DIALECT ADDRESS KEY    authenticates, then echoes messages
    handshake.py handles plain|acknowledged            passes descriptors back and forth on descriptor 3

With descriptor 3 it says when it listens, and what came of it: "welcome", or why not.
"""
import array
import hmac
import os
import socket
import sys
from multiprocessing.connection import Client, Connection, Listener


class Refused(Exception):
    pass


def split(message):
    """The name of a digest in braces, and what is behind it."""
    if not message.startswith(b"{"):
        raise Refused("no digest")
    name, _, rest = message[1:].partition(b"}")
    return name.decode(), rest


def challenge(connection, key, dialect):
    message = os.urandom(20 if dialect == "old" else 40)
    if dialect != "old":
        message = b"{sha256}" + message
    connection.send_bytes(b"#CHALLENGE#" + message)
    answer = connection.recv_bytes(256)
    if len(answer) == 16:
        digest, code = "md5", answer
    else:
        digest, code = split(answer)
    if dialect == "new" and digest == "md5":
        connection.send_bytes(b"#FAILURE#")
        raise Refused("md5")
    if dialect == "old" and len(answer) != 16:
        connection.send_bytes(b"#FAILURE#")
        raise Refused("a new answer to an old challenge")
    if not hmac.compare_digest(hmac.new(key, message, digest).digest(), code):
        connection.send_bytes(b"#FAILURE#")
        raise Refused("another key")
    connection.send_bytes(b"#WELCOME#")


def answer(connection, key, dialect):
    message = connection.recv_bytes(256)
    if not message.startswith(b"#CHALLENGE#"):
        raise Refused("no challenge")
    message = message[len(b"#CHALLENGE#"):]
    if dialect == "old" or len(message) == 20:
        # One that knows nothing of digests takes the whole of any challenge.
        connection.send_bytes(hmac.new(key, message, "md5").digest())
    else:
        digest, _ = split(message)
        if dialect == "sha384":
            digest = "sha384"
        code = hmac.new(key, message, digest).digest()
        connection.send_bytes(b"{" + digest.encode() + b"}" + code)
    verdict = connection.recv_bytes(256)
    if verdict != b"#WELCOME#":
        raise Refused("refused: " + repr(verdict))


def authenticate(role, dialect, address, key):
    control = Connection(3)
    try:
        if role == "listen":
            with Listener(address) as listener:
                control.send("listening")
                connection = listener.accept()
            challenge(connection, key, dialect)
            answer(connection, key, dialect)
        else:
            connection = Client(address)
            answer(connection, key, dialect)
            challenge(connection, key, dialect)
    except (Refused, EOFError, OSError) as error:
        control.send("refused: %s" % error)
        return
    control.send("welcome")
    while True:
        try:
            connection.send_bytes(connection.recv_bytes())
        except EOFError:
            return


def send_one(stream, descriptor, is_acknowledged):
    stream.sendmsg([b"\1"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))])
    if is_acknowledged:
        assert stream.recv(1) == b"A"


def receive_one(stream, is_acknowledged):
    byte, control, _, _ = stream.recvmsg(1, socket.CMSG_SPACE(4))
    if is_acknowledged:
        stream.send(b"A")
    assert byte == b"\1" and len(control) == 1, (byte, control)
    return array.array("i", control[0][2])[0]


def pass_handles(dialect):
    is_acknowledged = dialect == "acknowledged"
    control = Connection(3)
    stream = socket.socket(fileno=os.dup(3))
    for _ in range(3):
        control.send("sending")
        reading, writing = os.pipe()
        os.write(writing, b"from Python")
        os.close(writing)
        send_one(stream, reading, is_acknowledged)
        os.close(reading)
        assert control.recv() == "sending"
        descriptor = receive_one(stream, is_acknowledged)
        assert os.read(descriptor, 100) == b"from Swift"
        os.close(descriptor)
    control.send("done")


if sys.argv[1] == "handles":
    pass_handles(sys.argv[2])
else:
    authenticate(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4].encode())
