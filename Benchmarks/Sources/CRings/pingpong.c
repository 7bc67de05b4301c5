/* SPDX-License-Identifier: Apache-2.0 */
#include "records.h"
#include "support.h"

// Longer than any turn, so that neither side sleeps in one.
#define FOR_EVER INT64_C(10000000000)

typedef struct game {
  cipc_ring_t *there, *back;
  /// How many rounds this side has played.
  uint64_t number;
} game_t;

static void put(cipc_ring_t *ring, uint64_t number) {
  uint64_t record[FLOOR_RECORD_WORDS];
  floor_record_write(record, number);
  check(cipc_ring_put(ring, record, sizeof record, CIPC_NO_DEADLINE));
}

static void get(cipc_ring_t *ring, uint64_t number) {
  uint64_t record[FLOOR_RECORD_WORDS];
  size_t length;
  check(cipc_ring_get(ring, record, sizeof record, &length, CIPC_NO_DEADLINE));
  floor_record_read(record, number);
}

static void ours(void *context, size_t count) {
  game_t *game = context;
  for (size_t i = 0; i < count; i++) {
    put(game->there, game->number);
    get(game->back, game->number++);
  }
}

static void theirs(void *context, size_t count) {
  game_t *game = context;
  for (size_t i = 0; i < count; i++) {
    get(game->there, game->number);
    put(game->back, game->number++);
  }
}

static void finish(void *context) {
  game_t *game = context;
  cipc_ring_close(game->there);
  cipc_ring_close(game->back);
  free(game);
}

floor_pair_t *rings_ping_pong_create(int core, rings_kind_t kind, rings_wait_t wait) {
  game_t *game = make(sizeof *game);
  game->there = make_ring(kind, 0);
  game->back = make_ring(kind, 0);
  if (wait == RINGS_SPINNING) {
    cipc_ring_set_spin(game->there, FOR_EVER);
    cipc_ring_set_spin(game->back, FOR_EVER);
  }
  // One that spins must not do so while others have their turns.
  return floor_pair_create(core, (floor_jobs_t){ours, theirs, wait != RINGS_SPINNING, finish},
                           game);
}
