/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fork_hooks.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

// Held from before the first room's lock to after the last one's, so that the list stays the same.
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
// The lowest rank first.
static cipc_fork_room_t *rooms;
static bool is_installed;

unsigned cipc_fork_count;

static void prepare(void) {
  (void)pthread_mutex_lock(&guard);
  for (const cipc_fork_room_t *room = rooms; room != NULL; room = room->next) room->prepare();
}

// From the highest rank on; there are about ten.
static void leave(const cipc_fork_room_t *room, bool is_child) {
  if (room == NULL) return;
  leave(room->next, is_child);
  (is_child ? room->child : room->parent)();
}

static void parent(void) {
  leave(rooms, false);
  (void)pthread_mutex_unlock(&guard);
}

static void child(void) {
  cipc_fork_count++;
  leave(rooms, true);
  (void)pthread_mutex_unlock(&guard);
}

void cipc_fork_register(cipc_fork_room_t *room) {
  (void)pthread_mutex_lock(&guard);
  cipc_fork_room_t **place = &rooms;
  while (*place != NULL && (*place)->rank < room->rank) place = &(*place)->next;
  room->next = *place;
  *place = room;
  bool is_first = !is_installed;
  is_installed = true;
  (void)pthread_mutex_unlock(&guard);
  // Without the guard, which a fork takes inside of libc's own lock on some systems.
  if (is_first) (void)pthread_atfork(prepare, parent, child);
}
