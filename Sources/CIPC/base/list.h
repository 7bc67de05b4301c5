/* SPDX-License-Identifier: Apache-2.0 */
// A doubly linked list through members of what is in it. The list is a ring with a head of its own;
// an object that is in no list is a ring of one, so that it can be taken out again harmlessly.
#ifndef CIPC_LIST_PRIVATE_H
#define CIPC_LIST_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct cipc_list {
  struct cipc_list *next, *previous;
} cipc_list_t;

// For a head with static storage.
#define CIPC_LIST_EMPTY(list) \
  { &(list), &(list) }

// The object of which `node` is the member `member`.
#define CIPC_LIST_OBJECT(node, type, member) \
  ((type *)(void *)((char *)(node)-offsetof(type, member)))

// The nodes of a list, of which the loop may not take any out.
#define CIPC_LIST_EACH(node, list) \
  for (cipc_list_t *node = (list)->next; node != (list); node = node->next)
// The same, where the loop may take out the node that it is at.
#define CIPC_LIST_EACH_REMOVABLE(node, list) \
  for (cipc_list_t *node = (list)->next, *node##_next = node->next; node != (list); \
       node = node##_next, node##_next = node->next)

static inline void cipc_list_init(cipc_list_t *node) { node->next = node->previous = node; }

// Whether a list has nothing in it, or a node is in no list.
static inline bool cipc_list_is_empty(const cipc_list_t *list) { return list->next == list; }

static inline void cipc_list_insert(cipc_list_t *before, cipc_list_t *node) {
  node->next = before;
  node->previous = before->previous;
  before->previous->next = node;
  before->previous = node;
}
static inline void cipc_list_insert_first(cipc_list_t *list, cipc_list_t *node) {
  cipc_list_insert(list->next, node);
}
static inline void cipc_list_insert_last(cipc_list_t *list, cipc_list_t *node) {
  cipc_list_insert(list, node);
}

static inline void cipc_list_remove(cipc_list_t *node) {
  node->previous->next = node->next;
  node->next->previous = node->previous;
  cipc_list_init(node);
}

#endif
