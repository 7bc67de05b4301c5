/* SPDX-License-Identifier: Apache-2.0 */
/// Frames: messages with their length in front, on a pipe or a stream socket.
///
/// The bytes are those of CPython's multiprocessing.connection: a signed 32-bit
/// big-endian length and the body; for bodies above 0x7fffffff bytes, -1 and an
/// unsigned 64-bit big-endian length. Any other negative length is an error.
///
/// On AF_UNIX sockets descriptors travel along (SCM_RIGHTS), in batches of 252, each batch on a
/// byte of its own frame. A read of the kernel never goes past the bytes that carry descriptors, so
/// they belong to the frame in which that read ended.
///
/// The functions here move one frame each and keep nothing between calls; a
/// connection (cipc/connection.h) keeps what an interrupted call had read and
/// reads ahead. O_NONBLOCK is neither needed nor touched. No SIGPIPE is raised.
/// All of them may be called from any thread and after a fork; two callers at
/// once on one descriptor mix their frames.
#ifndef CIPC_FRAME_H
#define CIPC_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "status.h"

CIPC_BEGIN_DECLS

/// The longest header, in bytes.
#define CIPC_FRAME_HEADER_SIZE 12
/// The longest body unless the caller says otherwise: 64 MiB.
#define CIPC_FRAME_MAXIMUM (UINT64_C(64) << 20)
/// The most descriptors that go with one frame.
#define CIPC_FRAME_DESCRIPTORS 4096

/// Writes the header of a body of `length` bytes and returns its size, 4 or 12.
/// CIPC_EOVERFLOW: the length is above INT64_MAX.
CIPC_API CIPC_CHECKED int cipc_frame_encode_header(uint8_t header[CIPC_FRAME_HEADER_SIZE],
                                                   uint64_t length);

/// Reads a header. Returns its size, 4 or 12, and the length of the body; 0 when
/// more than the `available` bytes are needed to tell; CIPC_EFRAMELENGTH for a
/// negative length other than -1; CIPC_EFRAMETOOLONG for one above `maximum`.
CIPC_API CIPC_CHECKED int cipc_frame_decode_header(const uint8_t *bytes, size_t available,
                                                   uint64_t maximum, uint64_t *length);

/// Writes one frame and waits until all of it is with the kernel.
///
/// The descriptors stay the caller's. CIPC_EPEERCLOSED: the peer no longer reads. CIPC_ETIMEDOUT:
/// the deadline passed. CIPC_EDESCRIPTORCOUNT: more descriptors than CIPC_FRAME_DESCRIPTORS, or
/// than the frame has bytes to carry them. CIPC_EOPNOTSUPP: neither a pipe nor a stream socket, or
/// descriptors on anything but an AF_UNIX socket. CIPC_EBADF: not open, or a descriptor in the list
/// is not. After a failure part of the frame may be out, so close the stream.
CIPC_API CIPC_CHECKED int cipc_frame_write(int fd, const void *bytes, size_t length,
                                           const int *descriptors, size_t count,
                                           cipc_deadline_t deadline);

/// Reads one frame, and not a byte more.
///
/// `*bytes` is allocated with malloc and the caller's to free, never NULL on
/// success; it grows with the bytes that arrive, not with the length claimed.
/// With `descriptors` not NULL, `*descriptors` is an array from malloc (NULL
/// where `*count` is 0) of close-on-exec descriptors, both the caller's; with
/// NULL they are closed. CIPC_EPEERCLOSED: the stream ended before the frame.
/// CIPC_ETRUNCATED: it ended inside. CIPC_EFRAMELENGTH, CIPC_EFRAMETOOLONG: see
/// above. CIPC_EDESCRIPTORSLOST: the kernel could not deliver all descriptors.
/// CIPC_EDESCRIPTORCOUNT: more than CIPC_FRAME_DESCRIPTORS of them.
/// CIPC_ETIMEDOUT, CIPC_ENOMEM, CIPC_EBADF, CIPC_EOPNOTSUPP. What a failed call
/// had read is gone, so close the stream.
CIPC_API CIPC_CHECKED int cipc_frame_read(int fd, uint64_t maximum, uint8_t **bytes, size_t *length,
                                          int **descriptors, size_t *count,
                                          cipc_deadline_t deadline);

CIPC_END_DECLS

#endif
