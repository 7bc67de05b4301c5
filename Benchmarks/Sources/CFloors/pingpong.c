/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "floors.h"
#include "futex.h"
#include "pairs.h"
#include "spin.h"

enum { OURS, PEERS };

/// What a game keeps must stay where it is while the peer lives, and no longer.
static void *make(size_t size) {
  void *game = calloc(1, size);
  if (game == NULL) fail("calloc", errno);
  return game;
}

// MARK: A futex

typedef struct futex_game {
  /// Whose turn it is; both sleep on it. Shared.
  uint32_t *turn;
} futex_game_t;

static void pass(uint32_t *turn, uint32_t to) {
  __atomic_store_n(turn, to, __ATOMIC_SEQ_CST);
  futex_wake(turn);
}

static void futex_ours(void *context, size_t count) {
  uint32_t *turn = ((futex_game_t *)context)->turn;
  for (size_t i = 0; i < count; i++) {
    pass(turn, PEERS);
    futex_wait(turn, PEERS);
  }
}

static void futex_theirs(void *context, size_t count) {
  uint32_t *turn = ((futex_game_t *)context)->turn;
  for (size_t i = 0; i < count; i++) {
    futex_wait(turn, OURS);
    pass(turn, OURS);
  }
}

// MARK: Descriptors

typedef struct descriptor_game {
  /// To read from and to write to: of this process, and of the peer.
  int ours[2], theirs[2];
  /// An eventfd takes eight.
  size_t size;
} descriptor_game_t;

static void write_to(int fd, size_t size) {
  uint64_t one = 1;
  if (write(fd, &one, size) != (ssize_t)size) fail("write", errno);
}

static void read_from(int fd, size_t size) {
  uint64_t any;
  if (read(fd, &any, size) != (ssize_t)size) fail("read", errno);
}

static void descriptor_ours(void *context, size_t count) {
  descriptor_game_t *game = context;
  for (size_t i = 0; i < count; i++) {
    write_to(game->ours[1], game->size);
    read_from(game->ours[0], game->size);
  }
}

static void descriptor_theirs(void *context, size_t count) {
  descriptor_game_t *game = context;
  for (size_t i = 0; i < count; i++) {
    read_from(game->theirs[0], game->size);
    write_to(game->theirs[1], game->size);
  }
}

static void descriptor_end(void *context) {
  descriptor_game_t *game = context;
  (void)close(game->ours[0]);
  (void)close(game->ours[1]);
  if (game->theirs[0] != game->ours[1]) {
    (void)close(game->theirs[0]);
    (void)close(game->theirs[1]);
  }
  free(game);
}

static void make_eventfds(descriptor_game_t *game) {
  int there = eventfd(0, EFD_CLOEXEC), back = eventfd(0, EFD_CLOEXEC);
  if (there < 0 || back < 0) fail("eventfd", errno);
  *game = (descriptor_game_t){.ours = {back, there}, .theirs = {there, back}, .size = 8};
}

static void make_pipes(descriptor_game_t *game) {
  int there[2], back[2];
  if (pipe2(there, O_CLOEXEC) < 0 || pipe2(back, O_CLOEXEC) < 0) fail("pipe2", errno);
  *game =
      (descriptor_game_t){.ours = {back[0], there[1]}, .theirs = {there[0], back[1]}, .size = 1};
}

floor_pair_t *floor_ping_pong_create(int core, floor_waker_t waker) {
  if (waker == FLOOR_FUTEX) {
    futex_game_t *game = make(sizeof *game);
    game->turn = floor_memory_create(sizeof *game->turn);
    return floor_pair_create(core, (floor_jobs_t){futex_ours, futex_theirs, 1, free}, game);
  }
  descriptor_game_t *game = make(sizeof *game);
  if (waker == FLOOR_EVENTFD) {
    make_eventfds(game);
  } else {
    make_pipes(game);
  }
  return floor_pair_create(
      core, (floor_jobs_t){descriptor_ours, descriptor_theirs, 1, descriptor_end}, game);
}

// MARK: Cache lines

/// Each line is written by one side and watched by the other. Adjacent ones may be fetched
/// together, so they are two apart.
typedef struct lines {
  uint64_t there;
  char apart[120];
  uint64_t back;
} lines_t;

typedef struct lines_game {
  lines_t *lines;
  uint64_t round;
} lines_game_t;

static void await_line(const uint64_t *line, uint64_t round) {
  for (uint32_t looks = 1; __atomic_load_n(line, __ATOMIC_ACQUIRE) != round; looks++) spin(looks);
}

static void lines_ours(void *context, size_t count) {
  lines_game_t *game = context;
  for (size_t i = 0; i < count; i++) {
    __atomic_store_n(&game->lines->there, ++game->round, __ATOMIC_RELEASE);
    await_line(&game->lines->back, game->round);
  }
}

static void lines_theirs(void *context, size_t count) {
  lines_game_t *game = context;
  for (size_t i = 0; i < count; i++) {
    await_line(&game->lines->there, ++game->round);
    __atomic_store_n(&game->lines->back, game->round, __ATOMIC_RELEASE);
  }
}

floor_pair_t *floor_lines_create(int core) {
  lines_game_t *game = make(sizeof *game);
  game->lines = floor_memory_create(sizeof *game->lines);
  return floor_pair_create(core, (floor_jobs_t){lines_ours, lines_theirs, 0, free}, game);
}
