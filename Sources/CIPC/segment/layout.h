/* SPDX-License-Identifier: Apache-2.0 */
// A segment's header, and the assertions that keep it where it is. What changes here changes
// CIPC_LAYOUT_VERSION.
//
// The other shared structures stand in public headers, since users place them; the assertions on
// them stand in the sources that use them.
#ifndef CIPC_LAYOUT_H
#define CIPC_LAYOUT_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "cipc/segment.h"
#include "segment/participants.h"

#define CIPC_LAYOUT_MAGIC UINT64_C(0x0031474553504943)  // "CIPSEG1" in memory, little-endian
#define CIPC_LAYOUT_VERSION 4u
#define CIPC_LAYOUT_READY UINT64_C(0x59444145520a0d1a)

// What a cipc_mutex_t takes, which depends on the libc; cipc/mutex.h is of a later floor.
#define CIPC_LAYOUT_MUTEX_SIZE (sizeof(pthread_mutex_t) + 24)
#define CIPC_LAYOUT_MUTEX_ALIGNMENT \
  (_Alignof(pthread_mutex_t) > _Alignof(uint64_t) ? _Alignof(pthread_mutex_t) : _Alignof(uint64_t))

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
  cipc_participants_head_t table;
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
_Static_assert(sizeof(cipc_participants_head_t) == 8, "table layout");
_Static_assert(offsetof(cipc_layout_header_t, backed) == 96, "no padding in the header");

#endif
