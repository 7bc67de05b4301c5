/* SPDX-License-Identifier: Apache-2.0 */
// Two programs that know nothing of each other but names share a value, a lock and a queue, as one
// in Swift would. cc named.c $(pkg-config --cflags --libs cipc)
#include <cipc.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char total_name[64], lock_name[64], queue_name[64];

static int fail(const char *what, int status) {
  (void)fprintf(stderr, "%s: %s\n", what, cipc_segment_refusal(status));
  return 1;
}

// The one: it makes them or finds them, adds to the total under the lock, and says so in the queue.
static int add(void) {
  cipc_segment_t *total, *lock;
  cipc_ring_t *queue;
  const double zero = 0;
  const cipc_ring_options_t texts = {.fingerprint = CIPC_FINGERPRINT_TEXT};
  int status = cipc_cell_open_or_create(&total, total_name, cipc_element("float64"), &zero);
  if (status < 0) return fail("total", status);
  if ((status = cipc_mutex_open_or_create(&lock, lock_name, NULL)) < 0) return fail("lock", status);
  if ((status = cipc_ring_open_or_create(&queue, queue_name, &texts)) < 0) {
    return fail("queue", status);
  }
  status = cipc_mutex_lock(cipc_segment_address(lock), CIPC_NO_DEADLINE);
  if (status != 0) return fail("locking", status);
  double value;
  cipc_cell_t *cell = cipc_segment_address(total);
  status = cipc_cell_read(cell, &value, sizeof value, CIPC_NO_DEADLINE);
  value += 1.5;
  if (status == 0) status = cipc_cell_store(cell, &value, sizeof value, CIPC_NO_DEADLINE);
  if (status == 0) status = cipc_mutex_unlock(cipc_segment_address(lock));
  if (status == 0) status = cipc_ring_put(queue, "added", 5, CIPC_NO_DEADLINE);
  if (status < 0) return fail("adding", status);
  cipc_ring_close(queue);
  cipc_segment_close(lock);
  cipc_segment_close(total);
  return 0;
}

// The other: it finds them, and is told what is not what it takes it for.
static int look(void) {
  cipc_segment_t *total = NULL;
  cipc_ring_t *queue;
  const cipc_ring_options_t any = {.fingerprint = CIPC_FINGERPRINT_ANY};
  int status = cipc_ring_open_named(&queue, queue_name, &any);
  if (status < 0) return fail("queue", status);
  for (int i = 0; i < 2; i++) {
    char text[16];
    size_t length;
    status = cipc_ring_get(queue, text, sizeof text, &length, CIPC_NO_DEADLINE);
    if (status < 0 || length != 5 || memcmp(text, "added", 5) != 0) return fail("getting", status);
  }
  cipc_ring_close(queue);
  status = cipc_cell_open_named(&total, total_name, cipc_element("int64"));
  const char *said = cipc_segment_refusal(status);
  if (strstr(said, "segment type fingerprint: float64 instead of int64") != said) {
    return fail("taken for an integer", status);
  }
  status = cipc_cell_open_named(&total, total_name, cipc_element("float64"));
  if (status < 0) return fail("total", status);
  double value = 0;
  status = cipc_cell_read(cipc_segment_address(total), &value, sizeof value, CIPC_NO_DEADLINE);
  cipc_segment_close(total);
  if (status < 0) return fail("reading", status);
  (void)printf("the total is %.1f\n", value);
  return value > 2.9 && value < 3.1 ? 0 : 1;
}

static int in_child(int (*body)(void)) {
  pid_t child = fork();
  if (child == 0) _exit(body());
  int ended = 0;
  return waitpid(child, &ended, 0) == child && WIFEXITED(ended) ? WEXITSTATUS(ended) : 1;
}

int main(void) {
  (void)snprintf(total_name, sizeof total_name, "cipc-consumer-total-%d", (int)getpid());
  // A slash before a name does not count.
  (void)snprintf(lock_name, sizeof lock_name, "/cipc-consumer-lock-%d", (int)getpid());
  (void)snprintf(queue_name, sizeof queue_name, "cipc-consumer-queue-%d", (int)getpid());
  int result = in_child(add) | in_child(add) | look();
  const char *names[] = {total_name, lock_name, queue_name};
  for (int i = 0; i < 3; i++) {
    int status = cipc_segment_unlink(names[i]);
    if (status < 0) result = fail(names[i], status);
  }
  return result;
}
