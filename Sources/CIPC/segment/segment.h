/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_SEGMENT_PRIVATE_H
#define CIPC_SEGMENT_PRIVATE_H

#include "cipc/segment.h"

// Takes this process out of a typed segment's participants, ahead of `cipc_segment_close`: for who
// has to tell others that it is gone while the segment is still mapped.
void cipc_segment_leave(cipc_segment_t *segment);

// How many times this process has a typed segment open, as its participants tell.
int cipc_segment_holds(const cipc_segment_t *segment);

// Ends the offers of a typed segment whose descriptors are at their end: those are closed.
void cipc_segment_settle_lost(cipc_segment_t *segment);

// Gives memory to a part of the payload, or takes it away; the part is of whole pages. 0;
// CIPC_ENOMEM, CIPC_ENOSPC, -errno.
int cipc_segment_back(const cipc_segment_t *segment, size_t offset, size_t length);
int cipc_segment_drop(const cipc_segment_t *segment, size_t offset, size_t length);

// Maps a part of the payload, of whole pages, twice in a row, so that what runs over its end goes
// on at its beginning. The caller unmaps twice the length. 0; CIPC_ENOMEM, -errno.
int cipc_segment_map_twice(const cipc_segment_t *segment, size_t offset, size_t length,
                           unsigned char **address);

#endif
