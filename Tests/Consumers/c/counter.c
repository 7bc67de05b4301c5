/* SPDX-License-Identifier: Apache-2.0 */
// The C example of the documentation made runnable, with a child that counts too and one that is
// killed while it holds the lock. cc counter.c $(pkg-config --cflags --libs cipc)
#include <cipc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

struct counter {
  cipc_mutex_t lock;
  long hits;
  int torn;
};

static int repairs;

static void repair(struct counter *counter) {
  counter->torn = 0;
  repairs++;
}

static int hit(struct counter *counter) {
  int status = cipc_mutex_lock(&counter->lock, CIPC_NO_DEADLINE);
  if (status < 0) return status;
  if (status == CIPC_OWNER_DIED) {
    repair(counter);
    status = cipc_mutex_recover(&counter->lock);
    if (status < 0) return status;
  }
  counter->hits++;
  return cipc_mutex_unlock(&counter->lock);
}

// How a child ended: its exit code, or minus the signal.
static int join(pid_t child) {
  int ended = 0;
  if (waitpid(child, &ended, 0) != child) return -1000;
  return WIFEXITED(ended) ? WEXITSTATUS(ended) : -WTERMSIG(ended);
}

static int count_in_child(struct counter *counter, int times) {
  pid_t child = fork();
  if (child == 0) {
    for (int i = 0; i < times; i++) {
      if (hit(counter) < 0) _exit(1);
    }
    _exit(0);
  }
  for (int i = 0; i < times; i++) {
    int status = hit(counter);
    if (status < 0) return status;
  }
  return join(child) == 0 && counter->hits == 2 * times ? 0 : CIPC_EINVAL;
}

static int survive_a_killed_owner(struct counter *counter) {
  pid_t child = fork();
  if (child == 0) {
    if (cipc_mutex_lock(&counter->lock, CIPC_NO_DEADLINE) != 0) _exit(1);
    counter->torn = 1;
    raise(SIGKILL);
  }
  if (join(child) != -SIGKILL) return CIPC_EINVAL;
  int status = hit(counter);
  if (status < 0) return status;
  return repairs == 1 && counter->torn == 0 ? 0 : CIPC_EINVAL;
}

static int demo(void) {
  cipc_segment_t *segment;
  int status = cipc_segment_create(&segment, sizeof(struct counter), NULL);
  if (status < 0) return status;
  struct counter *counter = cipc_segment_address(segment);
  if ((status = cipc_mutex_init(&counter->lock, NULL)) < 0) goto out;
  if ((status = count_in_child(counter, 10000)) < 0) goto out;
  if ((status = survive_a_killed_owner(counter)) < 0) goto out;
  (void)printf("%ld hits, %d repair\n", counter->hits, repairs);
out:
  cipc_segment_close(segment);
  return status;
}

int main(void) {
  int status = demo();
  if (status < 0) {
    (void)fprintf(stderr, "%s: %s\n", cipc_status_name(status), cipc_status_message(status));
  }
  return status < 0 ? 1 : 0;
}
