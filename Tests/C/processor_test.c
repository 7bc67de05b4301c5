/* SPDX-License-Identifier: Apache-2.0 */
#include "base/processor.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include "check.h"

static char root[] = "/tmp/processor-test-XXXXXX";

static void file_write(const char *path, const char *text) {
  char full[256];
  (void)snprintf(full, sizeof full, "%s/%s", root, path);
  for (char *slash = full + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
    *slash = '\0';
    (void)mkdir(full, 0700);
    *slash = '/';
  }
  FILE *file = fopen(full, "we");
  CHECK(file != NULL);
  CHECK(fputs(text, file) >= 0);
  CHECK(fclose(file) == 0);
}

static void the_affinity_is_counted(void) {
  cpu_set_t before, one;
  CHECK(sched_getaffinity(0, sizeof before, &before) == 0);
  int count = cipc_processor_count();
  CHECK(count >= 1 && count <= CPU_COUNT(&before));
  CPU_ZERO(&one);
  for (size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++) {
    if (CPU_ISSET(i, &before)) CPU_SET(i, &one);
  }
  CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
  CHECK_EQUAL(cipc_processor_count(), 1);
  CHECK(sched_setaffinity(0, sizeof before, &before) == 0);
}

static void the_lowest_quota_of_a_group_and_those_around_it_counts(void) {
  file_write("cpu.max", "max 100000\n");
  CHECK_EQUAL(cipc_processor_quota("0::/\n", root), 0);
  file_write("a/cpu.max", "250000 100000\n");
  CHECK_EQUAL(cipc_processor_quota("0::/a\n", root), 3);
  file_write("a/b/cpu.max", "max 100000\n");
  CHECK_EQUAL(cipc_processor_quota("0::/a/b\n", root), 3);
  file_write("a/b/cpu.max", "5000 100000\n");
  CHECK_EQUAL(cipc_processor_quota("0::/a/b\n", root), 1);
  // As in a container, where the path is the host's.
  file_write("cpu.max", "200000 100000\n");
  CHECK_EQUAL(cipc_processor_quota("0::/not/here\n", root), 2);
}

static void quotas_of_version_1_count_too(void) {
  file_write("cpu/v1/cpu.cfs_quota_us", "400000\n");
  file_write("cpu/v1/cpu.cfs_period_us", "100000\n");
  file_write("cpu.max", "max 100000\n");
  CHECK_EQUAL(cipc_processor_quota("4:cpuset:/v1\n3:cpu,cpuacct:/v1\n0::/\n", root), 4);
  CHECK_EQUAL(cipc_processor_quota("4:cpuset,xcpu:/v1\n", root), 0);
  file_write("cpu/v1/cpu.cfs_quota_us", "-1\n");
  CHECK_EQUAL(cipc_processor_quota("3:cpu:/v1", root), 0);
}

static void nonsense_is_no_quota(void) {
  const char *lists[] = {"", "\n", ":", "::", "0", "0:", "a\nb\n", "3:cpu", "0::"};
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
    CHECK_EQUAL(cipc_processor_quota(lists[i], root), 0);
  }
  const char *texts[] = {"", "max", "100", "0 0", "-5 100000", "100000 0", "x y", "100000 -1"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    file_write("n/cpu.max", texts[i]);
    CHECK_EQUAL(cipc_processor_quota("0::/n\n", root), 0);
  }
  file_write("n/cpu.max", "9223372036854775807 1\n");
  CHECK(cipc_processor_quota("0::/n\n", root) > 1000);
}

int main(void) {
  CHECK(mkdtemp(root) != NULL);
  TEST(the_affinity_is_counted);
  TEST(the_lowest_quota_of_a_group_and_those_around_it_counts);
  TEST(quotas_of_version_1_count_too);
  TEST(nonsense_is_no_quota);
  char command[128];
  (void)snprintf(command, sizeof command, "rm -r %s", root);
  CHECK(system(command) == 0);
  return check_finish();
}
