# SPDX-License-Identifier: Apache-2.0
"""Plain named segments of libcipc and multiprocessing.shared_memory are the same bytes."""
import ctypes
import os
import sys

TESTS = []


class Options(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_void_p), ("label", ctypes.c_char_p), ("named", ctypes.c_int),
        ("flags", ctypes.c_uint), ("mode", ctypes.c_uint), ("backed", ctypes.c_size_t)]


def load():
    here = os.path.dirname(os.path.abspath(__file__))
    cipc = ctypes.CDLL(os.path.join(here, "../../build/libcipc.so"))
    cipc.cipc_segment_address.restype = ctypes.c_void_p
    cipc.cipc_segment_address.argtypes = [ctypes.c_void_p]
    cipc.cipc_segment_size.restype = ctypes.c_size_t
    cipc.cipc_segment_size.argtypes = [ctypes.c_void_p]
    cipc.cipc_segment_create.argtypes = [
        ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t, ctypes.POINTER(Options)]
    cipc.cipc_segment_publish.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    cipc.cipc_segment_open_named.argtypes = [
        ctypes.POINTER(ctypes.c_void_p), ctypes.c_char_p, ctypes.POINTER(Options)]
    cipc.cipc_segment_unlink.argtypes = [ctypes.c_char_p]
    cipc.cipc_segment_close.argtypes = [ctypes.c_void_p]
    cipc.cipc_segment_close.restype = None
    return cipc


def test(function):
    TESTS.append(function)
    return function


@test
def python_opens_what_c_made(cipc, shared_memory):
    name = "cipc-python-test-%d" % os.getpid()
    segment = ctypes.c_void_p()
    options = Options(None, None, 1, 0, 0)
    assert cipc.cipc_segment_create(ctypes.byref(segment), 100, ctypes.byref(options)) == 0
    ctypes.memmove(cipc.cipc_segment_address(segment), b"from C", 6)
    assert cipc.cipc_segment_publish(segment, b"/" + name.encode()) == 0
    memory = shared_memory.SharedMemory(name)
    assert memory.size == 100 and bytes(memory.buf[:7]) == b"from C\0"
    memory.buf[0:4] = b"FROM"
    assert ctypes.string_at(cipc.cipc_segment_address(segment), 6) == b"FROM C"
    memory.close()
    # Takes the name away and out of the hands of Python's resource tracker.
    memory.unlink()
    assert cipc.cipc_segment_unlink(b"/" + name.encode()) == -2  # CIPC_ENOENT
    cipc.cipc_segment_close(segment)


@test
def c_opens_what_python_made(cipc, shared_memory):
    memory = shared_memory.SharedMemory(create=True, size=100)
    memory.buf[:11] = b"from Python"
    segment = ctypes.c_void_p()
    name = b"/" + memory.name.encode()
    assert cipc.cipc_segment_open_named(ctypes.byref(segment), name, None) == 0
    assert cipc.cipc_segment_size(segment) == 100
    address = cipc.cipc_segment_address(segment)
    assert ctypes.string_at(address, 11) == b"from Python"
    ctypes.memmove(address, b"FROM", 4)
    assert bytes(memory.buf[:11]) == b"FROM Python"
    memory.close()
    memory.unlink()
    assert ctypes.string_at(address, 11) == b"FROM Python"
    cipc.cipc_segment_close(segment)


def main():
    if sys.version_info < (3, 8):
        print("skipped: shared_memory needs Python 3.8")
        print("0 passed, 0 failed, %d skipped" % len(TESTS))
        return
    from multiprocessing import shared_memory

    cipc = load()
    for function in TESTS:
        print(function.__name__)
        function(cipc, shared_memory)
    print("%d passed, 0 failed" % len(TESTS))


main()
