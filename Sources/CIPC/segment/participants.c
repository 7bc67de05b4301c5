/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/participants.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fork_hooks.h"
#include "base/futex.h"
#include "base/identity.h"
#include "base/tries.h"

// How many participants a slice's look asks the kernel about.
#define LOOKS 8u

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static cipc_participants_t *first;
static uint64_t generation;
// Whether the tables were inherited in a fork and this process is not in them.
static bool is_inherited;

// MARK: One table

uint32_t cipc_participants_high(const cipc_participants_t *table) {
  // Read once: it is the others' to write.
  uint32_t high = __atomic_load_n(&table->head->high, __ATOMIC_ACQUIRE);
  return high < CIPC_PARTICIPANTS_ENTRIES ? high : CIPC_PARTICIPANTS_ENTRIES;
}

uint64_t cipc_participants_entry(const cipc_participants_t *table, uint32_t index) {
  if (index >= cipc_participants_high(table)) return CIPC_PARTICIPANT_NOBODY;
  return __atomic_load_n(&table->entries[index], __ATOMIC_ACQUIRE);
}

static bool replace(const cipc_participants_t *table, uint32_t index, uint64_t from, uint64_t to) {
  return __atomic_compare_exchange_n(&table->entries[index], &from, to, false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_RELAXED);
}

// Gives an entry memory, unless it has it: a write where there is none to be had would be SIGBUS.
static bool back(const cipc_participants_t *table, uint32_t index) {
  size_t offset = (size_t)((const unsigned char *)&table->entries[index] - table->mapping);
  if (offset + sizeof table->entries[index] <= table->reserved) return true;
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  size_t start = offset / page * page;
  // Up to the end of the file and not beyond: that may be sealed against growing.
  size_t length = table->length - start < page ? table->length - start : page;
  return fallocate(table->descriptor, FALLOC_FL_KEEP_SIZE, (off_t)start, (off_t)length) == 0;
}

static uint32_t enter_unused(const cipc_participants_t *table, uint64_t word) {
  uint32_t high = cipc_participants_high(table);
  for (uint32_t i = 0; i < high; i++) {
    // Commit point of joining.
    if (cipc_participants_entry(table, i) == CIPC_PARTICIPANT_NOBODY &&
        replace(table, i, CIPC_PARTICIPANT_NOBODY, word)) {
      return i;
    }
  }
  for (; high < CIPC_PARTICIPANTS_ENTRIES && back(table, high); high++) {
    // Before the entry is taken: one beyond the mark would never be looked at.
    uint32_t found = __atomic_load_n(&table->head->high, __ATOMIC_RELAXED);
    for (int i = 0; i < CIPC_TRIES && found <= high; i++) {
      if (__atomic_compare_exchange_n(&table->head->high, &found, high + 1, false, __ATOMIC_SEQ_CST,
                                      __ATOMIC_RELAXED)) {
        break;
      }
    }
    // Commit point of joining.
    if (replace(table, high, CIPC_PARTICIPANT_NOBODY, word)) return high;
  }
  return CIPC_PARTICIPANTS_NO_SLOT;
}

static uint32_t enter(cipc_participants_t *table, uint64_t word) {
  uint32_t slot = enter_unused(table, word);
  if (slot == CIPC_PARTICIPANTS_NO_SLOT && cipc_participants_bury_dead(table))
    slot = enter_unused(table, word);
  return slot;
}

static void raise_epoch(cipc_participants_t *table) {
  (void)__atomic_fetch_add(&table->head->epoch, 1, __ATOMIC_SEQ_CST);
  (void)cipc_futex_wake(&table->head->epoch, INT32_MAX);
}

// Takes an entry out if it is of somebody dead. Somebody else may do so at the same time, or be
// killed at it: the wake-up comes first, and the entry stands until it has been given.
static bool bury_if_dead(cipc_participants_t *table, uint32_t index, uint64_t word) {
  int status = cipc_participant_check(word & ~CIPC_PARTICIPANTS_PENDING);
  // CIPC_EINVAL: scribbled over, so nobody.
  if (status != CIPC_PARTICIPANT_DEAD && status != CIPC_EINVAL) return false;
  raise_epoch(table);
  // Commit point of taking out the dead. Identities do not recur, so this frees nobody else's.
  (void)replace(table, index, word, CIPC_PARTICIPANT_NOBODY);
  return true;
}

bool cipc_participants_bury_dead(cipc_participants_t *table) {
  bool any = false;
  for (uint32_t i = 0; i < cipc_participants_high(table); i++) {
    uint64_t word = cipc_participants_entry(table, i);
    if (word != CIPC_PARTICIPANT_NOBODY && bury_if_dead(table, i, word)) any = true;
  }
  return any;
}

uint32_t cipc_participants_offer(cipc_participants_t *table) {
  cipc_participant_t self = cipc_participant_current();
  return self == CIPC_PARTICIPANT_NOBODY ? CIPC_PARTICIPANTS_NO_SLOT
                                         : enter(table, self | CIPC_PARTICIPANTS_PENDING);
}

void cipc_participants_settle(cipc_participants_t *table, uint32_t slot) {
  uint64_t word = cipc_participants_entry(table, slot);
  if ((word & CIPC_PARTICIPANTS_PENDING) != 0) {
    // Commit point of settling.
    (void)replace(table, slot, word, CIPC_PARTICIPANT_NOBODY);
  }
}

void cipc_participants_hand_on(cipc_participants_t *table, uint32_t slot, cipc_participant_t to) {
  cipc_participant_t self = cipc_participant_current();
  if (self == CIPC_PARTICIPANT_NOBODY || to == CIPC_PARTICIPANT_NOBODY) return;
  if (slot >= cipc_participants_high(table)) return;
  // Commit point of handing on. Not if it is settled by now, or somebody else's.
  (void)replace(table, slot, self | CIPC_PARTICIPANTS_PENDING, to | CIPC_PARTICIPANTS_PENDING);
}

// MARK: Offers that end with a descriptor

static void free_offer(cipc_participants_offer_t *offer) {
  (void)close(offer->descriptor);
  free(offer);
}

int cipc_participants_watch_offer(cipc_participants_t *table, uint32_t slot, int descriptor) {
  cipc_participants_offer_t *offer = malloc(sizeof *offer);
  if (offer == NULL) return CIPC_ENOMEM;
  *offer = (cipc_participants_offer_t){.slot = slot, .descriptor = descriptor};
  (void)pthread_mutex_lock(&guard);
  // One that had the entry before it was settled, and that nobody has looked at since.
  for (cipc_participants_offer_t **link = &table->offers; *link != NULL; link = &(*link)->next) {
    if ((*link)->slot != slot) continue;
    cipc_participants_offer_t *old = *link;
    *link = old->next;
    free_offer(old);
    break;
  }
  offer->next = table->offers;
  table->offers = offer;
  (void)pthread_mutex_unlock(&guard);
  return 0;
}

void cipc_participants_settle_lost(cipc_participants_t *table) {
  cipc_participant_t self = cipc_participant_current();
  (void)pthread_mutex_lock(&guard);
  cipc_participants_offer_t **link = &table->offers;
  while (*link != NULL) {
    cipc_participants_offer_t *offer = *link;
    struct pollfd end = {.fd = offer->descriptor};
    if (poll(&end, 1, 0) != 1) {
      link = &offer->next;
      continue;
    }
    // Commit point of settling what was lost. Not if somebody came and settled it himself.
    if (self != CIPC_PARTICIPANT_NOBODY && offer->slot < cipc_participants_high(table)) {
      (void)replace(table, offer->slot, self | CIPC_PARTICIPANTS_PENDING, CIPC_PARTICIPANT_NOBODY);
    }
    *link = offer->next;
    free_offer(offer);
  }
  (void)pthread_mutex_unlock(&guard);
}

// MARK: All that are registered

static void fork_prepare(void) { (void)pthread_mutex_lock(&guard); }
static void fork_parent(void) { (void)pthread_mutex_unlock(&guard); }
static void fork_child(void) {
  is_inherited = first != NULL;
  (void)pthread_mutex_unlock(&guard);
}
CIPC_FORK_ROOM(CIPC_FORK_RANK_PARTICIPANTS, fork_prepare, fork_parent, fork_child)

// With the guard.
static void changed(void) { (void)__atomic_fetch_add(&generation, 1, __ATOMIC_RELEASE); }

uint64_t cipc_participants_generation(void) {
  return __atomic_load_n(&generation, __ATOMIC_ACQUIRE);
}

// Enters this process in the tables that it has inherited in a fork, if it has not done so.
static void rejoin(cipc_participant_t self) {
  (void)pthread_mutex_lock(&guard);
  if (is_inherited && self != CIPC_PARTICIPANT_NOBODY) {
    is_inherited = false;
    for (cipc_participants_t *table = first; table != NULL; table = table->next) {
      table->slot = enter(table, self);
    }
  }
  (void)pthread_mutex_unlock(&guard);
}

void cipc_participants_join(cipc_participants_t *table) {
  cipc_participant_on_identity(rejoin);
  // Without the guard, which it may take: a forked child first enters what it inherited.
  cipc_participant_t self = cipc_participant_current();
  (void)pthread_mutex_lock(&guard);
  table->cursor = 0;
  table->offers = NULL;
  table->slot = self == CIPC_PARTICIPANT_NOBODY ? CIPC_PARTICIPANTS_NO_SLOT : enter(table, self);
  table->previous = NULL;
  table->next = first;
  if (first != NULL) first->previous = table;
  first = table;
  changed();
  (void)pthread_mutex_unlock(&guard);
}

void cipc_participants_leave(cipc_participants_t *table) {
  (void)pthread_mutex_lock(&guard);
  *(table->previous != NULL ? &table->previous->next : &first) = table->next;
  if (table->next != NULL) table->next->previous = table->previous;
  while (table->offers != NULL) {
    cipc_participants_offer_t *offer = table->offers;
    table->offers = offer->next;
    free_offer(offer);
  }
  changed();
  bool is_mine = !is_inherited && table->slot != CIPC_PARTICIPANTS_NO_SLOT;
  (void)pthread_mutex_unlock(&guard);
  if (!is_mine) return;
  cipc_participant_t self = cipc_participant_current();
  // Commit point of leaving.
  if (self != CIPC_PARTICIPANT_NOBODY) {
    (void)replace(table, table->slot, self, CIPC_PARTICIPANT_NOBODY);
  }
}

// With the guard.
static cipc_participants_t *find(const uint32_t *word) {
  const unsigned char *address = (const unsigned char *)word;
  for (cipc_participants_t *table = first; table != NULL; table = table->next) {
    // As numbers: pointers into different objects do not compare.
    if ((uintptr_t)address - (uintptr_t)table->mapping < table->length) return table;
  }
  return NULL;
}

const uint32_t *cipc_participants_epoch_of(const uint32_t *word) {
  (void)pthread_mutex_lock(&guard);
  cipc_participants_t *table = find(word);
  const uint32_t *epoch = table != NULL ? &table->head->epoch : NULL;
  (void)pthread_mutex_unlock(&guard);
  return epoch;
}

void cipc_participants_look(const uint32_t *word) {
  (void)pthread_mutex_lock(&guard);
  cipc_participants_t *table = find(word);
  uint32_t high = table != NULL ? cipc_participants_high(table) : 0;
  uint32_t looks = 0;
  for (uint32_t i = 0; i < high && looks < LOOKS; i++) {
    table->cursor = table->cursor + 1 < high ? table->cursor + 1 : 0;
    uint64_t entry = cipc_participants_entry(table, table->cursor);
    if (entry == CIPC_PARTICIPANT_NOBODY) continue;
    looks++;
    (void)bury_if_dead(table, table->cursor, entry);
  }
  (void)pthread_mutex_unlock(&guard);
}

// With the guard.
static void bury_process(cipc_participants_t *table, pid_t pid) {
  uint32_t high = cipc_participants_high(table);
  bool has_room = high < CIPC_PARTICIPANTS_ENTRIES;
  for (uint32_t i = 0; i < high; i++) {
    uint64_t word = cipc_participants_entry(table, i);
    if (word == CIPC_PARTICIPANT_NOBODY) {
      has_room = true;
    } else if (cipc_participant_pid(word) == pid) {
      (void)bury_if_dead(table, i, word);
    }
  }
  // It may have been there without an entry.
  if (!has_room) raise_epoch(table);
}

void cipc_participants_process_ended(pid_t pid) {
  (void)pthread_mutex_lock(&guard);
  for (cipc_participants_t *table = first; table != NULL; table = table->next)
    bury_process(table, pid);
  (void)pthread_mutex_unlock(&guard);
}
