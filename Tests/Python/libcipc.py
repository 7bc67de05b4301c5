# SPDX-License-Identifier: Apache-2.0
"""build/libcipc.so as ctypes finds it: no compiled shim, no headers."""
import ctypes
import os

ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))

NO_DEADLINE = 2**63 - 1
IMMEDIATELY = 0
SECONDS = 10**9

OWNER_DIED = 1
EPERM = -1
ENOENT = -2
EAGAIN = -11
EBUSY = -16
EINVAL = -22
ETIMEDOUT = -110
EBROKEN = -4140

ANY_COUNT = 2**64 - 1
FINGERPRINT_ANY = 2**64 - 1


class Element(ctypes.Structure):
    """cipc_element_t"""
    _fields_ = [(name, ctypes.c_uint64) for name in ("size", "stride", "alignment", "fingerprint")]


class RingOptions(ctypes.Structure):
    """cipc_ring_options_t"""
    _fields_ = [
        ("flags", ctypes.c_uint), ("capacity", ctypes.c_uint64), ("records", ctypes.c_uint64),
        ("fingerprint", ctypes.c_uint64), ("label", ctypes.c_char_p)]


class JournalArea(ctypes.Structure):
    """cipc_journal_area_t"""
    _fields_ = [
        ("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("redo", ctypes.c_void_p),
        ("capacity", ctypes.c_size_t)]


class Array(ctypes.Structure):
    """cipc_array_t"""
    _fields_ = [
        ("elements", ctypes.c_void_p), ("count", ctypes.c_uint64), ("stride", ctypes.c_uint64),
        ("journal", ctypes.c_void_p), ("area", JournalArea), ("rank", ctypes.c_uint64),
        ("shape", ctypes.c_uint64 * 64)]


# Results that are not an int.
RESULTS = {
    ctypes.c_void_p: [
        "cipc_segment_address", "cipc_ring_segment", "cipc_region_in", "cipc_region_address"],
    ctypes.c_char_p: [
        "cipc_status_name", "cipc_status_message", "cipc_type_name", "cipc_segment_refusal",
        "cipc_element_name"],
    ctypes.POINTER(Element): ["cipc_element"],
    ctypes.c_size_t: [
        "cipc_segment_size", "cipc_type_size", "cipc_type_alignment", "cipc_semaphore_footprint",
        "cipc_barrier_footprint", "cipc_condition_footprint", "cipc_rwlock_footprint",
        "cipc_cell_footprint", "cipc_bytes_footprint"],
    ctypes.c_uint64: [
        "cipc_participant_self", "cipc_participant_this_thread", "cipc_mutex_holder",
        "cipc_atomic_load", "cipc_atomic_add", "cipc_atomic_exchange", "cipc_segment_count",
        "cipc_fingerprint_of", "cipc_ring_fingerprint"],
    ctypes.c_int64: ["cipc_clock_now", "cipc_clock_deadline"],
    None: [
        "cipc_segment_close", "cipc_event_set", "cipc_event_clear", "cipc_event_init",
        "cipc_ring_close", "cipc_memory_free", "cipc_atomic_store"],
}


def load():
    with open(os.path.join(ROOT, "VERSION")) as file:
        version = file.read().strip()
    library = ctypes.CDLL(os.path.join(ROOT, "build/libcipc.so." + version))
    for result, names in RESULTS.items():
        for name in names:
            getattr(library, name).restype = result
    return library


def run(tests, *arguments):
    """Runs test functions and prints the line that Scripts/run-programs counts."""
    for function in tests:
        print(function.__name__, flush=True)
        function(*arguments)
    print("%d passed, 0 failed" % len(tests))
