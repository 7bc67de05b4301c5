/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_TRIES_PRIVATE_H
#define CIPC_TRIES_PRIVATE_H

// How often a change of a shared word is tried that another process may be changing all the time.
// Each try in vain is a change of somebody else's, so that many in a row come of scribbling alone.
// After them the caller does without: it sleeps, says that it is busy, or stores what it means.
#define CIPC_TRIES 1000

#endif
