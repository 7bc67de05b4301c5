/* SPDX-License-Identifier: Apache-2.0 */
#include "stream/frame.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/descriptor.h"
#include "base/interrupt.h"
#include "stream/rights.h"
#include "wait/wait.h"

// Up to this size a frame is put together first: a copy costs less than a vector.
#define SMALL 1024
// A parked body starts with this much memory and doubles from there.
#define PARKED_START 65536
#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x00000008
#endif

// MARK: Header

int cipc_frame_encode_header(uint8_t header[CIPC_FRAME_HEADER_SIZE], uint64_t length) {
  if (length > INT64_MAX) return CIPC_EOVERFLOW;
  if (length <= INT32_MAX) {
    for (int i = 0; i < 4; i++) header[i] = (uint8_t)(length >> (24 - 8 * i));
    return 4;
  }
  memset(header, 0xff, 4);
  for (int i = 0; i < 8; i++) header[4 + i] = (uint8_t)(length >> (56 - 8 * i));
  return 12;
}

int cipc_frame_decode_header(const uint8_t *bytes, size_t available, uint64_t maximum,
                             uint64_t *length) {
  *length = 0;
  if (available < 4) return 0;
  uint64_t value = 0;
  for (int i = 0; i < 4; i++) value = value << 8 | bytes[i];
  int size = 4;
  if (value == UINT32_MAX) {
    if (available < 12) return 0;
    value = 0;
    for (int i = 4; i < 12; i++) value = value << 8 | bytes[i];
    size = 12;
  } else if (value > INT32_MAX) {
    return CIPC_EFRAMELENGTH;
  }
  if (value > maximum || value > PTRDIFF_MAX) return CIPC_EFRAMETOOLONG;
  *length = value;
  return size;
}

// MARK: Descriptors

int cipc_frame_kind(int fd) {
  // Not by fstat: the descriptor may be a peer's, of a file system that answers when it likes.
  int type = 0, domain = 0;
  socklen_t size = sizeof type;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0) {
    if (errno != ENOTSOCK) return -errno;
    return fcntl(fd, F_GETPIPE_SZ) >= 0 ? CIPC_FRAME_PIPE : CIPC_EOPNOTSUPP;
  }
  if (type != SOCK_STREAM) return CIPC_EOPNOTSUPP;
  size = sizeof domain;
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0) return -errno;
  return domain == AF_UNIX ? CIPC_FRAME_UNIX : CIPC_FRAME_SOCKET;
}

int cipc_frame_wait(int fd, short events, cipc_deadline_t deadline) {
  for (;;) {
    struct pollfd entry = {.fd = fd, .events = events};
    int count = cipc_interrupt_poll(&entry, 1, deadline);
    if (count > 0) return entry.revents & POLLNVAL ? CIPC_EBADF : 0;
    if (count < 0) return count;
    if (count == 0 && deadline != CIPC_NO_DEADLINE && cipc_clock_now() >= deadline) {
      return CIPC_ETIMEDOUT;
    }
  }
}

// Reads or writes a pipe without waiting. O_NONBLOCK would belong to the description, which others
// share, so RWF_NOWAIT asks for this call alone. Kernels before 6.4 do not know it on pipes: there
// poll answers, and one page at most can be written without waiting after it.
static ssize_t pipe_transfer(int fd, struct iovec *vector, int count, bool writing) {
  ssize_t done =
      syscall(writing ? SYS_pwritev2 : SYS_preadv2, fd, vector, count, -1L, -1L, RWF_NOWAIT);
  if (done >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)) return done;
  struct pollfd entry = {.fd = fd, .events = writing ? POLLOUT : POLLIN};
  int ready = poll(&entry, 1, 0);
  if (ready < 0) return -1;
  if (ready == 0) {
    errno = EAGAIN;
    return -1;
  }
  if (!writing) return readv(fd, vector, count);
  size_t room = PIPE_BUF;
  for (int i = 0; i < count; i++) {
    if (vector[i].iov_len > room) vector[i].iov_len = room;
    room -= vector[i].iov_len;
  }
  return writev(fd, vector, count);
}

ssize_t cipc_frame_pipe_read(int fd, struct iovec *vector, int count) {
  return pipe_transfer(fd, vector, count, false);
}

// A pipe has no MSG_NOSIGNAL: block SIGPIPE in this thread and take back the one that we raised.
ssize_t cipc_frame_pipe_write(int fd, struct iovec *vector, int count) {
  sigset_t sigpipe, before, pending;
  sigemptyset(&sigpipe);
  sigaddset(&sigpipe, SIGPIPE);
  sigemptyset(&pending);
  int error = pthread_sigmask(SIG_BLOCK, &sigpipe, &before);
  if (error != 0) {
    errno = error;
    return -1;
  }
  bool blocked = sigismember(&before, SIGPIPE) == 1;
  // One that was pending before is somebody else's, and a second does not queue.
  bool foreign = blocked && sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
  ssize_t done = pipe_transfer(fd, vector, count, true);
  error = errno;
  if (done < 0 && error == EPIPE && !foreign) {
    struct timespec none = {0, 0};
    while (sigtimedwait(&sigpipe, NULL, &none) < 0 && errno == EINTR) {
    }
  }
  if (!blocked) (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  errno = error;
  return done;
}

// MARK: Writing

int cipc_frame_writer_init(cipc_frame_writer_t *writer, int kind, const void *bytes, size_t length,
                           const int *descriptors, size_t count, uint64_t sent) {
  int size = cipc_frame_encode_header(writer->header, length);
  if (size < 0) return size;
  writer->header_size = (size_t)size;
  writer->body = bytes;
  writer->length = length;
  writer->descriptors = descriptors;
  writer->count = count;
  writer->sent = sent;
  if (sent > writer->header_size + (uint64_t)length) return CIPC_EINVAL;
  if (count == 0) return 0;
  if (kind != CIPC_FRAME_UNIX) return CIPC_EOPNOTSUPP;
  if (count > CIPC_FRAME_DESCRIPTORS) return CIPC_EDESCRIPTORCOUNT;
  if ((count + CIPC_RIGHTS_OUT_MAX - 1) / CIPC_RIGHTS_OUT_MAX >
      writer->header_size + (uint64_t)length) {
    return CIPC_EDESCRIPTORCOUNT;
  }
  // The kernel checks a batch as it takes it; a bad one after the first would break the stream.
  if (count > CIPC_RIGHTS_OUT_MAX && sent == 0) {
    for (size_t i = 0; i < count; i++) {
      if (fcntl(descriptors[i], F_GETFD) < 0) return -errno;
    }
  }
  return 0;
}

// What a write that failed has to say: CIPC_EAGAIN where it is worth waiting, or the failure.
static int write_failed(int error, int fd, cipc_wait_t *wait) {
  switch (error) {
    case EAGAIN:
      return cipc_wait_for_descriptor(wait, fd, CIPC_POLLER_WRITABLE);
    case ETOOMANYREFS:
      // Nothing tells when descriptors leave the queues of this user.
      return cipc_wait_for_pause(wait);
    case EPIPE:
    case ECONNRESET:
      return CIPC_EPEERCLOSED;
    default:
      return -error;
  }
}

int cipc_frame_write_byte(int fd, uint8_t byte, const int *descriptors, size_t count,
                          cipc_wait_t *wait) {
  struct iovec vector = {.iov_base = &byte, .iov_len = 1};
  ssize_t done = cipc_rights_send(fd, &vector, 1, descriptors, count, MSG_DONTWAIT);
  return done < 0 ? write_failed((int)-done, fd, wait) : 0;
}

int cipc_frame_writer_step(cipc_frame_writer_t *writer, int fd, int kind, cipc_wait_t *wait) {
  uint64_t total = writer->header_size + (uint64_t)writer->length;
  while (writer->sent < total) {
    struct iovec vector[2];
    int pieces = 0;
    if (writer->sent < writer->header_size) {
      vector[pieces].iov_base = writer->header + writer->sent;
      vector[pieces++].iov_len = writer->header_size - (size_t)writer->sent;
    }
    uint64_t skip = writer->sent > writer->header_size ? writer->sent - writer->header_size : 0;
    if (writer->length > skip) {
      vector[pieces].iov_base = (void *)(uintptr_t)(writer->body + skip);
      vector[pieces++].iov_len = writer->length - (size_t)skip;
    }

    ssize_t done;
    bool partly = false;
    if (kind == CIPC_FRAME_PIPE) {
      done = cipc_frame_pipe_write(fd, vector, pieces);
    } else if (writer->count == 0 && total <= SMALL) {
      uint8_t frame[SMALL];
      memcpy(frame, writer->header, writer->header_size);
      if (writer->length > 0) memcpy(frame + writer->header_size, writer->body, writer->length);
      done = send(fd, frame + writer->sent, (size_t)(total - writer->sent),
                  MSG_NOSIGNAL | MSG_DONTWAIT);
    } else {
      // Batch k rides on byte k, the last one on all that is left: so `sent` tells which are out.
      size_t first = writer->sent < writer->count / CIPC_RIGHTS_OUT_MAX + 1
                         ? (size_t)writer->sent * CIPC_RIGHTS_OUT_MAX
                         : writer->count;
      size_t batch = writer->count - first;
      if (first < writer->count) {
        if (batch > CIPC_RIGHTS_OUT_MAX) {
          batch = CIPC_RIGHTS_OUT_MAX;
          vector[0].iov_len = 1;
          pieces = 1;
          partly = true;
        }
      }
      const int *sent = batch > 0 ? writer->descriptors + first : NULL;
      done = cipc_rights_send(fd, vector, pieces, sent, batch, MSG_DONTWAIT);
      if (done < 0) errno = (int)-done;
    }
    if (done < 0) {
      if (errno == EINTR) continue;
      return write_failed(errno, fd, wait);
    }
    writer->sent += (uint64_t)done;
    // It took what it had room for: asking again would cost a call to hear that.
    if (writer->sent < total && !partly) {
      return cipc_wait_for_descriptor(wait, fd, CIPC_POLLER_WRITABLE);
    }
  }
  return 0;
}

int cipc_frame_write(int fd, const void *bytes, size_t length, const int *descriptors, size_t count,
                     cipc_deadline_t deadline) {
  int kind = cipc_frame_kind(fd);
  if (kind < 0) return kind;
  cipc_frame_writer_t writer;
  int status = cipc_frame_writer_init(&writer, kind, bytes, length, descriptors, count, 0);
  cipc_wait_t wait = {0};
  bool is_paused = false;
  while (status == 0) {
    status = cipc_frame_writer_step(&writer, fd, kind, &wait);
    if (status == 0) break;
    // From the first byte on there is no way back.
    if (!is_paused && writer.sent > 0) {
      is_paused = true;
      cipc_interrupt_pause();
    }
    if (status == CIPC_EAGAIN) status = cipc_wait_sleep(&wait, deadline);
  }
  if (is_paused) cipc_interrupt_resume();
  return status;
}

// MARK: Reading

void cipc_frame_reader_init(cipc_frame_reader_t *reader, uint64_t maximum, bool exact) {
  memset(reader, 0, sizeof *reader);
  reader->maximum = maximum;
  reader->exact = exact;
}

static void drop_all(const int *descriptors, size_t count) {
  for (size_t i = 0; i < count; i++) cipc_descriptor_drop(descriptors[i]);
}

void cipc_frame_reader_destroy(cipc_frame_reader_t *reader) {
  drop_all(reader->descriptors, reader->descriptor_count);
  free(reader->descriptors);
  free(reader->arrivals);
  free(reader->ahead);
  free(reader->parked);
  cipc_frame_reader_init(reader, reader->maximum, reader->exact);
}

// Room for `count` more descriptors.
static int reserve_descriptors(cipc_frame_reader_t *reader, size_t count) {
  size_t needed = reader->descriptor_count + count;
  // The read that ends a frame may bring the first batch of the next one.
  if (needed > CIPC_FRAME_DESCRIPTORS + CIPC_RIGHTS_MAX) return CIPC_EDESCRIPTORCOUNT;
  if (needed <= reader->descriptor_capacity) return 0;
  size_t capacity = needed * 2;
  int *descriptors = realloc(reader->descriptors, capacity * sizeof *descriptors);
  if (descriptors == NULL) return CIPC_ENOMEM;
  reader->descriptors = descriptors;
  uint64_t *arrivals = realloc(reader->arrivals, capacity * sizeof *arrivals);
  if (arrivals == NULL) return CIPC_ENOMEM;
  reader->arrivals = arrivals;
  reader->descriptor_capacity = capacity;
  return 0;
}

// Queues descriptors that came with bytes, or after a failure closes them.
static int take_rights(cipc_frame_reader_t *reader, const cipc_rights_t *rights, size_t bytes) {
  int status = rights->status;
  if (status == 0 && rights->count > 0) status = reserve_descriptors(reader, rights->count);
  if (status < 0) {
    drop_all(rights->descriptors, rights->count);
    return status;
  }
  for (size_t i = 0; i < rights->count; i++) {
    reader->descriptors[reader->descriptor_count] = rights->descriptors[i];
    reader->arrivals[reader->descriptor_count++] = reader->received + bytes - 1;
  }
  return 0;
}

// Shortens the vector to what can be read without receiving descriptors. The peek has no room for
// them, so that it says whether there are any, also behind what it reads; and nothing is received
// or closed by it.
static int look_for_descriptors(int fd, struct iovec *vector) {
  int flags;
  ssize_t count = cipc_rights_receive(fd, vector, 1, NULL, MSG_PEEK | MSG_DONTWAIT, &flags);
  if (count <= 0) return 0;  // the read says why
  if (flags & MSG_CTRUNC) return CIPC_EDESCRIPTORSREFUSED;
  vector->iov_len = (size_t)count;
  return 0;
}

// One read. The number of bytes in `*done`; 0 bytes with status 0 is the end of the stream.
static int fill(cipc_frame_reader_t *reader, int fd, int kind, struct iovec *vector, int pieces,
                size_t *done) {
  for (;;) {
    ssize_t count;
    int status = 0;
    if (kind == CIPC_FRAME_PIPE) {
      count = pipe_transfer(fd, vector, pieces, false);
    } else {
      bool takes = kind == CIPC_FRAME_UNIX && !reader->refuses;
      if (kind == CIPC_FRAME_UNIX && reader->refuses) {
        status = look_for_descriptors(fd, vector);
        if (status < 0) return status;
      }
      cipc_rights_t rights;
      int flags;
      count = cipc_rights_receive(fd, vector, pieces, takes ? &rights : NULL, MSG_DONTWAIT, &flags);
      if (count < 0) {
        errno = (int)-count;
      } else if (takes) {
        status = take_rights(reader, &rights, (size_t)count);
      } else if (flags & MSG_CTRUNC) {
        status = CIPC_EDESCRIPTORSLOST;
      }
    }
    if (count < 0) {
      switch (errno) {
        case EINTR:
          continue;
        // The peer went without reading all we sent; what it sent itself was delivered before this.
        case ECONNRESET:
          count = 0;
          break;
        default:
          return -errno;
      }
    }
    reader->received += (uint64_t)count;
    *done = (size_t)count;
    return status;
  }
}

int cipc_frame_reader_header(cipc_frame_reader_t *reader, int fd, int kind, uint64_t *length) {
  *length = 0;
  while (!reader->in_body) {
    size_t available = reader->end - reader->begin;
    uint64_t body = 0;
    int size = 0;
    if (available > 0) {
      size = cipc_frame_decode_header(reader->ahead + reader->begin, available, reader->maximum,
                                      &body);
      if (size < 0) return size;
    }
    if (size > 0) {
      reader->begin += (size_t)size;
      reader->in_body = true;
      reader->length = body;
      reader->have = 0;
      reader->frame_end = reader->received - (reader->end - reader->begin) + body;
      break;
    }
    if (reader->ahead == NULL) {
      reader->ahead = malloc(CIPC_FRAME_AHEAD);
      if (reader->ahead == NULL) return CIPC_ENOMEM;
      reader->ahead_capacity = CIPC_FRAME_AHEAD;
    }
    // Less than a header is left, so this moves 11 bytes at most.
    if (reader->begin > 0) {
      memmove(reader->ahead, reader->ahead + reader->begin, available);
      reader->begin = 0;
      reader->end = available;
    }
    size_t want = reader->ahead_capacity - available;
    if (reader->exact || reader->refuses)
      want = (available < 4 ? 4 : CIPC_FRAME_HEADER_SIZE) - available;
    struct iovec vector = {.iov_base = reader->ahead + available, .iov_len = want};
    size_t done = 0;
    int status = fill(reader, fd, kind, &vector, 1, &done);
    if (status < 0) return status;
    if (done == 0) return available == 0 ? CIPC_EPEERCLOSED : CIPC_ETRUNCATED;
    reader->end += done;
  }
  *length = reader->length;
  return 0;
}

// Memory for the next bytes of a body without a destination: doubles as it fills.
static int grow_parked(cipc_frame_reader_t *reader) {
  if (reader->parked != NULL && reader->have < reader->parked_capacity) return 0;
  if (reader->parked != NULL && reader->have == reader->length) return 0;
  // What is in the buffer has arrived, so it may be allocated for at once.
  uint64_t capacity = reader->have + (reader->end - reader->begin);
  if (capacity < reader->parked_capacity * UINT64_C(2)) {
    capacity = reader->parked_capacity * UINT64_C(2);
  }
  if (capacity < PARKED_START) capacity = PARKED_START;
  if (capacity > reader->length) capacity = reader->length;
  uint8_t *parked = realloc(reader->parked, capacity > 0 ? (size_t)capacity : 1);
  if (parked == NULL) return CIPC_ENOMEM;
  reader->parked = parked;
  reader->parked_capacity = (size_t)capacity;
  return 0;
}

int cipc_frame_reader_body(cipc_frame_reader_t *reader, int fd, int kind, uint8_t *destination) {
  bool parking = destination == NULL || reader->parked != NULL;
  for (;;) {
    if (parking) {
      int status = grow_parked(reader);
      if (status < 0) return status;
    }
    if (reader->have == reader->length) break;
    uint8_t *target = (parking ? reader->parked : destination) + reader->have;
    uint64_t room = (parking ? reader->parked_capacity : reader->length) - reader->have;
    size_t available = reader->end - reader->begin;
    if (available > 0) {
      size_t count = available < room ? available : (size_t)room;
      memcpy(target, reader->ahead + reader->begin, count);
      reader->begin += count;
      reader->have += count;
      continue;
    }
    reader->begin = reader->end = 0;
    struct iovec vector[2] = {{.iov_base = target, .iov_len = (size_t)room},
                              {.iov_base = reader->ahead, .iov_len = reader->ahead_capacity}};
    // The beginning of the next frame comes along with the end of this one.
    bool last = !reader->exact && !reader->refuses && reader->have + room == reader->length &&
                reader->ahead != NULL;
    size_t done = 0;
    int status = fill(reader, fd, kind, vector, last ? 2 : 1, &done);
    if (status < 0) return status;
    if (done == 0) return CIPC_ETRUNCATED;
    size_t direct = done < room ? done : (size_t)room;
    reader->have += direct;
    reader->end = done - direct;
    // It gave what it had, unless descriptors ended the read: asking again would cost a call.
    if (reader->patient && done < room) return CIPC_EAGAIN;
  }
  if (destination != NULL && reader->parked != NULL) {
    if (reader->length > 0) memcpy(destination, reader->parked, (size_t)reader->length);
    free(reader->parked);
    reader->parked = NULL;
    reader->parked_capacity = 0;
  }
  return 0;
}

int cipc_frame_reader_park(cipc_frame_reader_t *reader, const uint8_t *destination) {
  if (!reader->in_body || reader->have == 0 || reader->parked != NULL) return 0;
  uint64_t have = reader->have;
  uint8_t *parked = malloc((size_t)have);
  if (parked == NULL) return CIPC_ENOMEM;
  memcpy(parked, destination, (size_t)have);
  reader->parked = parked;
  reader->parked_capacity = (size_t)have;
  return 0;
}

int cipc_frame_reader_take(cipc_frame_reader_t *reader, int **descriptors, size_t *count) {
  if (descriptors != NULL) *descriptors = NULL;
  if (count != NULL) *count = 0;
  reader->in_body = false;
  reader->have = 0;
  // Memory that came with a moved connection, or a long body, is not kept.
  if (reader->begin == reader->end && reader->ahead_capacity > CIPC_FRAME_AHEAD) {
    free(reader->ahead);
    reader->ahead = NULL;
    reader->ahead_capacity = reader->begin = reader->end = 0;
  }
  size_t ours = 0;
  while (ours < reader->descriptor_count && reader->arrivals[ours] < reader->frame_end) ours++;
  if (ours == 0) return 0;
  int status = 0;
  int *taken = NULL;
  if (descriptors != NULL && count != NULL) {
    taken = malloc(ours * sizeof *taken);
    if (taken == NULL) status = CIPC_ENOMEM;
  }
  if (taken != NULL) {
    memcpy(taken, reader->descriptors, ours * sizeof *taken);
    *descriptors = taken;
    *count = ours;
  } else {
    drop_all(reader->descriptors, ours);
  }
  reader->descriptor_count -= ours;
  memmove(reader->descriptors, reader->descriptors + ours,
          reader->descriptor_count * sizeof *reader->descriptors);
  memmove(reader->arrivals, reader->arrivals + ours,
          reader->descriptor_count * sizeof *reader->arrivals);
  return status;
}

int cipc_frame_reader_byte(cipc_frame_reader_t *reader, int fd, int kind, uint8_t *byte) {
  if (reader->in_body) return CIPC_EINVAL;
  if (reader->begin < reader->end) {
    *byte = reader->ahead[reader->begin++];
  } else {
    struct iovec vector = {.iov_base = byte, .iov_len = 1};
    size_t done = 0;
    int status = fill(reader, fd, kind, &vector, 1, &done);
    if (status < 0) return status;
    if (done == 0) return CIPC_EPEERCLOSED;
  }
  reader->frame_end = reader->received - (reader->end - reader->begin);
  return 0;
}

bool cipc_frame_reader_buffered(const cipc_frame_reader_t *reader) {
  size_t available = reader->end - reader->begin;
  if (reader->in_body) return available >= reader->length - reader->have;
  if (available == 0) return false;
  uint64_t length = 0;
  int size =
      cipc_frame_decode_header(reader->ahead + reader->begin, available, reader->maximum, &length);
  // A bad header is an answer too.
  return size < 0 || (size > 0 && available - (size_t)size >= length);
}

bool cipc_frame_reader_inside(const cipc_frame_reader_t *reader) {
  size_t at = reader->begin;
  uint64_t missing = reader->in_body ? reader->length - reader->have : 0;
  for (;;) {
    size_t available = reader->end - at;
    if (available < missing) return true;
    at += (size_t)missing;
    available -= (size_t)missing;
    if (available == 0) return false;
    int size = cipc_frame_decode_header(reader->ahead + at, available, reader->maximum, &missing);
    if (size <= 0) return true;
    at += (size_t)size;
  }
}

int cipc_frame_read(int fd, uint64_t maximum, uint8_t **bytes, size_t *length, int **descriptors,
                    size_t *count, cipc_deadline_t deadline) {
  *bytes = NULL;
  *length = 0;
  if (descriptors != NULL) *descriptors = NULL;
  if (count != NULL) *count = 0;
  int kind = cipc_frame_kind(fd);
  if (kind < 0) return kind;
  cipc_frame_reader_t reader;
  cipc_frame_reader_init(&reader, maximum, true);
  reader.patient = true;
  uint64_t claimed = 0;
  bool is_paused = false;
  int status;
  for (;;) {
    status = cipc_frame_reader_header(&reader, fd, kind, &claimed);
    if (status == 0) status = cipc_frame_reader_body(&reader, fd, kind, NULL);
    if (status != CIPC_EAGAIN) break;
    // What was read is nowhere to be kept.
    if (!is_paused && reader.received > 0) {
      is_paused = true;
      cipc_interrupt_pause();
    }
    status = cipc_frame_wait(fd, POLLIN, deadline);
    if (status < 0) break;
  }
  if (is_paused) cipc_interrupt_resume();
  if (status == 0) status = cipc_frame_reader_take(&reader, descriptors, count);
  if (status == 0) {
    *bytes = reader.parked;
    *length = (size_t)claimed;
    reader.parked = NULL;
  }
  cipc_frame_reader_destroy(&reader);
  return status;
}
