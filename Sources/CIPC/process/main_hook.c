/* SPDX-License-Identifier: Apache-2.0 */
// What sends a child of a Swift program another way before the program's own
// `main`, and after every constructor. It is no part of the installed libcipc: a
// C program calls cipc_process_bootstrap itself.
//
// A constructor alone comes too early: the constructors behind it have not run,
// so that Dispatch hangs or no type of the program is known. Instead `main` is
// wrapped on its way through __libc_start_main. Fully static links have no next
// __libc_start_main to hand on to; there a constructor runs those behind it first.

#include <dlfcn.h>
#include <link.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "cipc/process.h"
#include "process/fork_server.h"

// The Swift overlay's entry; absent from a C program that uses the package's C product.
extern int swiftipc_child_main(int connection) __attribute__((weak));
// Runs small tasks in the fork server.
extern void swiftipc_server_warm_up(int is_preforked) __attribute__((weak));

#if defined(__GLIBC__)

typedef int (*main_t)(int, char **, char **);
typedef int (*start_main_t)(main_t, int, char **, void (*)(void), void (*)(void), void (*)(void),
                            void *);

static main_t program_main;

static int hooked_main(int argc, char **argv, char **envp) {
  (void)!cipc_process_bootstrap(argc, argv, swiftipc_child_main);
  return program_main(argc, argv, envp);
}

// Weak, since libc.a has a strong one: in a static link that one wins, quietly.
__attribute__((weak, visibility("default"))) int __libc_start_main(main_t main, int argc,
                                                                   char **argv, void (*init)(void),
                                                                   void (*fini)(void),
                                                                   void (*rtld_fini)(void),
                                                                   void *stack_end);

int __libc_start_main(main_t main, int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*rtld_fini)(void), void *stack_end) {
  void *symbol = dlsym(RTLD_NEXT, "__libc_start_main");
  // Cannot be: whoever called this was linked with a libc that has it.
  if (symbol == NULL) _exit(127);
  start_main_t next;
  memcpy(&next, &symbol, sizeof next);
  // Now rather than in front of main, so that what a constructor executes is not diverted.
  (void)cipc_process_is_child();
  program_main = main;
  return next(hooked_main, argc, argv, init, fini, rtld_fini, stack_end);
}

#endif

typedef void (*constructor_t)(int, char **, char **);

// Given by the linker to a program, not to a shared library.
extern constructor_t __init_array_start[] __attribute__((weak, visibility("hidden")));
extern constructor_t __init_array_end[] __attribute__((weak, visibility("hidden")));

static int has_interpreter(struct dl_phdr_info *info, size_t size, void *context) {
  (void)size;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    if (info->dlpi_phdr[i].p_type == PT_INTERP) *(int *)context = 1;
  }
  return 1;  // the program comes first; the libraries are not asked
}

__attribute__((constructor)) static void hook_static_program(int argc, char **argv, char **envp) {
  cipc_fork_server_warm_up = swiftipc_server_warm_up;
  int is_dynamic = 0;
  dl_iterate_phdr(has_interpreter, &is_dynamic);
  if (is_dynamic || __init_array_start == NULL) return;
  if (!cipc_process_is_child()) {
    (void)!cipc_process_bootstrap(argc, argv, swiftipc_child_main);
    return;
  }
  constructor_t *next = __init_array_start;
  while (next < __init_array_end && *next != hook_static_program) next++;
  for (next++; next < __init_array_end; next++) (*next)(argc, argv, envp);
  (void)!cipc_process_bootstrap(argc, argv, swiftipc_child_main);
}
