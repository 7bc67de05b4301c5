/* SPDX-License-Identifier: Apache-2.0 */
// Bytes: the old content or the new one, of another length, and never a mixture of two; the new one
// exactly from the commit store on.
#include <string.h>

#include "crash.h"

#define CAPACITY 64
// What stands there: the number of an update, then as many of its patterns as it says. The victim's
// is longer than what others write.
#define OLD 10u
#define NEW 100u

struct text {
  unsigned char bytes[CAPACITY];
  size_t length;
};

static cipc_bytes_t *bytes_of(struct trial *trial) { return trial->object; }

static cipc_deadline_t soon(void) { return cipc_clock_deadline(SURVIVOR_DEADLINE); }

static struct text text_of(unsigned number) {
  struct text text = {.length = number >= NEW ? 61 : 9 + number % 4};
  for (size_t i = 0; i < text.length; i++) text.bytes[i] = (unsigned char)(number + i * 13);
  text.bytes[0] = (unsigned char)number;
  return text;
}

static unsigned look(struct trial *trial, const char *who, const void *bytes, size_t length) {
  const unsigned char *found = bytes;
  unsigned number = length > 0 ? found[0] : 0;
  struct text right = text_of(number);
  unsigned base = number >= NEW ? number - NEW + OLD : number;
  if (base < OLD || base > OLD + SURVIVORS) {
    violate(trial, "%s: %u was never written", who, number);
  } else if (length != right.length || memcmp(bytes, right.bytes, length) != 0) {
    violate(trial, "%s: torn: %zu bytes of %u", who, length, number);
  }
  return number;
}

static void setup(struct trial *trial) {
  struct text text = text_of(OLD);
  expect(trial, "init", cipc_bytes_init(bytes_of(trial), CAPACITY, text.bytes, text.length), 0);
}

static unsigned current;

static void begin(struct trial *trial) {
  const void *content = NULL;
  size_t length = 0;
  expect(trial, "begin",
         cipc_bytes_begin(bytes_of(trial), CAPACITY, &content, &length, CIPC_NO_DEADLINE), 0);
  current = *(const unsigned char *)content;
}

static void commit(struct trial *trial) {
  struct text text = text_of(current + NEW - OLD);
  expect(trial, "commit", cipc_bytes_commit(bytes_of(trial), CAPACITY, text.bytes, text.length), 0);
}

static void update(struct trial *trial) {
  begin(trial);
  commit(trial);
}

static void cancel(struct trial *trial) {
  expect(trial, "cancel", cipc_bytes_cancel(bytes_of(trial)), 0);
}

static unsigned read_number(struct trial *trial, const char *who) {
  struct text text;
  int status =
      cipc_bytes_read(bytes_of(trial), CAPACITY, text.bytes, CAPACITY, &text.length, soon());
  expect(trial, who, status, 0);
  return status == 0 ? look(trial, who, text.bytes, text.length) : 0;
}

static void read_once(struct trial *trial) { (void)read_number(trial, "read"); }

static int holds(struct trial *trial) {
#if defined(__GLIBC__)
  int word = __atomic_load_n(&bytes_of(trial)->cell.mutex.native.__data.__lock, __ATOMIC_SEQ_CST);
  return (word & 0x3fffffff) == trial->shared->victim;
#else
  (void)trial;
  return -1;
#endif
}

static int committed_now(struct trial *trial) {
  struct text text;
  // Takes no lock while the victim is the only process that could write.
  if (holds(trial) != 1) return -1;
  if (cipc_bytes_read(bytes_of(trial), CAPACITY, text.bytes, CAPACITY, &text.length,
                      CIPC_IMMEDIATELY) < 0) {
    return -1;
  }
  return text.bytes[0] >= NEW;
}

static bool barge(struct trial *trial) {
  const void *content = NULL;
  size_t length = 0;
  return cipc_bytes_begin(bytes_of(trial), CAPACITY, &content, &length, CIPC_IMMEDIATELY) == 0;
}

static void survive(struct trial *trial, int survivor) {
  // The victim is stopped or asleep somewhere: no lock is needed.
  (void)read_number(trial, "survivor without the lock");
  const void *content = NULL;
  size_t length = 0;
  int status = cipc_bytes_begin(bytes_of(trial), CAPACITY, &content, &length, soon());
  if (status < 0) {
    violate(trial, "survivor %d: begin: %s", survivor, cipc_status_message(status));
    return;
  }
  (void)enter(trial, survivor);
  struct text text = text_of(look(trial, "survivor with the lock", content, length) + 1);
  leave(trial);
  expect(trial, "survivor: commit",
         cipc_bytes_commit(bytes_of(trial), CAPACITY, text.bytes, text.length), 0);
}

static void check(struct trial *trial) {
  trial->shared->number[1] = read_number(trial, "last read");
  begin(trial);
  cancel(trial);
}

static void judge(struct trial *trial) {
  unsigned number = (unsigned)trial->shared->number[1];
  trial->committed = number >= NEW;
  if (number != SURVIVORS + (trial->committed ? NEW : OLD)) {
    violate(trial, "the last one is %u: an update was lost", number);
  }
  if (trial->done_before >= 0 && trial->done_before != trial->committed) {
    violate(trial, "the update was %s when the victim was killed, and %s in the end",
            trial->done_before ? "there" : "not there", trial->committed ? "is" : "is not");
  }
}

#define COMMON \
  .setup = setup, .hold = begin, .release = cancel, .holds = holds, .barge = barge, \
  .unbarge = cancel, .survive = survive, .check = check, .judge = judge

static const struct operation bytes_operations[] = {
    {.name = "bytes.update",
     .states = IN(OWNS) | IN(WOKEN) | IN(WOKEN_DIED) | IN(OVERTAKEN) | IN(BLOCKED),
     .commit = RISES,
     .run = update,
     .committed_now = committed_now,
     COMMON},
    {.name = "bytes.commit",
     .states = IN(OWNS) | IN(CONTENDED) | IN(CALLS),
     .commit = RISES,
     .begins_owning = true,
     .prepare = begin,
     .run = commit,
     .committed_now = committed_now,
     COMMON},
    {.name = "bytes.read", .states = IN(OWNS), .run = read_once, COMMON},
};

REGISTER(bytes_operations)
