/* SPDX-License-Identifier: Apache-2.0 */
// The bytes that processes share, and the assertions that keep them where they are. What changes
// here changes CIPC_LAYOUT_VERSION.
//
// The other shared structures stand in the public headers of their rooms, since users place them.
#ifndef CIPC_LAYOUT_H
#define CIPC_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include "cipc/barrier.h"
#include "cipc/bytes.h"
#include "cipc/cell.h"
#include "cipc/condition.h"
#include "cipc/event.h"
#include "cipc/journal.h"
#include "cipc/mutex.h"
#include "cipc/region.h"
#include "cipc/rwlock.h"
#include "cipc/segment.h"
#include "cipc/semaphore.h"
#include "segment/table.h"

#define CIPC_LAYOUT_MAGIC UINT64_C(0x0031474553504943)  // "CIPSEG1" in memory, little-endian
#define CIPC_LAYOUT_VERSION 4u
#define CIPC_LAYOUT_READY UINT64_C(0x59444145520a0d1a)

enum { CIPC_LIBC_GLIBC = 1, CIPC_LIBC_MUSL = 2 };

// A typed segment is this header, the payload, and from the next multiple of 64 on the entries of
// the participant table; 64 bytes in all are lost by that. Of the table, what lies on pages beyond
// the payload's last has no memory until somebody enters there.
//
// The header is written by the creator before anyone else can see the segment, and the table's head
// aside never changed afterwards. A reader copies it whole, then checks the copy.
typedef struct cipc_layout_header {
  uint64_t magic;
  uint32_t layout;
  uint32_t kind;
  uint32_t kind_version;
  uint32_t mutex_size;
  uint32_t mutex_alignment;
  uint32_t libc;
  uint64_t element_size;
  uint64_t stride;
  uint64_t alignment;
  uint64_t count;
  uint64_t fingerprint;
  uint64_t pid_namespace;
  uint64_t payload_size;
  cipc_table_head_t table;
  // Bytes of payload that had memory from the beginning.
  uint64_t backed;
  uint64_t reserved[2];
  // Commit point of creation: stored last, with release.
  uint64_t ready;
} cipc_layout_header_t;

_Static_assert(sizeof(cipc_layout_header_t) == CIPC_SEGMENT_HEADER_SIZE, "header size");
_Static_assert(offsetof(cipc_layout_header_t, element_size) == 32, "no padding in the header");
_Static_assert(offsetof(cipc_layout_header_t, ready) == 120, "ready is the last word");
_Static_assert(offsetof(cipc_layout_header_t, table) == 88, "no padding in the header");
_Static_assert(sizeof(cipc_table_head_t) == 8, "table layout");
_Static_assert(offsetof(cipc_mutex_t, dirty) == sizeof(pthread_mutex_t), "mutex layout");
_Static_assert(sizeof(cipc_mutex_t) == sizeof(pthread_mutex_t) + 24, "mutex layout");
_Static_assert(offsetof(cipc_layout_header_t, backed) == 96, "no padding in the header");
_Static_assert(sizeof(cipc_cell_t) == sizeof(cipc_mutex_t) + 8, "the slots follow the sequence");
_Static_assert(sizeof(cipc_journal_t) == sizeof(cipc_mutex_t) + 32, "journal layout");
_Static_assert(sizeof(cipc_bytes_t) == sizeof(cipc_cell_t), "bytes are a cell");
_Static_assert(sizeof(cipc_region_t) == 128, "objects begin behind the region's head");
_Static_assert(sizeof(cipc_region_entry_t) == 128, "no padding in an entry");
_Static_assert(offsetof(cipc_region_entry_t, offset) == 112, "no padding in an entry");
_Static_assert(sizeof(cipc_rwlock_t) == CIPC_RWLOCK_HEAD, "the lines follow the head");
_Static_assert(offsetof(cipc_rwlock_t, room) <= CIPC_RWLOCK_HEAD, "the head has room for it all");
_Static_assert(sizeof(cipc_semaphore_t) == 64, "the permits follow");
_Static_assert(sizeof(cipc_event_t) == 4, "an event is its word");
_Static_assert(sizeof(cipc_condition_t) == 32, "the slots follow the condition");
_Static_assert(sizeof(cipc_condition_slot_t) == 32, "condition layout");
_Static_assert(32 + 32 * CIPC_CONDITION_WAITERS <= 4096 - CIPC_SEGMENT_HEADER_SIZE, "one page");
_Static_assert(sizeof(cipc_barrier_t) == sizeof(cipc_mutex_t) + 16, "the slots follow the barrier");
_Static_assert(sizeof(cipc_barrier_slot_t) == 16, "barrier layout");

#endif
