/* Pictures that are fetched by a url: kept for a while under names that can't be guessed. */
#ifndef SERVE_STORE_H
#define SERVE_STORE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct store store;

enum { STORE_NAME = 33, STORE_SECONDS = 3600 };

store *store_new(size_t most_bytes);
void store_free(store **s);
/* A copy of the file under a new name; the oldest ones go where there is no room. */
bool store_put(store *s, const void *file, size_t size, const char *type, char name[STORE_NAME]);
/* A new copy, or NULL: there is none, or no longer. */
uint8_t *store_get(store *s, const char *name, size_t *size, const char **type);
/* 128 random bits as 32 hexadecimal digits. */
bool store_random_name(char name[STORE_NAME]);
#endif
