/* SPDX-License-Identifier: Apache-2.0 */
// Objects by name: what the `open_named` and `open_or_create` of each noun consist of.
#ifndef CIPC_OBJECT_H
#define CIPC_OBJECT_H

#include "cipc/element.h"
#include "cipc/segment.h"

typedef struct cipc_object {
  // What it is; with CIPC_SEGMENT_ANY_COUNT where any number will do.
  cipc_segment_type_t type;
  // Bytes of one that is made, and what makes it.
  size_t size;
  cipc_segment_prepare_t prepare;
  void *context;
  // Whether all of it is in a segment whose header was checked with the elements alone in mind:
  // NULL where that is enough. 0 or CIPC_ESEGMENT*.
  int (*check)(const cipc_segment_t *segment, const struct cipc_object *object);
} cipc_object_t;

// Finds the object. As `cipc_segment_open_named`.
int cipc_object_open(cipc_segment_t **segment, const char *name, const cipc_object_t *object);

// Finds it or makes it: CIPC_SEGMENT_CREATED or 0. As `cipc_segment_open_or_create`, whose commit
// point it has.
int cipc_object_make(cipc_segment_t **segment, const char *name, const cipc_object_t *object);

// The type of an object that has so many elements.
cipc_segment_type_t cipc_object_type(uint32_t kind, uint32_t version, const cipc_element_t *element,
                                     uint64_t count);

// 0 if a segment has room for `footprint` bytes; otherwise CIPC_ESEGMENTCOUNT: its header claims
// more than there is.
int cipc_object_fits(const cipc_segment_t *segment, size_t footprint);

#endif
