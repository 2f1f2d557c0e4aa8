/* Pictures by url, in memory. */
#include "serve/store.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

typedef struct kept {
    struct kept *next; /* an older one */
    char name[STORE_NAME];
    const char *type;
    time_t since;
    size_t size;
    uint8_t file[];
} kept;

struct store {
    pthread_mutex_t lock;
    kept *newest;
    size_t bytes, most;
};

store *store_new(size_t most_bytes)
{
    store *s = calloc(1, sizeof *s);
    if (s) {
        s->most = most_bytes;
        pthread_mutex_init(&s->lock, NULL);
    }
    return s;
}

void store_free(store **s)
{
    if (!*s)
        return;
    for (kept *k = (*s)->newest, *next; k; k = next) {
        next = k->next;
        free(k);
    }
    pthread_mutex_destroy(&(*s)->lock);
    free(*s);
    *s = NULL;
}

bool store_random_name(char name[STORE_NAME])
{
    uint8_t bytes[16];
    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
        return false;
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(name + 2 * i, 3, "%02x", bytes[i]);
    return true;
}

static time_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

/* Drops what is too old, and then the oldest ones until there is room. */
static void drop(store *s, size_t room)
{
    size_t sum = 0;
    kept **at = &s->newest;
    while (*at && now() - (*at)->since < STORE_SECONDS && sum + (*at)->size + room <= s->most) {
        sum += (*at)->size;
        at = &(*at)->next;
    }
    for (kept *k = *at, *next; k; k = next) {
        next = k->next;
        free(k);
    }
    *at = NULL;
    s->bytes = sum;
}

bool store_put(store *s, const void *file, size_t size, const char *type, char name[STORE_NAME])
{
    kept *k = size <= s->most ? malloc(sizeof *k + size) : NULL;
    if (!k || !store_random_name(k->name)) {
        free(k);
        return false;
    }
    k->type = type;
    k->since = now();
    k->size = size;
    memcpy(k->file, file, size);
    memcpy(name, k->name, STORE_NAME);
    pthread_mutex_lock(&s->lock);
    drop(s, size);
    k->next = s->newest;
    s->newest = k;
    s->bytes += size;
    pthread_mutex_unlock(&s->lock);
    return true;
}

uint8_t *store_get(store *s, const char *name, size_t *size, const char **type)
{
    uint8_t *copy = NULL;
    pthread_mutex_lock(&s->lock);
    drop(s, 0);
    for (kept *k = s->newest; k && !copy; k = k->next)
        if (!strcmp(k->name, name) && (copy = malloc(k->size ? k->size : 1))) {
            memcpy(copy, k->file, k->size);
            *size = k->size;
            *type = k->type;
        }
    pthread_mutex_unlock(&s->lock);
    return copy;
}
