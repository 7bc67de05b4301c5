/* SPDX-License-Identifier: Apache-2.0 */
/// Status codes. A function of CIPC returns one `int`:
///
/// - 0: done;
/// - positive, such as `CIPC_OWNER_DIED`: done, and the caller must know something about it;
/// - negative: failed; nothing was changed unless the function says otherwise.
///
/// Negative values from -4095 to -1 are `-errno` as the kernel gave it, the
/// ones that CIPC itself produces having names below; values from -4096
/// downwards are CIPC's own. One list makes the enum, the names and the
/// messages.
#ifndef CIPC_STATUS_H
#define CIPC_STATUS_H

#include <errno.h>

#if !defined(__linux__)
#error "SwiftIPC runs on Linux only: it rests on futexes, memfd, pidfd and robust mutexes"
#endif

#if defined(__cplusplus)
#define CIPC_BEGIN_DECLS extern "C" {
#define CIPC_END_DECLS }
#else
#define CIPC_BEGIN_DECLS
#define CIPC_END_DECLS
#endif

/// Marks what the shared library exports; everything else is hidden there.
#define CIPC_API __attribute__((visibility("default")))
/// Functions whose definition stands in a header: `static inline` for C, C++ and Swift. The shared
/// library exports each of them under its own name as well (inline.c), for languages that read no
/// headers.
#if !defined(CIPC_INLINE)
#define CIPC_INLINE static inline
#endif
/// The result must be looked at.
#define CIPC_CHECKED __attribute__((warn_unused_result))

// clang-format off
/// X(NAME, value, message)
#define CIPC_STATUS_LIST(X) \
  X(CIPC_OK,                 0,             "done") \
  X(CIPC_OWNER_DIED,         1,             "the previous owner died while holding the lock") \
  X(CIPC_PARTICIPANT_DEAD,   2,             "the participant is dead") \
  X(CIPC_WAIT_LOOK,          3,             "it is time to look for the dead, and to try again") \
  X(CIPC_BARRIER_ACT,        4,             "all have arrived: run the action, then finish") \
  X(CIPC_SEGMENT_CREATED,    5,             "the segment was made by this call") \
  X(CIPC_REGION_CREATED,     6,             "the object in the region was made by this call") \
  X(CIPC_PROCESS_IN_CHILD,   7,             "this is the child") \
  X(CIPC_EINVAL,             -EINVAL,       "invalid argument") \
  X(CIPC_ENOMEM,             -ENOMEM,       "out of memory") \
  X(CIPC_ENOSPC,             -ENOSPC,       "no space left for shared memory") \
  X(CIPC_ETIMEDOUT,          -ETIMEDOUT,    "the deadline passed") \
  X(CIPC_EBUSY,              -EBUSY,        "held by another process or thread") \
  X(CIPC_EDEADLK,            -EDEADLK,      "this thread holds the lock already") \
  X(CIPC_EPERM,              -EPERM,        "not permitted, or not the owner") \
  X(CIPC_EAGAIN,             -EAGAIN,       "not ready, or a resource limit was reached") \
  X(CIPC_EBADF,              -EBADF,        "not an open descriptor, or not one of the right kind") \
  X(CIPC_EEXIST,             -EEXIST,       "the name exists already") \
  X(CIPC_ENOENT,             -ENOENT,       "no such name") \
  X(CIPC_EMFILE,             -EMFILE,       "too many open descriptors in this process") \
  X(CIPC_ENFILE,             -ENFILE,       "too many open descriptors on this machine") \
  X(CIPC_ENOSYS,             -ENOSYS,       "this kernel does not have the system call") \
  X(CIPC_EOPNOTSUPP,         -EOPNOTSUPP,   "not supported on this kind of descriptor") \
  X(CIPC_EOVERFLOW,          -EOVERFLOW,    "a size is beyond what can be represented") \
  X(CIPC_EMSGSIZE,           -EMSGSIZE,     "the message is longer than the buffer") \
  X(CIPC_EINTR,              -EINTR,        "a signal arrived, or it is time to look for one: call again to go on") \
  X(CIPC_ECANCELED,          -ECANCELED,    "the wait was cancelled") \
  X(CIPC_EACCES,             -EACCES,       "no permission") \
  X(CIPC_EADDRINUSE,         -EADDRINUSE,   "another listener is at this address, or has its name") \
  X(CIPC_EADDRNOTAVAIL,      -EADDRNOTAVAIL, "not an address of this machine, or no port left") \
  X(CIPC_ECONNREFUSED,       -ECONNREFUSED, "no listener at this address") \
  X(CIPC_ECHILD,             -ECHILD,       "not a child of this process, or reaped already") \
  X(CIPC_ESRCH,              -ESRCH,        "no such process") \
  X(CIPC_ENOTRECOVERABLE,    -ENOTRECOVERABLE, "the lock was destroyed or can no longer be recovered") \
  X(CIPC_ECLOSED,            -4096,         "closed") \
  X(CIPC_EPEERCLOSED,        -4097,         "the peer closed the connection") \
  X(CIPC_ENOTREADABLE,       -4098,         "this end only sends") \
  X(CIPC_ENOTWRITABLE,       -4099,         "this end only receives") \
  X(CIPC_ETRUNCATED,         -4100,         "the stream ended in the middle of a frame") \
  X(CIPC_EFRAMELENGTH,       -4101,         "frame length: negative and not -1") \
  X(CIPC_EFRAMETOOLONG,      -4102,         "frame length: beyond the maximum message size") \
  X(CIPC_EDESCRIPTORSLOST,   -4103,         "descriptors that came with a message were lost (descriptor limit reached?)") \
  X(CIPC_EDESCRIPTORCOUNT,   -4104,         "more descriptors with a message than allowed") \
  X(CIPC_EDESCRIPTORSREFUSED, -4105,        "descriptors came with a message that may have none") \
  X(CIPC_ESEGMENTSIZE,       -4110,         "segment size: too short") \
  X(CIPC_ESEGMENTSEALS,      -4111,         "segment seals: the memory is not sealed against resizing") \
  X(CIPC_ESEGMENTREADY,      -4112,         "segment ready word: its creator did not finish it") \
  X(CIPC_ESEGMENTMAGIC,      -4113,         "segment magic: not a segment of this library") \
  X(CIPC_ESEGMENTVERSION,    -4114,         "segment layout version: made by another version of this library") \
  X(CIPC_ESEGMENTKIND,       -4115,         "segment kind: another type of object") \
  X(CIPC_ESEGMENTELEMENT,    -4116,         "segment element size: another element type") \
  X(CIPC_ESEGMENTSTRIDE,     -4117,         "segment stride: another element type") \
  X(CIPC_ESEGMENTALIGNMENT,  -4118,         "segment alignment: another element type") \
  X(CIPC_ESEGMENTCOUNT,      -4119,         "segment count: does not fit the size of the segment") \
  X(CIPC_ESEGMENTTYPE,       -4120,         "segment type fingerprint: another element type") \
  X(CIPC_ESEGMENTMUTEX,      -4121,         "segment mutex layout: made with another libc") \
  X(CIPC_ESEGMENTNAMESPACE,  -4122,         "segment pid namespace: made in another pid namespace") \
  X(CIPC_ESEGMENTOWNER,      -4123,         "segment owner: the name belongs to another user") \
  X(CIPC_ESEGMENTSHAPE,      -4124,         "segment shape: another shape, or another kind of array") \
  X(CIPC_ESEGMENTBOUND,      -4125,         "segment bound: another limit") \
  X(CIPC_ENOBOOTSTRAP,       -4130,         "the start-up hook did not run in this program: call bootstrap() first in main") \
  X(CIPC_EBOOTSTRAP,         -4131,         "the child ended before it took its task") \
  X(CIPC_ETHREADS,           -4132,         "a process with more than one thread cannot be forked safely") \
  X(CIPC_EBROKEN,            -4140,         "the barrier is broken") \
  X(CIPC_ECAPACITY,          -4141,         "does not fit the capacity") \
  X(CIPC_EHUGEPAGES,         -4142,         "not enough free huge pages (vm.nr_hugepages)") \
  X(CIPC_EFINISHED,          -4150,         "finished: nothing more will come") \
  X(CIPC_ENOBODY,            -4151,         "every other process that had it open is gone") \
  X(CIPC_ERINGHEADER,        -4152,         "ring header: of another kind of ring, or not a ring's") \
  X(CIPC_ERINGINDEX,         -4153,         "ring head or tail: beyond the ring") \
  X(CIPC_ERINGRECORD,        -4154,         "ring record length: beyond what was put") \
  X(CIPC_EADDRESSLONG,       -4160,         "a path or name of more than 107 bytes, which is all that a socket's address holds") \
  X(CIPC_EHOST,              -4161,         "no such host") \
  X(CIPC_EHANDLES,           -4162,         "what arrived is not descriptors as Python sends them")
// clang-format on

CIPC_BEGIN_DECLS

typedef enum cipc_status {
#define CIPC_STATUS_ENUM(name, value, message) name = (value),
  CIPC_STATUS_LIST(CIPC_STATUS_ENUM)
#undef CIPC_STATUS_ENUM
} cipc_status_t;

/// The name of a status, such as "CIPC_ETIMEDOUT"; "errno" for a kernel error
/// that has no name here. Never NULL; static storage; safe in signal handlers.
CIPC_API const char *cipc_status_name(int status);

/// One line in English that says what the status means. Never NULL; static
/// storage; safe in signal handlers and from any thread.
CIPC_API const char *cipc_status_message(int status);

CIPC_END_DECLS

#endif
