/* SPDX-License-Identifier: Apache-2.0 */
// A ring whose producers wake no consumer: a sleeper finds out when its slice ends.
// Caught: producer.put-waking contended: a sleeper was not woken
#include "wait/eventcount.h"

#define cipc_eventcount_wake(word, count) ((void)(word), (void)(count))
#include "ring/put.c"
