/* SPDX-License-Identifier: Apache-2.0 */
// Nobody hangs, whoever dies where:
// - A writer dies before it closes the door, or behind its commit: the mutex tells the next writer,
//   and readers have nothing in their way.
// - A writer dies pending or inside: readers find the mutex ownerless, before they sleep and when
//   they look, every 200 ms; whoever comes first opens the door (`inspect`). The next writer does
//   the same on its way in (`settle`). Either may be killed doing it: each is an atomic step under
//   the mutex, and the next one begins again from what `state` says.
// - Somebody who waits to write in steps dies: `pending` names it, and readers look.
// - A reader dies inside or waiting: its place names it; a writer in whose way it is, and a reader
//   that finds no place, look.
// - Whoever dies between its commit and its wake-up, or just woken: all who sleep here look.
#include "cipc/rwlock.h"

#include <limits.h>
#include <stdbool.h>
#include <string.h>

#include "base/clock.h"
#include "base/futex.h"
#include "base/tries.h"
#include "segment/object.h"

_Static_assert(sizeof(cipc_rwlock_t) == CIPC_RWLOCK_HEAD, "the lines follow the head");
_Static_assert(offsetof(cipc_rwlock_t, room) <= CIPC_RWLOCK_HEAD, "all is in the head");

enum {
  // The door is closed: a writer waits for the readers to leave, or is inside. Behind a closed door
  // readers wait, unless a writer let them in on its way out.
  CLOSED = 1,
  // With CLOSED: the writer is inside; `writer` names it.
  ACTIVE = 2,
  // A writer died inside, and nobody has recovered.
  DIRTY = 4,
  // With CLOSED: readers wait for the door.
  WAITERS = 8,
  // Readers wait for a place.
  FULL = 16
};

static uint32_t load(const uint32_t *word) { return __atomic_load_n(word, __ATOMIC_SEQ_CST); }

static bool swap(uint32_t *word, uint32_t *expected, uint32_t desired) {
  return __atomic_compare_exchange_n(word, expected, desired, 0, __ATOMIC_SEQ_CST,
                                     __ATOMIC_SEQ_CST);
}

static bool swap_place(cipc_participant_t *place, cipc_participant_t expected,
                       cipc_participant_t desired) {
  return __atomic_compare_exchange_n(place, &expected, desired, 0, __ATOMIC_SEQ_CST,
                                     __ATOMIC_SEQ_CST);
}

static cipc_participant_t load_place(const cipc_participant_t *place) {
  return __atomic_load_n(place, __ATOMIC_SEQ_CST);
}

static int told(uint32_t state) { return state & DIRTY ? CIPC_OWNER_DIED : 0; }

static void wake_all(uint32_t *word) { (void)cipc_futex_wake(word, INT_MAX); }

static void announce_exit(cipc_rwlock_t *lock) {
  (void)__atomic_fetch_add(&lock->exits, 1, __ATOMIC_SEQ_CST);
  wake_all(&lock->exits);
}

// MARK: Making

size_t cipc_rwlock_footprint(uint32_t lines) {
  if (lines == 0 || lines > CIPC_RWLOCK_LINES_MAXIMUM || (lines & (lines - 1)) != 0) {
    return SIZE_MAX;
  }
  return CIPC_RWLOCK_HEAD + (size_t)lines * CIPC_RWLOCK_LINE_READERS * sizeof(cipc_participant_t);
}

int cipc_rwlock_init(cipc_rwlock_t *lock, uint32_t lines) {
  size_t size = cipc_rwlock_footprint(lines);
  if (size == SIZE_MAX) return CIPC_EINVAL;
  memset(lock, 0, size);
  return cipc_mutex_init(&lock->mutex, NULL);
}

// MARK: The writer's side of the door

// As the new owner of the mutex, with what taking it said. 0, or why it was not taken.
static int settle(cipc_rwlock_t *lock, int status) {
  if (status != CIPC_OWNER_DIED) return status;
  // One that died pending has changed nothing. Commit point of telling of one that died inside; the
  // door stays closed, for a reader that looks must find whoever is killed from here on.
  uint32_t state = load(&lock->state);
  for (int i = 0; i < CIPC_TRIES && state & ACTIVE; i++) {
    if (swap(&lock->state, &state, (state & ~(uint32_t)ACTIVE) | DIRTY)) break;
  }
  return cipc_mutex_recover(&lock->mutex);
}

// Lets in who waits to read, before the next writer: by the owner of the mutex, door open.
static void admit(cipc_rwlock_t *lock, uint32_t lines) {
  cipc_participant_t *places = cipc_rwlock_places(lock);
  for (uint32_t i = 0; i < lines * CIPC_RWLOCK_LINE_READERS; i++) {
    cipc_participant_t found = load_place(&places[i]);
    // In vain where the reader has gone, or has seen for itself that the door is open.
    if (found & CIPC_RWLOCK_WAITING)
      (void)swap_place(&places[i], found, found & ~CIPC_RWLOCK_WAITING);
  }
  wake_all(&lock->state);
}

// Opens the door: by the owner of the mutex, whether it wrote or gives up.
static void open_door(cipc_rwlock_t *lock, uint32_t lines) {
  // Commit point of `write_unlock`: killed from here on, a writer has died outside.
  uint32_t state = __atomic_fetch_and(&lock->state, DIRTY | FULL, __ATOMIC_SEQ_CST);
  if (state & WAITERS) admit(lock, lines);
  // Whoever kept the door closed meanwhile must close it again.
  if (__atomic_load_n(&lock->pending, __ATOMIC_RELAXED) != CIPC_PARTICIPANT_NOBODY) {
    __atomic_store_n(&lock->pending, CIPC_PARTICIPANT_NOBODY, __ATOMIC_SEQ_CST);
    announce_exit(lock);
  }
}

static int release_mutex(cipc_rwlock_t *lock) {
  int status = cipc_mutex_release(&lock->mutex);
  // An exchange and not a load: either it finds the mark of who has tried in vain, or who marks
  // later finds the mutex free.
  uint32_t turn = __atomic_fetch_add(&lock->turn, 0, __ATOMIC_SEQ_CST);
  bool is_marked = turn & 1;
  for (int i = 0; i < CIPC_TRIES && turn & 1; i++) {
    if (swap(&lock->turn, &turn, turn + 1)) break;
  }
  // Also where another has taken the mark away, and in between they came back.
  if (is_marked) wake_all(&lock->turn);
  return status;
}

// Whether a place is that of a dead, and then frees it.
static bool take_back(cipc_rwlock_t *lock, cipc_participant_t *place, cipc_participant_t found) {
  if (cipc_participant_check(found & ~CIPC_RWLOCK_WAITING) != CIPC_PARTICIPANT_DEAD) return false;
  // In vain where somebody else was faster. Of those who wait in steps only one is told to look.
  if (swap_place(place, found, CIPC_PARTICIPANT_NOBODY)) cipc_rwlock_left(lock);
  return true;
}

// Whether nobody is in a line, as is so for most: quicker than to look at each place.
static bool is_empty(const cipc_participant_t *line) {
  cipc_participant_t found = 0;
  for (int i = 0; i < CIPC_RWLOCK_LINE_READERS; i++) found |= load_place(&line[i]);
  return found == 0;
}

enum look { LOOK_AT_NONE, LOOK_AT_ALL, LOOK_UNTIL_ALIVE };

// Whether all readers have left. 0; CIPC_EAGAIN; CIPC_EDEADLK: this thread is one of them.
static int drain(cipc_rwlock_t *lock, uint32_t lines, enum look look) {
  cipc_participant_t *places = cipc_rwlock_places(lock);
  cipc_participant_t thread = cipc_participant_this_thread();
  int status = 0;
  for (uint32_t line = 0; line < lines; line++, places += CIPC_RWLOCK_LINE_READERS) {
    if (is_empty(places)) continue;
    for (int i = 0; i < CIPC_RWLOCK_LINE_READERS; i++) {
      cipc_participant_t found = load_place(&places[i]);
      if (found == CIPC_PARTICIPANT_NOBODY || found & CIPC_RWLOCK_WAITING) continue;
      if (found == thread) return CIPC_EDEADLK;
      if (look != LOOK_AT_NONE && take_back(lock, &places[i], found)) continue;
      status = CIPC_EAGAIN;
      if (look == LOOK_UNTIL_ALIVE) look = LOOK_AT_NONE;
    }
  }
  return status;
}

static void close_door(cipc_rwlock_t *lock) {
  (void)__atomic_fetch_or(&lock->state, CLOSED, __ATOMIC_SEQ_CST);
}

// By the owner of the mutex, door closed and nobody inside.
static int go_inside(cipc_rwlock_t *lock) {
  bool is_dirty = load(&lock->state) & DIRTY;
  // Before the commit, so that the next can name us; the name of a dead stays until recovery.
  if (!is_dirty) __atomic_store_n(&lock->writer, cipc_participant_current(), __ATOMIC_RELAXED);
  // Commit point of `write_lock`.
  uint32_t state = __atomic_fetch_or(&lock->state, ACTIVE, __ATOMIC_SEQ_CST);
  return told(state);
}

static int give_up(cipc_rwlock_t *lock, uint32_t lines, int status) {
  open_door(lock, lines);
  int released = release_mutex(lock);
  return released < 0 ? released : status;
}

// How long another may have looked in vain for the dead that are in our way, before we do so at
// once.
#define PATIENCE (CIPC_SLICE_NANOSECONDS / 4)

// Takes the mutex for a writer. `look`: whether to look for dead readers at once. A dead writer may
// have waited for them, and its slice died with it; so may others that gave up or came before us.
static int take_mutex(cipc_rwlock_t *lock, cipc_deadline_t deadline, bool *look) {
  int status = cipc_mutex_trylock(&lock->mutex);
  *look = false;
  if (status == CIPC_EBUSY) {
    if (deadline <= CIPC_IMMEDIATELY) return CIPC_ETIMEDOUT;
    cipc_deadline_t begin = cipc_clock_now();
    status = cipc_mutex_lock(&lock->mutex, deadline);
    *look = cipc_clock_now() - begin > PATIENCE;
  }
  if (status == CIPC_OWNER_DIED) *look = true;
  return settle(lock, status);
}

int cipc_rwlock_write_lock(cipc_rwlock_t *lock, uint32_t lines, cipc_deadline_t deadline) {
  bool must_look;
  int status = take_mutex(lock, deadline, &must_look);
  if (status < 0) return status;
  if (deadline <= CIPC_IMMEDIATELY) {
    // So that one who only polls does not send readers to sleep, nor waits for the dead for ever.
    status = drain(lock, lines, LOOK_UNTIL_ALIVE);
    if (status < 0) {
      int released = release_mutex(lock);
      return released < 0 ? released : status == CIPC_EAGAIN ? CIPC_ETIMEDOUT : status;
    }
  }
  close_door(lock);
  enum look look = must_look ? LOOK_AT_ALL : LOOK_AT_NONE;
  for (;;) {
    // Read before the places: a reader that leaves behind our look changes it.
    cipc_wait_t wait = {.word = &lock->exits, .expected = load(&lock->exits)};
    status = drain(lock, lines, look);
    if (status == 0) return go_inside(lock);
    if (status == CIPC_EAGAIN) status = cipc_wait_sleep(&wait, deadline);
    if (status < 0) return give_up(lock, lines, status);
    look = status == CIPC_WAIT_LOOK ? LOOK_AT_ALL : LOOK_AT_NONE;
  }
}

int cipc_rwlock_write_unlock(cipc_rwlock_t *lock, uint32_t lines) {
  if (!cipc_mutex_is_owned(&lock->mutex)) return CIPC_EPERM;
  return give_up(lock, lines, 0);
}

int cipc_rwlock_recover(cipc_rwlock_t *lock) {
  if (!cipc_mutex_is_owned(&lock->mutex)) return CIPC_EPERM;
  // It was the dead writer's name: from the commit on the next is told of us.
  __atomic_store_n(&lock->writer, cipc_participant_current(), __ATOMIC_RELAXED);
  // Commit point.
  (void)__atomic_fetch_and(&lock->state, ~(uint32_t)DIRTY, __ATOMIC_SEQ_CST);
  return 0;
}

int cipc_rwlock_write_step(cipc_rwlock_t *lock, uint32_t lines, cipc_participant_t owner, int look,
                           cipc_wait_t *wait) {
  if (owner == CIPC_PARTICIPANT_NOBODY) return CIPC_ESRCH;
  int status = cipc_mutex_trylock(&lock->mutex);
  if (status == CIPC_EBUSY) {
    uint32_t turn = __atomic_fetch_or(&lock->turn, 1, __ATOMIC_SEQ_CST);
    *wait = (cipc_wait_t){.word = &lock->turn, .expected = turn | 1};
    // Once more behind the mark, so that no release is missed.
    status = cipc_mutex_trylock(&lock->mutex);
    if (status == CIPC_EBUSY) return CIPC_EAGAIN;
  }
  // As in `take_mutex`.
  if (status == CIPC_OWNER_DIED) look = 1;
  status = settle(lock, status);
  if (status < 0) return status;
  close_door(lock);
  *wait = (cipc_wait_t){.word = &lock->exits, .expected = load(&lock->exits)};
  status = drain(lock, lines, look ? LOOK_AT_ALL : LOOK_AT_NONE);
  if (status == 0) return go_inside(lock);
  if (status != CIPC_EAGAIN) return give_up(lock, lines, status);
  // The mutex is this thread's, and the next step may be another's: only the door stays closed.
  __atomic_store_n(&lock->pending, owner, __ATOMIC_SEQ_CST);
  int released = release_mutex(lock);
  return released < 0 ? released : CIPC_EAGAIN;
}

int cipc_rwlock_write_abandon(cipc_rwlock_t *lock, uint32_t lines, cipc_participant_t owner) {
  // Should the mutex be busy: a writer that owns it opens the door on its way out, and a reader
  // that looks finds that nobody keeps it closed.
  if (!swap_place(&lock->pending, owner, CIPC_PARTICIPANT_NOBODY)) return 0;
  int status = settle(lock, cipc_mutex_trylock(&lock->mutex));
  if (status == 0) status = give_up(lock, lines, 0);
  // Another that waits in our name closes it again.
  announce_exit(lock);
  return status == CIPC_EBUSY ? 0 : status;
}

// MARK: The readers' side

// Whether the writer behind a closed door is alive, and opens the door if it is not. Only a door
// that nobody owns is looked at more closely.
static int inspect(cipc_rwlock_t *lock, uint32_t lines, bool look) {
  int status = cipc_mutex_trylock(&lock->mutex);
  if (status == CIPC_EBUSY) return 0;
  bool died = status == CIPC_OWNER_DIED;
  status = settle(lock, status);
  if (status < 0) return status;
  cipc_participant_t pending = __atomic_load_n(&lock->pending, __ATOMIC_SEQ_CST);
  if (died || pending == CIPC_PARTICIPANT_NOBODY ||
      (look && cipc_participant_check(pending) == CIPC_PARTICIPANT_DEAD)) {
    open_door(lock, lines);
  }
  return release_mutex(lock);
}

void cipc_rwlock_left(cipc_rwlock_t *lock) {
  uint32_t state = load(&lock->state);
  if (state & FULL) (void)__atomic_fetch_and(&lock->state, ~(uint32_t)FULL, __ATOMIC_SEQ_CST);
  if (state & FULL || (state & (CLOSED | ACTIVE)) == CLOSED) announce_exit(lock);
}

static void take_back_all(cipc_rwlock_t *lock, uint32_t lines) {
  cipc_participant_t *places = cipc_rwlock_places(lock);
  for (uint32_t i = 0; i < lines * CIPC_RWLOCK_LINE_READERS; i++) {
    cipc_participant_t found = load_place(&places[i]);
    if (found != CIPC_PARTICIPANT_NOBODY) (void)take_back(lock, &places[i], found);
  }
}

__thread uint32_t cipc_rwlock_shift;

// The number of a free place, which has become the reader's; CIPC_RWLOCK_NOWHERE when there is
// none.
static uint32_t find_place(cipc_rwlock_t *lock, uint32_t lines, cipc_participant_t reader) {
  cipc_participant_t *places = cipc_rwlock_places(lock);
  cipc_participant_t thread = cipc_participant_this_thread();
  cipc_participant_t in_the_way = CIPC_PARTICIPANT_NOBODY;
  for (uint32_t k = 0; k < lines * CIPC_RWLOCK_LINE_READERS; k++) {
    uint32_t place = cipc_rwlock_place(thread, lines, k);
    cipc_participant_t found = load_place(&places[place]);
    if (found == CIPC_PARTICIPANT_NOBODY && swap_place(&places[place], found, reader)) {
      // From now on in the line where there is nobody else.
      if (k < lines && in_the_way != reader) cipc_rwlock_shift += k;
      return place;
    }
    if (k == 0) in_the_way = found;
  }
  return CIPC_RWLOCK_NOWHERE;
}

static int claim(cipc_rwlock_t *lock, uint32_t lines, cipc_participant_t reader, int look,
                 uint32_t *place, cipc_wait_t *wait) {
  *place = find_place(lock, lines, reader);
  if (*place != CIPC_RWLOCK_NOWHERE) return 0;
  if (look) take_back_all(lock, lines);
  *wait = (cipc_wait_t){.word = &lock->exits, .expected = load(&lock->exits)};
  (void)__atomic_fetch_or(&lock->state, FULL, __ATOMIC_SEQ_CST);
  // Once more behind the mark: a reader that leaves later sees it.
  *place = find_place(lock, lines, reader);
  return *place == CIPC_RWLOCK_NOWHERE ? CIPC_EAGAIN : 0;
}

// Whether a thread has another share: a writer that waits for that one would wait for ever if it
// kept the thread out.
static bool reads_already(const cipc_rwlock_t *lock, uint32_t lines, cipc_participant_t reader,
                          uint32_t place) {
  if (!(reader & CIPC_PARTICIPANT_THREAD)) return false;
  const cipc_participant_t *places = cipc_rwlock_places(lock);
  for (uint32_t i = 0; i < lines * CIPC_RWLOCK_LINE_READERS; i++) {
    if (i != place && load_place(&places[i]) == reader) return true;
  }
  return false;
}

// What a reader's place says of it.
typedef enum standing { STANDS_INSIDE, STANDS_WAITING, STANDS_NOWHERE } standing_t;

static standing_t standing(const cipc_participant_t *place, cipc_participant_t reader) {
  cipc_participant_t found = load_place(place);
  if (found == reader) return STANDS_INSIDE;
  return found == (reader | CIPC_RWLOCK_WAITING) ? STANDS_WAITING : STANDS_NOWHERE;
}

// The step of a reader that has a place, by its own doing or, `waits`, as one that waits there.
static int pass_door(cipc_rwlock_t *lock, uint32_t lines, cipc_participant_t reader, bool waits,
                     int look, uint32_t *number, cipc_wait_t *wait) {
  bool inspected = waits && !look;
  // Others open and close the door; a process that scribbles may do so all the time.
  for (int i = 0; i < CIPC_TRIES; i++) {
    cipc_participant_t *place = &cipc_rwlock_places(lock)[*number];
    uint32_t state = load(&lock->state);
    if (!waits) {
      if (!(state & CLOSED) || reads_already(lock, lines, reader, *number)) return told(state);
      bool writes = cipc_mutex_is_owned(&lock->mutex);
      // Out again, before the writer takes us for a reader for good.
      (void)__atomic_exchange_n(
          place, writes ? CIPC_PARTICIPANT_NOBODY : reader | CIPC_RWLOCK_WAITING, __ATOMIC_SEQ_CST);
      cipc_rwlock_left(lock);
      if (writes) {
        *number = CIPC_RWLOCK_NOWHERE;
        return CIPC_EDEADLK;
      }
      waits = true;
      continue;
    }
    switch (standing(place, reader)) {
      // A writer has let us in. The share counts although another may have closed the door since.
      case STANDS_INSIDE:
        return told(load(&lock->state));
      case STANDS_NOWHERE: {
        // Scribbled over: nobody takes the place of the living.
        int status = claim(lock, lines, reader, look, number, wait);
        if (status < 0) return status;
        waits = false;
        continue;
      }
      case STANDS_WAITING:
        break;
    }
    if (!(state & CLOSED)) {
      waits = !swap_place(place, reader | CIPC_RWLOCK_WAITING, reader);
      continue;
    }
    if (!inspected) {
      inspected = true;
      int status = inspect(lock, lines, look != 0);
      // The writer may have begun to wait for a dead reader later than we have for the writer.
      if (look && (state & ACTIVE) == 0) (void)drain(lock, lines, LOOK_AT_ALL);
      if (status == 0) continue;
      // The mutex cannot be used: no writer will ever open the door.
      int admitted = cipc_rwlock_read_abandon(lock, lines, reader, number);
      return admitted ? told(load(&lock->state)) : status;
    }
    if (!(state & WAITERS) && !swap(&lock->state, &state, state | WAITERS)) continue;
    *wait = (cipc_wait_t){.word = &lock->state, .expected = state | WAITERS};
    return CIPC_EAGAIN;
  }
  // Waiting or, in the last moment, not: out of the way of writers, and again later.
  if (!waits) {
    (void)swap_place(&cipc_rwlock_places(lock)[*number], reader, CIPC_PARTICIPANT_NOBODY);
    cipc_rwlock_left(lock);
  }
  if (!waits || cipc_rwlock_read_abandon(lock, lines, reader, number) == 0) {
    *number = CIPC_RWLOCK_NOWHERE;
    *wait = (cipc_wait_t){.word = &lock->state, .expected = load(&lock->state)};
    return CIPC_EAGAIN;
  }
  return told(load(&lock->state));
}

int cipc_rwlock_read_step(cipc_rwlock_t *lock, uint32_t lines, cipc_participant_t reader, int look,
                          uint32_t *place, cipc_wait_t *wait) {
  if (reader == CIPC_PARTICIPANT_NOBODY) return CIPC_ESRCH;
  bool waits = *place != CIPC_RWLOCK_NOWHERE;
  if (!waits) {
    int status = claim(lock, lines, reader, look, place, wait);
    if (status < 0) return status;
  }
  return pass_door(lock, lines, reader, waits, look, place, wait);
}

int cipc_rwlock_read_abandon(cipc_rwlock_t *lock, uint32_t lines, cipc_participant_t reader,
                             uint32_t *place) {
  if (*place >= lines * CIPC_RWLOCK_LINE_READERS) return 0;
  cipc_participant_t *own = &cipc_rwlock_places(lock)[*place];
  // Not ours any more where somebody has scribbled there: then we do not read either.
  if (!swap_place(own, reader | CIPC_RWLOCK_WAITING, CIPC_PARTICIPANT_NOBODY) &&
      standing(own, reader) == STANDS_INSIDE) {
    return 1;
  }
  *place = CIPC_RWLOCK_NOWHERE;
  // Another may wait for the place.
  if (load(&lock->state) & FULL) cipc_rwlock_left(lock);
  return 0;
}

int cipc_rwlock_read_leave(cipc_rwlock_t *lock, uint32_t lines, cipc_participant_t reader,
                           uint32_t place) {
  if (reader == CIPC_PARTICIPANT_NOBODY || place >= lines * CIPC_RWLOCK_LINE_READERS) {
    return CIPC_EPERM;
  }
  // Commit point.
  if (!swap_place(&cipc_rwlock_places(lock)[place], reader, CIPC_PARTICIPANT_NOBODY)) {
    return CIPC_EPERM;
  }
  if (load(&lock->state) != 0) cipc_rwlock_left(lock);
  return 0;
}

int cipc_rwlock_read_slowly(cipc_rwlock_t *lock, uint32_t lines, int claimed,
                            cipc_deadline_t deadline) {
  cipc_participant_t thread = cipc_participant_this_thread();
  cipc_wait_t wait;
  uint32_t place = CIPC_RWLOCK_NOWHERE;
  // One who only polls is not to pass over the dead for ever.
  bool polls = deadline <= CIPC_IMMEDIATELY;
  int status;
  if (claimed) {
    place = cipc_rwlock_place(thread, lines, 0);
    status = pass_door(lock, lines, thread, false, polls, &place, &wait);
  } else {
    status = cipc_rwlock_read_step(lock, lines, thread, polls, &place, &wait);
  }
  while (status == CIPC_EAGAIN) {
    status = polls ? CIPC_ETIMEDOUT : cipc_wait_sleep(&wait, deadline);
    if (status < 0) {
      // Let in at the last moment, it reads.
      if (cipc_rwlock_read_abandon(lock, lines, thread, &place) == 0) return status;
      return told(load(&lock->state));
    }
    status = cipc_rwlock_read_step(lock, lines, thread, status == CIPC_WAIT_LOOK, &place, &wait);
  }
  return status;
}

int cipc_rwlock_read_unlock_slowly(cipc_rwlock_t *lock, uint32_t lines) {
  cipc_participant_t thread = cipc_participant_this_thread();
  for (uint32_t k = 0; k < lines * CIPC_RWLOCK_LINE_READERS; k++) {
    uint32_t place = cipc_rwlock_place(thread, lines, k);
    if (cipc_rwlock_read_leave(lock, lines, thread, place) == 0) return 0;
  }
  return CIPC_EPERM;
}

// MARK: Looking on

pid_t cipc_rwlock_casualty(const cipc_rwlock_t *lock) {
  if (!(load(&lock->state) & DIRTY)) return 0;
  return cipc_participant_pid(__atomic_load_n(&lock->writer, __ATOMIC_RELAXED));
}

cipc_participant_t cipc_rwlock_writer(const cipc_rwlock_t *lock) {
  return load(&lock->state) & ACTIVE ? cipc_mutex_holder(&lock->mutex) : CIPC_PARTICIPANT_NOBODY;
}

uint32_t cipc_rwlock_readers(const cipc_rwlock_t *lock, uint32_t lines) {
  const cipc_participant_t *places = cipc_rwlock_places(lock);
  uint32_t count = 0;
  for (uint32_t i = 0; i < lines * CIPC_RWLOCK_LINE_READERS; i++) {
    cipc_participant_t found = load_place(&places[i]);
    if (found != CIPC_PARTICIPANT_NOBODY && !(found & CIPC_RWLOCK_WAITING)) count++;
  }
  return count;
}

// MARK: By name

cipc_segment_type_t cipc_rwlock_type(uint64_t lines) {
  const cipc_element_t element = {.size = 64, .stride = 64, .alignment = 64, .fingerprint = 1};
  return cipc_object_type(CIPC_KIND_RWLOCK, 1, &element, lines);
}

static int prepare_named(void *payload, void *context) {
  return cipc_rwlock_init(payload, *(const uint32_t *)context);
}

static int check_named(const cipc_segment_t *segment, const cipc_object_t *object) {
  (void)object;
  uint64_t lines = cipc_segment_count(segment);
  size_t footprint = lines <= UINT32_MAX ? cipc_rwlock_footprint((uint32_t)lines) : SIZE_MAX;
  return cipc_object_fits(segment, footprint);
}

int cipc_rwlock_open_named(cipc_segment_t **segment, const char *name, uint64_t lines) {
  return cipc_object_open(segment, name,
                          &(cipc_object_t){.type = cipc_rwlock_type(lines), .check = check_named});
}

int cipc_rwlock_open_or_create(cipc_segment_t **segment, const char *name, uint32_t lines) {
  if (cipc_rwlock_footprint(lines) == SIZE_MAX) return CIPC_EINVAL;
  return cipc_object_make(segment, name,
                          &(cipc_object_t){.type = cipc_rwlock_type(lines),
                                           .size = cipc_rwlock_footprint(lines),
                                           .prepare = prepare_named,
                                           .context = &lines,
                                           .check = check_named});
}
