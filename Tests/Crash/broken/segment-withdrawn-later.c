/* SPDX-License-Identifier: Apache-2.0 */
// A name that goes by way of another, which stays when its creator is killed.
// Caught: segment.withdraw owns: cipc-crash-[0-9]+.gone is left in /dev/shm
#define cipc_segment_withdraw withdraw_right
#include "segment/segment.c"
#undef cipc_segment_withdraw

int cipc_segment_withdraw(const cipc_segment_claim_t *claim) {
  char path[sizeof DIRECTORY + sizeof claim->name], gone[sizeof path + 8];
  (void)snprintf(path, sizeof path, DIRECTORY "%s", claim->name);
  (void)snprintf(gone, sizeof gone, "%s.gone", path);
  if (rename(path, gone) < 0) return -errno;
  return unlink(gone) < 0 ? -errno : 0;
}
