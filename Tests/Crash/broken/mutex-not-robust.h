/* SPDX-License-Identifier: Apache-2.0 */
// A mutex that is lost with its owner.
// Caught: mutex.lock owns: survivor [01]: lock: the deadline passed
#include <pthread.h>

#define pthread_mutexattr_setrobust(attributes, robustness) (0)
