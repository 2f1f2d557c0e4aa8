/* Regions of memory in huge pages, and the pieces in them. */
#include "device/pages.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/os.h"

#define HUGE_PAGE   ((size_t)2 << 20)
#define REGION      ((size_t)64 << 20) /* of addresses: memory is only taken where a piece is written */
#define PIECE_ALIGN ((size_t)4096)

struct page_region {
    char *start; /* of a huge page */
    size_t bytes, used;
    int users; /* pieces, and who may take more of them */
    void *map;
    size_t map_bytes;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of users: drivers give pieces back from their threads */

static page_region *region_new(size_t bytes)
{
    page_region *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->map_bytes = bytes + HUGE_PAGE;
    p->map = os_pages_new(p->map_bytes);
    if (!p->map) {
        free(p);
        return NULL;
    }
    p->bytes = bytes;
    p->start = (char *)p->map + (HUGE_PAGE - (uintptr_t)p->map % HUGE_PAGE) % HUGE_PAGE;
    os_pages_huge(p->start, bytes);
    p->users = 1;
    return p;
}

static void drop(page_region *p)
{
    pthread_mutex_lock(&lock);
    int left = --p->users;
    pthread_mutex_unlock(&lock);
    if (left)
        return;
    os_pages_free(p->map, p->map_bytes);
    free(p);
}

page_piece *pages_take(page_region **last, size_t bytes)
{
    size_t rounded = (bytes + PIECE_ALIGN - 1) / PIECE_ALIGN * PIECE_ALIGN;
    bool alone = rounded > REGION / 4;
    page_piece *piece = malloc(sizeof *piece);
    if (!piece || rounded < bytes) {
        free(piece);
        return NULL;
    }
    if (!alone && *last && (*last)->bytes - (*last)->used < rounded)
        pages_release(last);
    page_region *p = alone || !*last ? region_new(alone ? rounded : REGION) : *last;
    if (!p) {
        free(piece);
        return NULL;
    }
    if (!alone)
        *last = p;
    *piece = (page_piece){p, p->start + p->used, rounded};
    p->used += rounded;
    pthread_mutex_lock(&lock);
    p->users += !alone; /* one that is alone has this user only */
    pthread_mutex_unlock(&lock);
    return piece;
}

void pages_give_back(page_piece *piece)
{
    os_pages_forget(piece->at, piece->bytes); /* others may be in the region for long */
    drop(piece->of);
    free(piece);
}

void pages_release(page_region **last)
{
    if (*last)
        drop(*last);
    *last = NULL;
}
