/* SPDX-License-Identifier: Apache-2.0 */
/// Connections: one end of a stream of messages, for any number of threads.
///
/// A connection owns its descriptor. Any function but `free` may be called from several threads at
/// once; senders take turns frame by frame, and so do receivers, first come first served, and
/// waiting for a turn counts against the deadline. `close` wakes every call inside, which returns
/// CIPC_ECLOSED.
///
/// What ends a connection: a malformed, truncated or incomplete message is reported once; from then
/// on every call, in either direction, returns CIPC_ECLOSED. So does every call after a send that
/// ended in the middle of its frame (its deadline passed, say), since the peer could not tell where
/// the next frame begins. A send that ended before the first byte, and a receive that ended
/// anywhere, changed nothing: what had arrived is kept for the next receive.
///
/// A connection reads ahead. What it has read is its own: a duplicate of it, and a forked child's
/// copy, do not have it. Where a description is shared (CIPC_CONNECTION_SHARED, and both sides of
/// `duplicate`) reads go exactly to the end of a frame, so that the other holder loses nothing.
/// Holders take no turns with each other: two that receive at the same time, or send frames of more
/// than a few kB, take frames apart. Let a mutex decide.
///
/// After a fork both processes hold the same stream. The child may close and free every connection,
/// also one that threads of the parent are inside of: in the child no thread is. It may use a
/// connection, too, as holders of the same description do. A connection on which the parent was
/// receiving the rest of a message into a caller's memory is closed in the child.
///
/// `close` and `free` never block because of the peer: see cipc/descriptor.h.
#ifndef CIPC_CONNECTION_H
#define CIPC_CONNECTION_H

#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "frame.h"
#include "status.h"
#include "wait.h"

CIPC_BEGIN_DECLS

typedef struct cipc_connection cipc_connection_t;

/// The connection receives.
#define CIPC_CONNECTION_READABLE 1u
/// The connection sends.
#define CIPC_CONNECTION_WRITABLE 2u
/// Others hold the same description: do not read ahead.
#define CIPC_CONNECTION_SHARED 4u

/// A message up to this many bytes can be received straight into the caller's
/// memory on the word of its header; a longer one is collected in memory that
/// grows as the bytes arrive.
#define CIPC_CONNECTION_DIRECT (UINT64_C(1) << 20)

/// Makes two connected duplex ends (a socketpair). `maximum` is the longest
/// message in either direction, in bytes; 0 stands for CIPC_FRAME_MAXIMUM. Both
/// are the caller's to free. CIPC_EMFILE, CIPC_ENFILE, CIPC_ENOMEM.
CIPC_API CIPC_CHECKED int cipc_connection_pair(cipc_connection_t **first,
                                               cipc_connection_t **second, uint64_t maximum);

/// The same for one direction: what `writer` sends, `reader` receives.
CIPC_API CIPC_CHECKED int cipc_connection_pipe(cipc_connection_t **reader,
                                               cipc_connection_t **writer, uint64_t maximum);

/// Makes a connection of a descriptor: a pipe or a connected stream socket. On
/// success the descriptor is the connection's (and close-on-exec), on failure it
/// stays the caller's. `flags`: CIPC_CONNECTION_...; with neither direction
/// given, a socket has both and a pipe the one that it is open for.
/// CIPC_EBADF: not open, or not for that direction. CIPC_EOPNOTSUPP: neither a
/// pipe nor a stream socket. CIPC_EINVAL: unknown flags. CIPC_ENOMEM.
CIPC_API CIPC_CHECKED int cipc_connection_adopt(cipc_connection_t **connection, int fd,
                                                unsigned flags, uint64_t maximum);

/// Makes a second connection for the same end. Neither reads ahead from then on;
/// what was read ahead stays with the original. CIPC_EBUSY: another thread
/// receives, or part of a message has been read or written: finish that first.
/// CIPC_ECLOSED, CIPC_EMFILE, CIPC_ENOMEM. See above for what the two must not do
/// at the same time.
CIPC_API CIPC_CHECKED int cipc_connection_duplicate(cipc_connection_t *connection,
                                                    cipc_connection_t **duplicate);

/// Closes the connection and wakes every call inside; the last one to leave closes the descriptor.
/// Later calls return CIPC_ECLOSED. Closing twice does nothing. Does not block. Not for signal
/// handlers.
CIPC_API void cipc_connection_close(cipc_connection_t *connection);

/// Closes the connection and frees it once no call is inside. The caller makes no further call.
/// NULL is ignored.
CIPC_API void cipc_connection_free(cipc_connection_t *connection);

/// CIPC_CONNECTION_READABLE and CIPC_CONNECTION_WRITABLE, as it was made.
CIPC_API unsigned cipc_connection_flags(const cipc_connection_t *connection);

/// The longest message, in bytes.
CIPC_API uint64_t cipc_connection_maximum(const cipc_connection_t *connection);

/// Makes the connection refuse descriptors, or accept them again: for a peer that is not known yet.
/// Once descriptors have come, with a message or behind it, receiving returns
/// CIPC_EDESCRIPTORSREFUSED, which ends the connection; none of them is opened here. While
/// descriptors are refused nothing is read ahead, which costs system calls. Call it between two
/// messages.
CIPC_API void cipc_connection_refuse_descriptors(cipc_connection_t *connection, int refuses);

/// 1 once closed or broken, otherwise 0.
CIPC_API int cipc_connection_closed(const cipc_connection_t *connection);

/// Sends one message, and waits until all of it is with the kernel.
///
/// The descriptors stay the caller's. CIPC_ETIMEDOUT before the first byte: nothing changed; in the
/// middle of the frame: the connection is closed. CIPC_EBUSY: with CIPC_IMMEDIATELY, and another
/// caller is sending. CIPC_EFRAMETOOLONG: longer than the maximum. CIPC_ENOTWRITABLE.
/// CIPC_EPEERCLOSED: the peer no longer reads. CIPC_ECLOSED. CIPC_EOPNOTSUPP: not an AF_UNIX
/// socket, so no descriptors. CIPC_EDESCRIPTORCOUNT: more than CIPC_FRAME_DESCRIPTORS, or more than
/// a body that short can carry (1008 with an empty one). CIPC_EBADF: one of them is not open. These
/// changed nothing.
CIPC_API CIPC_CHECKED int cipc_connection_send(cipc_connection_t *connection, const void *bytes,
                                               size_t length, const int *descriptors, size_t count,
                                               cipc_deadline_t deadline);

/// As `cipc_connection_send`, but it can be resumed: `*progress` is 0 at first. CIPC_EINTR
/// (interrupt.h) and CIPC_ETIMEDOUT: `*progress` says how many bytes are out; call again with the
/// same arguments, or, where it is above 0, `cipc_connection_abandon`. Until then the turn stays
/// with the caller.
CIPC_API CIPC_CHECKED int cipc_connection_send_on(cipc_connection_t *connection, const void *bytes,
                                                  size_t length, const int *descriptors,
                                                  size_t count, uint64_t *progress,
                                                  cipc_deadline_t deadline);

/// Sends without waiting, in steps: for callers that wait elsewhere.
///
/// `*progress` is 0 and `*wait` all zero before the first step; pass the same arguments at every
/// step. 0: sent. CIPC_EAGAIN: wait as `*wait` says (wait.h), then call again. CIPC_EBUSY: another
/// caller is sending. Everything else as with cipc_connection_send. While `*progress` is above 0
/// the turn stays with the caller: go on, or call cipc_connection_abandon.
CIPC_API CIPC_CHECKED int cipc_connection_send_step(cipc_connection_t *connection,
                                                    const void *bytes, size_t length,
                                                    const int *descriptors, size_t count,
                                                    uint64_t *progress, cipc_wait_t *wait);

/// Gives up a send in steps. With a progress of 0 nothing happens; otherwise the
/// connection is closed, since it stands in the middle of a frame.
CIPC_API void cipc_connection_abandon(cipc_connection_t *connection, uint64_t progress);

/// Waits for the next message and says how long it is. The message stays: pass a buffer of that
/// size to cipc_connection_receive_into. One longer than CIPC_CONNECTION_DIRECT is waited for
/// whole, so that no buffer is allocated on the peer's word alone. Statuses as below.
CIPC_API CIPC_CHECKED int cipc_connection_receive_length(cipc_connection_t *connection,
                                                         size_t *length, cipc_deadline_t deadline);

/// Receives one message into the caller's memory.
///
/// `*length` is set whenever it is known. With `descriptors` not NULL, `*descriptors` is an array
/// from malloc (NULL where `*count` is 0) of close-on-exec descriptors, all the caller's; with NULL
/// they are closed.
///
/// CIPC_EMSGSIZE: the message is longer than `capacity`; it is kept. CIPC_ETIMEDOUT: what has
/// arrived is kept. CIPC_EBUSY: with CIPC_IMMEDIATELY, and another caller is receiving.
/// CIPC_ENOTREADABLE. CIPC_EPEERCLOSED: the peer closed between two messages; later calls say so
/// again. CIPC_ECLOSED. These end the connection: CIPC_ETRUNCATED, CIPC_EFRAMELENGTH,
/// CIPC_EFRAMETOOLONG, CIPC_EDESCRIPTORSLOST, CIPC_EDESCRIPTORCOUNT, CIPC_ENOMEM, and errors of the
/// kernel that are not named here.
CIPC_API CIPC_CHECKED int cipc_connection_receive_into(cipc_connection_t *connection, void *buffer,
                                                       size_t capacity, size_t *length,
                                                       int **descriptors, size_t *count,
                                                       cipc_deadline_t deadline);

/// Receives one message into fresh memory: `*bytes` is from malloc, never NULL on
/// success, the caller's to free, and grew with the bytes that arrived. The rest
/// as above.
CIPC_API CIPC_CHECKED int cipc_connection_receive(cipc_connection_t *connection, uint8_t **bytes,
                                                  size_t *length, int **descriptors, size_t *count,
                                                  cipc_deadline_t deadline);

/// Receives without waiting, in steps: `cipc_connection_receive` with CIPC_IMMEDIATELY.
/// CIPC_EAGAIN: wait as `*wait` says (wait.h), then call again; what has arrived is kept.
/// CIPC_EBUSY: another caller is receiving.
CIPC_API CIPC_CHECKED int cipc_connection_receive_step(cipc_connection_t *connection,
                                                       uint8_t **bytes, size_t *length,
                                                       int **descriptors, size_t *count,
                                                       cipc_wait_t *wait);

/// Makes a step of any call with a deadline: pass on what it returned for CIPC_IMMEDIATELY. Where
/// that is CIPC_ETIMEDOUT, CIPC_EAGAIN comes back and `*wait` says to wait for the direction,
/// CIPC_CONNECTION_READABLE or CIPC_CONNECTION_WRITABLE; CIPC_ECLOSED where that has no use any
/// more; every other status is returned as it is. For sending there are steps of their own, which
/// also wait for descriptors in flight.
CIPC_API CIPC_CHECKED int cipc_connection_retry(cipc_connection_t *connection, int status,
                                                unsigned direction, cipc_wait_t *wait);

/// Sends descriptors as Python's multiprocessing.reduction.send_handle does, between two
/// messages: one byte, their number, with all of them. They stay the caller's.
///
/// Python from 3.14 on answers with a byte, for which cipc_connection_acknowledged waits; an
/// earlier one does not (read in CPython's source: Lib/multiprocessing/reduction.py, sendfds
/// and recvfds). CIPC_EDESCRIPTORCOUNT: none, or more than 252; one for Python's recv_handle.
/// CIPC_EOPNOTSUPP: not an AF_UNIX socket. CIPC_ETIMEDOUT: nothing was sent. The rest as with
/// cipc_connection_send.
CIPC_API CIPC_CHECKED int cipc_connection_send_handles(cipc_connection_t *connection,
                                                       const int *descriptors, size_t count,
                                                       cipc_deadline_t deadline);

/// The same without waiting. CIPC_EAGAIN: wait as `*wait` says (wait.h), then call again.
/// CIPC_EBUSY: another caller is sending.
CIPC_API CIPC_CHECKED int cipc_connection_send_handles_step(cipc_connection_t *connection,
                                                            const int *descriptors, size_t count,
                                                            cipc_wait_t *wait);

/// Receives `count` descriptors as Python's send_handle sends them, between two messages:
/// close-on-exec, the caller's. Python from 3.14 on then waits for cipc_connection_acknowledge;
/// an earlier one would take that for the beginning of a message.
///
/// CIPC_ETIMEDOUT: nothing has arrived. CIPC_EHANDLES: something else has, or another number;
/// that ends the connection. CIPC_EINVAL: in the middle of a message. CIPC_EOPNOTSUPP,
/// CIPC_EDESCRIPTORCOUNT as above. The rest as with cipc_connection_receive_into.
CIPC_API CIPC_CHECKED int cipc_connection_receive_handles(cipc_connection_t *connection,
                                                          int *descriptors, size_t count,
                                                          cipc_deadline_t deadline);

/// Says that descriptors have arrived, to Python from 3.14 on. Statuses as with
/// cipc_connection_send.
CIPC_API CIPC_CHECKED int cipc_connection_acknowledge(cipc_connection_t *connection,
                                                      cipc_deadline_t deadline);

/// Waits until the peer says that descriptors have arrived. CIPC_EHANDLES: it said something else,
/// which ends the connection. The rest as with cipc_connection_receive_handles.
CIPC_API CIPC_CHECKED int cipc_connection_acknowledged(cipc_connection_t *connection,
                                                       cipc_deadline_t deadline);

/// Waits until there is something to receive: a message or the beginning of one, or the end of the
/// stream. 0, CIPC_ETIMEDOUT, CIPC_ENOTREADABLE, CIPC_ECLOSED, -errno. Every thread that polls
/// returns.
CIPC_API CIPC_CHECKED int cipc_connection_poll(cipc_connection_t *connection,
                                               cipc_deadline_t deadline);

/// A duplicate of the descriptor, for waiting on; the caller's to close.
/// Readiness says nothing about messages that were read ahead; see
/// cipc_connection_watch. CIPC_ECLOSED, CIPC_EMFILE.
CIPC_API CIPC_CHECKED int cipc_connection_descriptor(cipc_connection_t *connection, int *fd);

/// Two descriptors to wait for together, of which at least one is readable when
/// cipc_connection_poll would not wait: the stream itself, and an eventfd that is
/// readable while a message is read ahead, and for ever once the connection is
/// closed. Either may be readable when there is nothing (another thread took it).
///
/// Both are borrowed, only to be waited for. The eventfd is open until the
/// connection is freed; the stream's may be closed, and its number used again, once
/// the connection is closed, which the eventfd tells. The first call makes the
/// eventfd, and receiving then keeps it right: a system call where the read-ahead
/// becomes empty and where it no longer is. A forked child asks again.
/// CIPC_ECLOSED, CIPC_ENOTREADABLE, CIPC_EMFILE, CIPC_ENFILE, CIPC_ENOMEM.
CIPC_API CIPC_CHECKED int cipc_connection_watch(cipc_connection_t *connection, int descriptors[2]);

/// A connection on its way to another process.
typedef struct cipc_connection_state {
  int descriptor;        ///< a duplicate
  unsigned flags;        ///< CIPC_CONNECTION_...
  uint64_t maximum;      ///< bytes
  uint8_t *unread;       ///< what was read of the stream and not received
  size_t unread_length;  ///< bytes
  int *descriptors;      ///< duplicates of those that came along with it
  uint64_t *offsets;     ///< for each, the position in `unread` where it came
  size_t descriptor_count;
  int is_foreign;  ///< the descriptors came from another process: to be set before an import
} cipc_connection_state_t;

/// Copies what another process needs to go on where this connection stands. The connection stays as
/// it is; close it once the state has arrived, and receive nothing in between. `*state` is the
/// caller's to dispose of. CIPC_EBUSY: a call is inside, or a send in steps is under way.
/// CIPC_ECLOSED, CIPC_ENOMEM, CIPC_EMFILE.
CIPC_API CIPC_CHECKED int cipc_connection_export(cipc_connection_t *connection,
                                                 cipc_connection_state_t *state);

/// Makes a connection of a state, which may come from a hostile peer. On success
/// its descriptors are the connection's and the state is emptied; on failure
/// nothing changed. Statuses as with cipc_connection_adopt; CIPC_EINVAL also for
/// offsets that do not rise or are beyond the unread bytes.
CIPC_API CIPC_CHECKED int cipc_connection_import(cipc_connection_t **connection,
                                                 cipc_connection_state_t *state);

/// Closes and frees what is in a state. Does not block: see cipc/descriptor.h.
CIPC_API void cipc_connection_state_dispose(cipc_connection_state_t *state);

CIPC_END_DECLS

#endif
