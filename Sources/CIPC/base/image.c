/* SPDX-License-Identifier: Apache-2.0 */
#include "base/image.h"

#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(sizeof(cipc_image_location_t) == 16 + CIPC_IMAGE_ID_MAX, "sent as it stands");

#define NOTE_BUILD_ID 3

typedef struct search {
  const cipc_image_location_t *wanted;  // resolving: what to look for; locating: NULL
  cipc_image_location_t *found;
  uintptr_t address;
  int images;
  int status;
} search_t;

static size_t note_padded(uint32_t size) { return ((size_t)size + 3) & ~(size_t)3; }

// Copies the build id out of a note segment. The bytes are our own file's, but a
// linker script can do anything to them, so they are bounded all the same.
static uint32_t build_id_copy(const uint8_t *notes, size_t size, uint8_t *id) {
  while (size >= sizeof(ElfW(Nhdr))) {
    ElfW(Nhdr) note;
    memcpy(&note, notes, sizeof note);
    size_t name = note_padded(note.n_namesz);
    size_t description = note_padded(note.n_descsz);
    size_t room = size - sizeof note;
    if (name > room || description > room - name) return 0;
    const uint8_t *body = notes + sizeof note;
    if (note.n_type == NOTE_BUILD_ID && note.n_namesz == 4 && memcmp(body, "GNU", 4) == 0 &&
        note.n_descsz > 0) {
      uint32_t length = note.n_descsz < CIPC_IMAGE_ID_MAX ? note.n_descsz : CIPC_IMAGE_ID_MAX;
      memcpy(id, body + name, length);
      return length;
    }
    notes = body + name + description;
    size = room - name - description;
  }
  return 0;
}

static uint64_t fingerprint(const uint8_t *bytes, size_t size) {
  uint64_t hash = UINT64_C(0xcbf29ce484222325);
  while (size >= sizeof(uint64_t)) {
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    hash = (hash ^ word) * UINT64_C(0x100000001b3);
    hash ^= hash >> 32;
    bytes += sizeof word;
    size -= sizeof word;
  }
  for (; size > 0; size--) hash = (hash ^ *bytes++) * UINT64_C(0x100000001b3);
  return hash;
}

static const uint8_t *segment_bytes(const struct dl_phdr_info *info, const ElfW(Phdr) * header) {
  return (const uint8_t *)(info->dlpi_addr + header->p_vaddr);
}

static uint32_t image_id(const struct dl_phdr_info *info, uint8_t *id) {
  const ElfW(Phdr) *unwind = NULL;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *header = &info->dlpi_phdr[i];
    if (header->p_type == PT_GNU_EH_FRAME) unwind = header;
    if (header->p_type != PT_NOTE) continue;
    uint32_t size = build_id_copy(segment_bytes(info, header), header->p_memsz, id);
    if (size > 0) return size;
  }
  if (unwind == NULL) return 0;
  uint64_t hash[2] = {fingerprint(segment_bytes(info, unwind), unwind->p_memsz), unwind->p_memsz};
  memcpy(id, hash, sizeof hash);
  return sizeof hash;
}

static bool image_holds(const struct dl_phdr_info *info, uint64_t offset) {
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *header = &info->dlpi_phdr[i];
    if (header->p_type == PT_LOAD && offset >= header->p_vaddr &&
        offset - header->p_vaddr < header->p_memsz) {
      return true;
    }
  }
  return false;
}

static int visit(struct dl_phdr_info *info, size_t size, void *context) {
  (void)size;
  search_t *search = context;
  // The loader lists the program first, in static programs too.
  uint32_t is_program = search->images++ == 0;
  uint64_t offset =
      search->wanted != NULL ? search->wanted->offset : search->address - info->dlpi_addr;
  if (search->wanted != NULL && search->wanted->is_program != is_program) return 0;
  if (!image_holds(info, offset)) return 0;

  cipc_image_location_t here;
  memset(&here, 0, sizeof here);
  here.offset = offset;
  here.is_program = is_program;
  here.id_size = image_id(info, here.id);
  if (search->wanted == NULL) {
    *search->found = here;
  } else if (here.id_size != search->wanted->id_size ||
             memcmp(here.id, search->wanted->id, sizeof here.id) != 0) {
    return 0;
  } else {
    search->address = info->dlpi_addr + (uintptr_t)offset;
  }
  search->status = 0;
  return 1;
}

int cipc_image_locate(const void *address, cipc_image_location_t *location) {
  if (address == NULL || location == NULL) return CIPC_EINVAL;
  search_t search = {NULL, location, (uintptr_t)address, 0, CIPC_ENOENT};
  dl_iterate_phdr(visit, &search);
  return search.status;
}

typedef struct {
  uintptr_t address;
  int status;
} constant_t;

static int visit_for_constant(struct dl_phdr_info *info, size_t size, void *context) {
  (void)size;
  constant_t *asked = context;
  uint64_t offset = asked->address - info->dlpi_addr;
  if (!image_holds(info, offset)) return 0;
  asked->status = 0;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *header = &info->dlpi_phdr[i];
    if (offset < header->p_vaddr || offset - header->p_vaddr >= header->p_memsz) continue;
    // The loader makes the second kind unwritable when it has filled it in.
    if ((header->p_type == PT_LOAD && !(header->p_flags & PF_W)) ||
        header->p_type == PT_GNU_RELRO) {
      asked->status = 1;
    }
  }
  return 1;
}

int cipc_image_is_constant(const void *address) {
  if (address == NULL) return CIPC_EINVAL;
  constant_t asked = {(uintptr_t)address, CIPC_ENOENT};
  (void)dl_iterate_phdr(visit_for_constant, &asked);
  return asked.status;
}

int cipc_image_resolve(const cipc_image_location_t *location, const void **address) {
  if (location == NULL || address == NULL || location->id_size > CIPC_IMAGE_ID_MAX) {
    return CIPC_EINVAL;
  }
  search_t search = {location, NULL, 0, 0, CIPC_ENOENT};
  dl_iterate_phdr(visit, &search);
  if (search.status == 0) *address = (const void *)search.address;
  return search.status;
}

typedef struct naming {
  uintptr_t address;
  char *name;
  size_t room;
  int images;
  int status;
} naming_t;

static int visit_for_name(struct dl_phdr_info *info, size_t size, void *context) {
  (void)size;
  naming_t *naming = context;
  bool is_program = naming->images++ == 0;
  if (!image_holds(info, naming->address - info->dlpi_addr)) return 0;
  // Some loaders name the program by its path, others not at all.
  const char *path = is_program || info->dlpi_name == NULL ? "" : info->dlpi_name;
  const char *slash = strrchr(path, '/');
  (void)snprintf(naming->name, naming->room, "%s", slash != NULL ? slash + 1 : path);
  naming->status = 0;
  return 1;
}

int cipc_image_name(const void *address, char *name, size_t room) {
  if (name == NULL || room == 0) return CIPC_EINVAL;
  static const char here;
  if (address == NULL) address = &here;
  naming_t naming = {(uintptr_t)address, name, room, 0, CIPC_ENOENT};
  dl_iterate_phdr(visit_for_name, &naming);
  return naming.status;
}

// MARK: Symbols

// Reads all of a place in a file.
static bool read_at(int file, void *bytes, size_t size, uint64_t offset) {
  return offset <= INT64_MAX && pread(file, bytes, size, (off_t)offset) == (ssize_t)size;
}

// All of a section, with a 0 byte behind it; NULL where it cannot be had.
static char *section_read(int file, const ElfW(Shdr) * section) {
  struct stat about;
  if (fstat(file, &about) != 0 || section->sh_size > (uint64_t)about.st_size) return NULL;
  char *bytes = malloc((size_t)section->sh_size + 1);
  if (bytes == NULL) return NULL;
  bytes[section->sh_size] = '\0';
  if (read_at(file, bytes, (size_t)section->sh_size, section->sh_offset)) return bytes;
  free(bytes);
  return NULL;
}

static bool section_at(int file, const ElfW(Ehdr) * head, uint64_t index, ElfW(Shdr) * section) {
  return index < head->e_shnum &&
         read_at(file, section, sizeof *section, head->e_shoff + index * sizeof *section);
}

// The names of the table's variables that lie in a section without bytes in the file.
static int zeroed_list(int file, const ElfW(Ehdr) * head, const ElfW(Shdr) * table,
                       const char *prefix, char *names, size_t room, size_t *length) {
  ElfW(Shdr) texts;
  if (!section_at(file, head, table->sh_link, &texts)) return CIPC_ENOENT;
  char *symbols = section_read(file, table), *text = section_read(file, &texts);
  int status = symbols != NULL && text != NULL ? 0 : CIPC_ENOENT;
  uint64_t count = status == 0 ? table->sh_size / sizeof(ElfW(Sym)) : 0;
  for (uint64_t i = 0; i < count; i++) {
    ElfW(Sym) symbol;
    ElfW(Shdr) section;
    memcpy(&symbol, symbols + i * sizeof symbol, sizeof symbol);
    if ((symbol.st_info & 0xf) != STT_OBJECT || symbol.st_name >= texts.sh_size) continue;
    const char *name = text + symbol.st_name;
    if (strncmp(name, prefix, strlen(prefix)) != 0) continue;
    if (!section_at(file, head, symbol.st_shndx, &section)) continue;
    if (section.sh_type != SHT_NOBITS) continue;
    size_t size = strlen(name) + 1;
    if (size > room - *length) {
      status = CIPC_ENOSPC;
      break;
    }
    memcpy(names + *length, name, size);
    *length += size;
  }
  free(symbols);
  free(text);
  return status;
}

int cipc_image_file_list_zeroed(const char *path, const char *prefix, char *names, size_t room,
                                size_t *length) {
  if (path == NULL || prefix == NULL || names == NULL || length == NULL) return CIPC_EINVAL;
  *length = 0;
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return -errno;
  int status = CIPC_ENOENT;
  ElfW(Ehdr) head;
  ElfW(Shdr) section;
  if (!read_at(file, &head, sizeof head, 0) || memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 ||
      head.e_shentsize != sizeof section) {
    goto out;
  }
  for (unsigned i = 0; section_at(file, &head, i, &section); i++) {
    if (section.sh_type != SHT_SYMTAB) continue;
    status = zeroed_list(file, &head, &section, prefix, names, room, length);
    break;
  }
out:
  (void)close(file);
  return status;
}

// MARK: Touching

// MADV_POPULATE_READ and MADV_POPULATE_WRITE of Linux 5.14, which older libc headers lack. They
// change nothing, and where a page cannot be had they fail and do not trap.
#define POPULATE_READ 22
#define POPULATE_WRITE 23

static void touch(uintptr_t address, int advice) {
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  (void)madvise((void *)(address & ~(page - 1)), page, advice);
}

static int touch_image(struct dl_phdr_info *info, size_t size, void *context) {
  (void)size;
  (void)context;
  const ElfW(Dyn) *entry = NULL;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *header = &info->dlpi_phdr[i];
    if (header->p_type == PT_DYNAMIC) entry = (const void *)(info->dlpi_addr + header->p_vaddr);
    // The compilers' own destructor notes at the beginning of .bss that it has run.
    if (header->p_type == PT_LOAD && header->p_memsz > header->p_filesz) {
      touch(info->dlpi_addr + header->p_vaddr + header->p_filesz, POPULATE_WRITE);
    }
  }
  const uintptr_t *functions = NULL;
  size_t count = 0;
  // Where the dynamic linker finds them: it has left these three as they are in the file.
  for (; entry != NULL && entry->d_tag != DT_NULL; entry++) {
    uintptr_t address = info->dlpi_addr + entry->d_un.d_ptr;
    if (entry->d_tag == DT_FINI) touch(address, POPULATE_READ);
    if (entry->d_tag == DT_FINI_ARRAY) functions = (const uintptr_t *)address;
    if (entry->d_tag == DT_FINI_ARRAYSZ) count = entry->d_un.d_val / sizeof *functions;
  }
  for (size_t i = 0; functions != NULL && i < count; i++) touch(functions[i], POPULATE_READ);
  return 0;
}

void cipc_image_touch_ends(void) { (void)dl_iterate_phdr(touch_image, NULL); }
