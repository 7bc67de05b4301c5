/* SPDX-License-Identifier: Apache-2.0 */
// The table at the end of a typed segment: which processes have it open, as one word each, and a
// word, the epoch, that is raised whenever one of them is found dead and on which all sleep who
// wait for something in the segment.
//
// Being in a table is never a reason to fail: where there is no room or no memory, or /proc is not
// mounted, a process is not listed, and its death is noticed by the slices of who waits.
//
// The tables of the segments that this process has open are registered, so that a word in shared
// memory is enough to find the epoch that goes with it, and the death of a child is told in all of
// them. A forked child enters all that it inherited when it first asks who it is: one that only
// executes another program never does.
#ifndef CIPC_PARTICIPANTS_H
#define CIPC_PARTICIPANTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cipc/participant.h"

#define CIPC_PARTICIPANTS_ENTRIES 1024u
#define CIPC_PARTICIPANTS_NO_SLOT UINT32_MAX
// In an entry: not here yet. This participant is the one who is to come, or has sent a message to
// him. Entries are of processes, whose identities do not have the bit.
#define CIPC_PARTICIPANTS_PENDING CIPC_PARTICIPANT_THREAD

// In the segment's header. Written by anyone.
typedef struct cipc_participants_head {
  // Raised after a death, before the entry is free.
  uint32_t epoch;
  // Entries at and beyond this one have never been used. Never falls.
  uint32_t high;
} cipc_participants_head_t;

// An offer that ends with a descriptor.
typedef struct cipc_participants_offer {
  uint32_t slot;
  int descriptor;
  struct cipc_participants_offer *next;
} cipc_participants_offer_t;

// A process's hold on the table of one segment. The first members are set by the caller.
typedef struct cipc_table {
  cipc_participants_head_t *head;
  // CIPC_PARTICIPANTS_ENTRIES words, at the end of the segment. An entry is taken by one
  // compare-and-swap from 0 and freed by one to 0.
  uint64_t *entries;
  // The segment: where it is mapped and how many bytes, its file, and how many bytes of that have
  // had memory since it was made.
  const unsigned char *mapping;
  size_t length;
  int descriptor;
  size_t reserved;
  // This process's entry. Under the guard where processes fork.
  uint32_t slot;
  // Where the next look for the dead goes on; under the guard.
  uint32_t cursor;
  // Under the guard.
  cipc_participants_offer_t *offers;
  struct cipc_table *next, *previous;
} cipc_participants_t;

// Registers the table and enters this process.
void cipc_participants_join(cipc_participants_t *table);

// The reverse. Before the segment is unmapped.
void cipc_participants_leave(cipc_participants_t *table);

// Enters somebody who will open the segment later, in this process's name.
uint32_t cipc_participants_offer(cipc_participants_t *table);

// Takes such an entry away: by the one who came, behind its own joining, or by its maker.
void cipc_participants_settle(cipc_participants_t *table, uint32_t slot);

// Makes such an entry of this process's one of the participant who is to come: its death takes it
// away as well.
void cipc_participants_hand_on(cipc_participants_t *table, uint32_t slot, cipc_participant_t to);

// Has such an entry of this process's taken away when the descriptor, which is taken over, is at
// its end: by `cipc_participants_settle_lost`. 0; CIPC_ENOMEM.
int cipc_participants_watch_offer(cipc_participants_t *table, uint32_t slot, int descriptor);
void cipc_participants_settle_lost(cipc_participants_t *table);

// The entry at `index`, and nobody at the high-water mark and beyond.
uint64_t cipc_participants_entry(const cipc_participants_t *table, uint32_t index);

// How many entries may be in use; at most CIPC_PARTICIPANTS_ENTRIES, whatever stands in the
// segment.
uint32_t cipc_participants_high(const cipc_participants_t *table);

// Takes everybody out who is dead; whether there was any.
bool cipc_participants_bury_dead(cipc_participants_t *table);

// MARK: All tables that are registered

// Changes whenever one is registered or taken back.
uint64_t cipc_participants_generation(void);

// The epoch of the segment in which a word lies; NULL for none.
const uint32_t *cipc_participants_epoch_of(const uint32_t *word);

// Looks at some of the participants of the segment in which a word lies: by whoever has waited
// there for a slice.
void cipc_participants_look(const uint32_t *word);

// Takes a process that has ended out of all tables and wakes whoever waits in these segments. Its
// number may stand for another process by now: nobody who is alive is taken out.
void cipc_participants_process_ended(pid_t pid);

#endif
