/* SPDX-License-Identifier: Apache-2.0 */
// Frames, and connections, which move them: when the writer dies, the reader gets whole frames,
// each what was written, and then the end of the stream or "truncated" at once; when the reader
// dies, the writer is told so.
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "crash.h"

// Frame 0 is written before the operation, which writes the other two.
#define FRAMES 3
#define SMALL 200
// Ten times what the socket takes.
#define LARGE 40000
#define SEND_BUFFER 4096
// One batch, and one more than a batch.
#define FEW 3
#define MANY 254

enum { WRITE_END, READ_END };

static cipc_deadline_t soon(void) { return cipc_clock_deadline(SURVIVOR_DEADLINE); }

// What the operations of this file differ in: looked up by name, since a row has no room for it.
struct shape {
  size_t length;
  size_t descriptors;
};

static struct shape shape_of(const struct trial *trial) {
  const char *name = trial->operation->name;
  struct shape shape = {.length = strstr(name, "large") != NULL ? LARGE : SMALL};
  if (strstr(name, "few") != NULL) shape.descriptors = FEW;
  if (strstr(name, "many") != NULL) shape.descriptors = MANY;
  return shape;
}

// No two frames have the same length or bytes.
static size_t length_of(const struct trial *trial, unsigned frame) {
  return frame == 0 ? SMALL : shape_of(trial).length + frame;
}

static uint8_t byte_of(unsigned frame, size_t i) { return (uint8_t)(i * 7 + i / 251 + frame * 85); }

static uint8_t bodies[FRAMES][LARGE + FRAMES];
static int passed[MANY];

static void compose(struct trial *trial) {
  for (unsigned frame = 0; frame < FRAMES; frame++) {
    for (size_t i = 0; i < length_of(trial, frame); i++) bodies[frame][i] = byte_of(frame, i);
  }
}

static void setup_pipe(struct trial *trial) {
  int ends[2];
  compose(trial);
  expect(trial, "pipe", pipe2(ends, O_CLOEXEC), 0);
  trial->descriptors[READ_END] = ends[0];
  trial->descriptors[WRITE_END] = ends[1];
}

static void setup(struct trial *trial) {
  compose(trial);
  expect(trial, "socketpair",
         socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, trial->descriptors), 0);
  int size = SEND_BUFFER;
  expect(trial, "setsockopt",
         setsockopt(trial->descriptors[WRITE_END], SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
}

static void let_go(struct trial *trial, int end) {
  (void)close(trial->descriptors[end]);
  trial->descriptors[end] = -1;
}

// The end of the other one is given up everywhere but in the survivors, so that its death shows.
static void forked_writer(struct trial *trial) { let_go(trial, WRITE_END); }

static void forked_reader(struct trial *trial) {
  let_go(trial, WRITE_END);
  let_go(trial, READ_END);
}

// Bytes on the way; unknown once a reader reads.
static int bytes_now(struct trial *trial) {
  int bytes = 0;
  if (__atomic_load_n(&trial->shared->busy[0], __ATOMIC_SEQ_CST)) return -1;
  return ioctl(trial->descriptors[READ_END], FIONREAD, &bytes) < 0 ? -1 : bytes;
}

static void write_frame(struct trial *trial, unsigned frame, size_t descriptors) {
  expect(trial, "write",
         cipc_frame_write(trial->descriptors[WRITE_END], bodies[frame], length_of(trial, frame),
                          descriptors > 0 ? passed : NULL, descriptors, CIPC_NO_DEADLINE),
         0);
}

static void prepare_writer(struct trial *trial) {
  let_go(trial, READ_END);
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int i = 0; i < MANY; i++) passed[i] = null;
  write_frame(trial, 0, 0);
}

static void write_two(struct trial *trial) {
  size_t descriptors = shape_of(trial).descriptors;
  write_frame(trial, 1, descriptors);
  write_frame(trial, 2, descriptors);
}

// The victim's end as a connection.
static cipc_connection_t *connection;

static void adopt(struct trial *trial, int end) {
  expect(trial, "adopt", cipc_connection_adopt(&connection, trial->descriptors[end], 0, 0), 0);
}

static void prepare_sender(struct trial *trial) {
  prepare_writer(trial);
  adopt(trial, WRITE_END);
}

static void send_two(struct trial *trial) {
  size_t descriptors = shape_of(trial).descriptors;
  for (unsigned frame = 1; frame < FRAMES; frame++) {
    expect(trial, "send",
           cipc_connection_send(connection, bodies[frame], length_of(trial, frame), passed,
                                descriptors, CIPC_NO_DEADLINE),
           0);
  }
}

// Small ones, so that there is nothing to wait for between the steps.
static void send_two_in_steps(struct trial *trial) {
  for (unsigned frame = 1; frame < FRAMES; frame++) {
    uint64_t progress = 0;
    cipc_wait_t wait = {0};
    expect(trial, "send_step",
           cipc_connection_send_step(connection, bodies[frame], length_of(trial, frame), NULL, 0,
                                     &progress, &wait),
           0);
  }
}

static void look_at_descriptors(struct trial *trial, const int *descriptors, size_t count) {
  for (size_t i = 0; i < count; i++) {
    struct stat status;
    if (fstat(descriptors[i], &status) < 0 || !S_ISCHR(status.st_mode) ||
        status.st_rdev != makedev(1, 3)) {
      violate(trial, "descriptor %zu of %zu is not what was sent", i, count);
    }
    (void)close(descriptors[i]);
  }
}

// number[0]: whole frames; number[1]: how it ended.
static void survive_reader(struct trial *trial, int survivor) {
  let_go(trial, WRITE_END);
  if (survivor != 0) {
    let_go(trial, READ_END);
    return;
  }
  for (unsigned frame = 0;; frame++) {
    uint8_t *bytes;
    size_t length;
    int *descriptors;
    size_t count;
    int status = cipc_frame_read(trial->descriptors[READ_END], CIPC_FRAME_MAXIMUM, &bytes, &length,
                                 &descriptors, &count, soon());
    if (status < 0) {
      trial->shared->acquired_at[0] = cipc_clock_now();
      trial->shared->number[1] = status;
      if (status != CIPC_EPEERCLOSED && status != CIPC_ETRUNCATED) {
        violate(trial, "read: %s", cipc_status_message(status));
      }
      return;
    }
    if (frame >= FRAMES || length != length_of(trial, frame) ||
        memcmp(bytes, bodies[frame], length) != 0) {
      violate(trial, "frame %u, of %zu bytes, was never written", frame, length);
      return;
    }
    size_t expected = frame == 0 ? 0 : shape_of(trial).descriptors;
    if (count != expected) {
      violate(trial, "frame %u came with %zu descriptors instead of %zu", frame, count, expected);
    }
    look_at_descriptors(trial, descriptors, count);
    free(descriptors);
    free(bytes);
    trial->shared->number[0] = frame + 1;
  }
}

static void judge_reader(struct trial *trial) {
  int64_t whole = trial->shared->number[0];
  bool truncated = trial->shared->number[1] == CIPC_ETRUNCATED;
  trial->committed = whole == FRAMES;
  if (trial->phase == NOT_ENTERED && (whole != 1 || truncated)) {
    violate(trial, "%lld frames before the operation, %s", (long long)whole,
            truncated ? "truncated" : "whole");
  }
  if (whole == FRAMES && truncated) violate(trial, "truncated behind the last frame");
  if (trial->done_before < 0) return;
  int64_t expected = 0;
  size_t rest = (size_t)trial->done_before;
  while (expected < FRAMES && rest >= 4 + length_of(trial, (unsigned)expected)) {
    rest -= 4 + length_of(trial, (unsigned)expected++);
  }
  if (whole != expected || truncated != (rest > 0)) {
    violate(trial,
            "%d bytes were out when the victim was killed: %lld frames and %zu bytes; "
            "the reader got %lld and was told \"%s\"",
            trial->done_before, (long long)expected, rest, (long long)whole,
            cipc_status_message((int)trial->shared->number[1]));
  }
}

static void setup_reader(struct trial *trial) {
  setup(trial);
  if (trial->state == OWNS || trial->state == CALLS) write_frame(trial, 0, 0);
}

static void prepare_reader(struct trial *trial) { let_go(trial, WRITE_END); }

static void read_one(struct trial *trial) {
  uint8_t *bytes = NULL;
  size_t length;
  expect(trial, "read",
         cipc_frame_read(trial->descriptors[READ_END], CIPC_FRAME_MAXIMUM, &bytes, &length, NULL,
                         NULL, CIPC_NO_DEADLINE),
         0);
  if (bytes == NULL || length != SMALL || memcmp(bytes, bodies[0], SMALL) != 0) {
    violate(trial, "the frame that was read is not the one that was written");
  }
}

static void prepare_receiver(struct trial *trial) {
  prepare_reader(trial);
  adopt(trial, READ_END);
}

static void receive_one(struct trial *trial) {
  uint8_t *bytes = NULL;
  size_t length;
  expect(trial, "receive",
         cipc_connection_receive(connection, &bytes, &length, NULL, NULL, CIPC_NO_DEADLINE), 0);
  if (bytes == NULL || length != SMALL || memcmp(bytes, bodies[0], SMALL) != 0) {
    violate(trial, "the message that was received is not the one that was sent");
  }
}

// A poll takes nothing, so all that the survivor writes stays unread.
static void poll_one(struct trial *trial) {
  expect(trial, "poll", cipc_connection_poll(connection, CIPC_NO_DEADLINE), 0);
}

static void survive_writer(struct trial *trial, int survivor) {
  let_go(trial, READ_END);
  if (survivor != 0) {
    let_go(trial, WRITE_END);
    return;
  }
  int descriptor = trial->descriptors[WRITE_END];
  int status = 0;
  // The second does not fit: only the victim could make room, and it reads one frame only, or that
  // and 16 KiB ahead.
  for (unsigned frame = 0; frame < 2 && status == 0; frame++) {
    status = cipc_frame_write(descriptor, bodies[0], frame == 0 ? SMALL : LARGE, NULL, 0, soon());
  }
  trial->shared->acquired_at[0] = cipc_clock_now();
  expect(trial, "write to the dead", status, CIPC_EPEERCLOSED);
}

#define READ_BY_SURVIVOR \
  .fresh_survivors = true, .forked = forked_writer, .committed_now = bytes_now, \
  .survive = survive_reader, .judge = judge_reader
#define WRITER READ_BY_SURVIVOR, .prepare = prepare_writer, .run = write_two
#define SENDER READ_BY_SURVIVOR, .prepare = prepare_sender
#define WRITTEN_BY_SURVIVOR \
  .fresh_survivors = true, .setup = setup_reader, .forked = forked_reader, .survive = survive_writer

static const struct operation frame_operations[] = {
    {.name = "frame.write",
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .setup = setup,
     WRITER},
    {.name = "frame.write-pipe",
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .setup = setup_pipe,
     WRITER},
    {.name = "frame.write-few",
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .setup = setup,
     WRITER},
    {.name = "frame.write-many",
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .setup = setup,
     .coarse = 11,
     WRITER},
    {.name = "frame.write-large",
     .states = IN(WOKEN) | IN(CALLS),
     .commit = WHENEVER,
     .setup = setup,
     WRITER},
    {.name = "frame.write-large-pipe",
     .states = IN(CALLS),
     .commit = WHENEVER,
     .setup = setup_pipe,
     WRITER},
    {.name = "frame.read",
     .states = IN(OWNS) | IN(CALLS) | IN(WOKEN) | IN(BLOCKED),
     .prepare = prepare_reader,
     .run = read_one,
     WRITTEN_BY_SURVIVOR},
    {.name = "connection.send",
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .setup = setup,
     .run = send_two,
     SENDER},
    {.name = "connection.send-pipe",
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .setup = setup_pipe,
     .run = send_two,
     SENDER},
    {.name = "connection.send-many",
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .setup = setup,
     .coarse = 11,
     .run = send_two,
     SENDER},
    {.name = "connection.send-large",
     .states = IN(WOKEN) | IN(CALLS),
     .commit = WHENEVER,
     .setup = setup,
     .run = send_two,
     SENDER},
    {.name = "connection.send-step",
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .setup = setup,
     .run = send_two_in_steps,
     SENDER},
    {.name = "connection.receive",
     .states = IN(OWNS) | IN(CALLS) | IN(WOKEN) | IN(BLOCKED),
     .prepare = prepare_receiver,
     .run = receive_one,
     WRITTEN_BY_SURVIVOR},
    {.name = "connection.poll",
     .states = IN(OWNS) | IN(CALLS) | IN(WOKEN) | IN(BLOCKED),
     .prepare = prepare_receiver,
     .run = poll_one,
     WRITTEN_BY_SURVIVOR},
};

REGISTER(frame_operations)
