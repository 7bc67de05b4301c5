/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BOOST_QUEUE_H
#define BOOST_QUEUE_H

#include "pairs.h"

#ifdef __cplusplus
extern "C" {
#endif

/// One process sends records of 64 bytes (records.h) through a Boost.Interprocess `message_queue`
/// of 1024, the other receives them.
floor_pair_t *boost_queue_create(int core);

#ifdef __cplusplus
}
#endif

#endif
