/* SPDX-License-Identifier: Apache-2.0 */
// A program that knows nothing of SwiftIPC, with a library in it that starts children.
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

typedef void (*bootstrap_t)(void);
typedef void (*double_t)(int);

static void *find(void *library, const char *name) {
  void *symbol = dlsym(library, name);
  if (symbol == NULL) fprintf(stderr, "%s\n", dlerror());
  return symbol;
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 2;
  }
  void *symbol = find(library, "tasks_bootstrap");
  bootstrap_t bootstrap;
  memcpy(&bootstrap, &symbol, sizeof symbol);
  symbol = find(library, "tasks_double");
  double_t twice;
  memcpy(&twice, &symbol, sizeof symbol);
  if (bootstrap == NULL || twice == NULL) return 2;
  if (strcmp(argv[2], "bootstrap") == 0) bootstrap();
  puts("main runs");
  fflush(stdout);
  twice(21);
  return 0;
}
