/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/version.h"

#include <stdio.h>
#include <string.h>

#include "check.h"

static void the_library_has_the_version_of_its_headers(void) {
  char text[64];
  snprintf(text, sizeof text, "%d.%d.%d", CIPC_VERSION_MAJOR, CIPC_VERSION_MINOR,
           CIPC_VERSION_PATCH);
  CHECK(strcmp(cipc_version(), CIPC_VERSION) == 0);
  CHECK(strcmp(cipc_version(), text) == 0);
}

int main(void) {
  TEST(the_library_has_the_version_of_its_headers);
  return check_finish();
}
