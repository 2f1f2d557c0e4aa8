/* Viterbi's search for the best pieces of a text. */
#include "text/unigram.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/bpe_split.h"

/* What a character that no piece has costs more than the rarest piece, as in SentencePiece. */
#define UNKNOWN_COST 10.0f

typedef struct named {
    const char *text;
    int32_t id;
} named;

static int compare(const void *a, const void *b)
{
    return strcmp(((const named *)a)->text, ((const named *)b)->text);
}

static bool of_texts(int32_t type)
{
    return type == PIECE_NORMAL || type == PIECE_USER;
}

/* The pieces of texts in order. */
static bool sort_pieces(unigram *u, named *list, const char *name, err *e)
{
    size_t n = 0;
    for (size_t i = 0; i < u->n; i++)
        if (of_texts(u->types[i]))
            list[n++] = (named){u->pieces[i], (int32_t)i};
    qsort(list, n, sizeof *list, compare);
    for (size_t i = 0; i < n; i++) {
        char show[64];
        if (!*list[i].text || (i && !strcmp(list[i - 1].text, list[i].text)))
            return err_set(e, ERR_FAILED, "%s: piece %" PRId32 " \"%s\" is %s (the vocabulary is damaged)", name,
                           list[i].id, bpe_excerpt(show, list[i].text), *list[i].text ? "there twice" : "empty");
        u->sorted[i] = list[i].id;
    }
    u->n_sorted = n;
    return true;
}

bool unigram_open(unigram *u, const char *name, err *e)
{
    u->unknown = -1;
    u->lowest = INFINITY;
    u->highest = -INFINITY;
    for (size_t i = 0; i < u->n; i++) {
        if (u->types[i] == PIECE_UNKNOWN)
            u->unknown = (int32_t)i;
        if (!bpe_is_utf8(u->pieces[i]))
            return err_set(e, ERR_FAILED, "%s: piece %zu is not UTF-8 (the file is damaged)", name, i);
        if (u->types[i] != PIECE_NORMAL)
            continue;
        if (!isfinite(u->scores[i]))
            return err_set(e, ERR_FAILED, "%s: the score of piece %zu is no number (the file is damaged)", name, i);
        u->lowest = fminf(u->lowest, u->scores[i]);
        u->highest = fmaxf(u->highest, u->scores[i]);
    }
    if (u->unknown < 0 || !isfinite(u->lowest) || !isfinite(u->highest))
        return err_set(e, ERR_FAILED, "%s: of %zu pieces none is %s (is this a unigram model of SentencePiece?)", name,
                       u->n, u->unknown < 0 ? "for what is unknown" : "normal");
    named *list = malloc(u->n * sizeof *list);
    u->sorted = malloc(u->n * sizeof *u->sorted);
    bool ok = list && u->sorted ? sort_pieces(u, list, name, e) : err_no_memory(e, name, u->n * sizeof *list);
    free(list);
    return ok;
}

void unigram_release(unigram *u)
{
    free(u->sorted);
    u->sorted = NULL;
}

/* Of sorted[*first..*end), whose pieces agree in their first `at` bytes, those whose next byte is c. */
static void narrow(const unigram *u, size_t *first, size_t *end, size_t at, uint8_t c)
{
    size_t bounds[2];
    for (int side = 0; side < 2; side++) {
        size_t low = *first, high = *end;
        while (low < high) {
            size_t middle = low + (high - low) / 2;
            uint8_t own = (uint8_t)u->pieces[u->sorted[middle]][at];
            if (side ? own <= c : own < c)
                low = middle + 1;
            else
                high = middle;
        }
        bounds[side] = low;
    }
    *first = bounds[0];
    *end = bounds[1];
}

/* The best way to a place in the text: its score, and where its last piece begins. */
typedef struct way {
    float score;
    int32_t id; /* -1: there is none */
    size_t from;
} way;

static void offer(way *to, const way *from, size_t at, int32_t id, float score)
{
    if (to->id < 0 || from->score + score > to->score)
        *to = (way){from->score + score, id, at};
}

/* All pieces that begin at a place. */
static void offer_pieces(const unigram *u, const char *text, size_t bytes, size_t at, way *ways)
{
    utf8proc_int32_t c;
    size_t first = 0, end = u->n_sorted;
    size_t character = (size_t)utf8proc_iterate((const uint8_t *)text + at, (utf8proc_ssize_t)(bytes - at), &c);
    bool whole = false; /* a piece is the character */
    for (size_t i = 0; at + i < bytes && first < end; i++) {
        narrow(u, &first, &end, i, (uint8_t)text[at + i]);
        int32_t id = first < end ? u->sorted[first] : -1;
        if (id < 0 || u->pieces[id][i + 1])
            continue;
        float score = u->types[id] == PIECE_USER ? (float)(i + 1) * u->highest - 0.1f : u->scores[id];
        offer(&ways[at + i + 1], &ways[at], at, id, score);
        whole |= i + 1 == character;
    }
    if (!whole)
        offer(&ways[at + character], &ways[at], at, u->unknown, u->lowest - UNKNOWN_COST);
}

bool unigram_encode(const unigram *u, const char *text, size_t bytes, int32_t *ids, size_t *n, err *e)
{
    way *ways = malloc((bytes + 1) * sizeof *ways);
    if (!ways)
        return err_no_memory(e, "text", (bytes + 1) * sizeof *ways);
    for (size_t i = 0; i <= bytes; i++)
        ways[i] = (way){.id = i ? -1 : 0};
    for (size_t at = 0; at < bytes; at++)
        if (ways[at].id >= 0)
            offer_pieces(u, text, bytes, at, ways);
    size_t count = 0;
    for (size_t at = bytes; at; at = ways[at].from) { /* from behind */
        bool again = count && ids[*n + count - 1] == u->unknown && ways[at].id == u->unknown;
        if (!again)
            ids[*n + count++] = ways[at].id;
    }
    for (size_t i = 0; i < count / 2; i++) {
        int32_t last = ids[*n + count - 1 - i];
        ids[*n + count - 1 - i] = ids[*n + i];
        ids[*n + i] = last;
    }
    *n += count;
    free(ways);
    return true;
}
