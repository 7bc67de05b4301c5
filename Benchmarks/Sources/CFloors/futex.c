/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fail.h"
#include "floors.h"

enum { OURS, PEERS };

struct floor_ping_pong {
  /// Whose turn it is; both sleep on it. Shared.
  uint32_t *turn;
  pid_t peer;
};

static void pass(uint32_t *turn, uint32_t to) {
  __atomic_store_n(turn, to, __ATOMIC_SEQ_CST);
  if (syscall(SYS_futex, turn, FUTEX_WAKE, 1, NULL, NULL, 0) < 0) fail("futex", errno);
}

static void await_turn(uint32_t *turn, uint32_t other) {
  while (__atomic_load_n(turn, __ATOMIC_SEQ_CST) == other) {
    if (syscall(SYS_futex, turn, FUTEX_WAIT, other, NULL, NULL, 0) < 0 && errno != EAGAIN &&
        errno != EINTR) {
      fail("futex", errno);
    }
  }
}

floor_ping_pong_t *floor_ping_pong_create(int core) {
  uint32_t *turn = floor_memory_create(sizeof *turn);
  *turn = OURS;
  pid_t parent = getpid();
  pid_t peer = fork();
  if (peer < 0) fail("fork", errno);
  if (peer == 0) {
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(0);
    floor_pin(core);
    for (;;) {
      await_turn(turn, OURS);
      pass(turn, OURS);
    }
  }
  floor_ping_pong_t *game = malloc(sizeof *game);
  if (game == NULL) fail("malloc", errno);
  *game = (floor_ping_pong_t){.turn = turn, .peer = peer};
  return game;
}

void floor_ping_pong_rounds(floor_ping_pong_t *game, size_t count) {
  for (size_t i = 0; i < count; i++) {
    pass(game->turn, PEERS);
    await_turn(game->turn, PEERS);
  }
}

void floor_ping_pong_end(floor_ping_pong_t *game) {
  (void)kill(game->peer, SIGKILL);
  while (waitpid(game->peer, NULL, 0) < 0 && errno == EINTR) {
  }
  free(game);
}
