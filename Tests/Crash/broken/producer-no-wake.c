/* SPDX-License-Identifier: Apache-2.0 */
// A ring whose producers wake nobody: who sleeps finds out when its slice ends.
// Caught: producer.put-waking contended: who slept was not woken
#include "wait/sleepers.h"

#define cipc_sleepers_wake(word, count) ((void)(word), (void)(count))
#include "ring/producer.c"
