/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_FRAME_PRIVATE_H
#define CIPC_FRAME_PRIVATE_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "cipc/frame.h"
#include "cipc/wait.h"

// How far a reader reads ahead, so that a small frame costs one system call.
#define CIPC_FRAME_AHEAD 16384

// What a descriptor is, as far as frames are concerned.
enum {
  CIPC_FRAME_UNIX = 1,  // an AF_UNIX stream socket: carries descriptors
  CIPC_FRAME_SOCKET,    // another stream socket
  CIPC_FRAME_PIPE,      // a pipe or FIFO
};

// The kind of an open descriptor; CIPC_EBADF, CIPC_EOPNOTSUPP.
int cipc_frame_kind(int fd);

// Writes what fits into a pipe now, without waiting and without a SIGPIPE; as writev(2) otherwise.
ssize_t cipc_frame_pipe_write(int fd, struct iovec *vector, int count);

// Reads what is in a pipe now, without waiting; as readv(2) otherwise. With kernels before 6.4,
// one thread at a time: there another reader may take what this one was told of.
ssize_t cipc_frame_pipe_read(int fd, struct iovec *vector, int count);

// A frame on its way out. `sent` is all of its state, so that a caller can put
// a writer together again between two steps.
typedef struct cipc_frame_writer {
  uint8_t header[CIPC_FRAME_HEADER_SIZE];
  size_t header_size;
  const uint8_t *body;
  size_t length;
  const int *descriptors;
  size_t count;
  uint64_t sent;  // bytes of header and body that are with the kernel
} cipc_frame_writer_t;

// Checks the arguments before anything goes out.
int cipc_frame_writer_init(cipc_frame_writer_t *writer, int kind, const void *bytes, size_t length,
                           const int *descriptors, size_t count, uint64_t sent);

/// Writes what can be written without waiting. 0 when the frame is out; CIPC_EAGAIN with what to
/// wait for: room, or a moment, where too many descriptors of this user are in flight;
/// CIPC_EPEERCLOSED.
int cipc_frame_writer_step(cipc_frame_writer_t *writer, int fd, int kind, cipc_wait_t *wait);

// What was read of a stream and not handed out.
typedef struct cipc_frame_reader {
  uint64_t maximum;
  bool exact;  // somebody else reads this stream too: never past the end of a frame

  // Descriptors are refused and not received: CIPC_EDESCRIPTORSREFUSED. Reads stop at the end of
  // a frame, since what stands behind it may have descriptors by right.
  bool refuses;

  // The caller polls after CIPC_EAGAIN: it may come early, after a short read. Otherwise it is
  // only said when the kernel has said so.
  bool patient;

  uint8_t *ahead;  // bytes begin..<end are unread
  size_t ahead_capacity;
  size_t begin;
  size_t end;
  uint64_t received;  // bytes that the descriptor has given, ever

  bool in_body;        // the header of a frame was read, its body not handed out
  uint64_t length;     // of that body
  uint64_t have;       // bytes of it that are in `parked`, or in the destination of this call
  uint64_t frame_end;  // position in the stream, on the scale of `received`
  uint8_t *parked;     // a body begun by a call that could not finish it, or one that is long
  size_t parked_capacity;

  int *descriptors;    // arrived, not handed out
  uint64_t *arrivals;  // for each, the position of the last byte of the read that brought it
  size_t descriptor_count;
  size_t descriptor_capacity;
} cipc_frame_reader_t;

void cipc_frame_reader_init(cipc_frame_reader_t *reader, uint64_t maximum, bool exact);

// Frees the memory and closes the descriptors that nobody took.
void cipc_frame_reader_destroy(cipc_frame_reader_t *reader);

// Reads without waiting until the header of the next frame is known, and tells the body's length.
// 0; CIPC_EAGAIN: wait until readable; or what is said at cipc_frame_read.
int cipc_frame_reader_header(cipc_frame_reader_t *reader, int fd, int kind, uint64_t *length);

// Reads without waiting until the body is whole, into `destination` (which has room for all of
// it), or with NULL into `parked`. After CIPC_EAGAIN call again with the same destination, or
// cipc_frame_reader_park.
int cipc_frame_reader_body(cipc_frame_reader_t *reader, int fd, int kind, uint8_t *destination);

// Saves the part of a body that is in `destination`, since the caller gives up.
int cipc_frame_reader_park(cipc_frame_reader_t *reader, const uint8_t *destination);

// Ends the frame whose body is whole: hands out its descriptors, or closes them.
// CIPC_ENOMEM: they were closed.
int cipc_frame_reader_take(cipc_frame_reader_t *reader, int **descriptors, size_t *count);

// Reads without waiting one byte that stands between two frames; cipc_frame_reader_take then hands
// out the descriptors that came with it. CIPC_EINVAL: in the middle of a frame. The rest as with
// cipc_frame_reader_header.
int cipc_frame_reader_byte(cipc_frame_reader_t *reader, int fd, int kind, uint8_t *byte);

/// Writes one byte outside of any frame, with descriptors. 0, CIPC_EAGAIN with what to wait for,
/// CIPC_EPEERCLOSED, CIPC_EBADF, -errno.
int cipc_frame_write_byte(int fd, uint8_t byte, const int *descriptors, size_t count,
                          cipc_wait_t *wait);

// Whether a whole frame can be had without reading.
bool cipc_frame_reader_buffered(const cipc_frame_reader_t *reader);

// Whether the descriptor stands in the middle of a frame.
bool cipc_frame_reader_inside(const cipc_frame_reader_t *reader);

// Waits until `fd` is ready for `events`: 0, CIPC_ETIMEDOUT or -errno.
int cipc_frame_wait(int fd, short events, cipc_deadline_t deadline);

#endif
