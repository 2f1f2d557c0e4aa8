/* Training of byte-level byte-pair encodings: counts pieces, then merges the most frequent pair again and again.
 *
 * Between two places where tokens still meet, equal text is always made of equal tokens, since nothing outside took
 * part in their merges.  So no token is formed by two pairs, all the places of a pair come up in one merge (that of the
 * later of its two tokens), and each pair is queued once, with all of its words. */
#include "text/bpe_train.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/hash.h"
#include "text/bpe_split.h"

#define NONE UINT32_MAX

/* ---- arrays and hash tables ---------------------------------------------------------------------------------- */

/* The array with room for n elements, moved where it has to be; NULL, and the array as it was, where memory is short.
 * n > 0. */
static void *grown(void *array, size_t *capacity, size_t n, size_t size, err *e)
{
    if (n <= *capacity)
        return array;
    size_t most = SIZE_MAX / size, more = *capacity < 2 ? 4 : *capacity <= most / 2 ? 2 * *capacity : most;
    more = more < n ? n : more;
    void *moved = n <= most ? realloc(array, more * size) : NULL;
    if (moved)
        *capacity = more;
    else
        err_no_memory(e, "tokenizer training", (unsigned long long)more * size);
    return moved;
}

/* Finds things, kept elsewhere and numbered from 0, by their hashes: open addressing, linear probing, at most half
 * full. Zero-initialised is empty. */
typedef struct table {
    uint32_t *slots, *hashes; /* [mask + 1]; [n] */
    size_t n, capacity, mask;
} table;

/* The next number with this hash, NONE after the last.  *probe begins as 0. */
static uint32_t table_next(const table *h, uint32_t hash, size_t *probe)
{
    if (h->n == 0)
        return NONE;
    for (;;) {
        uint32_t i = h->slots[(hash + (*probe)++) & h->mask];
        if (i == NONE || h->hashes[i] == hash)
            return i;
    }
}

static void table_place(table *h, uint32_t i)
{
    size_t slot = h->hashes[i] & h->mask;
    while (h->slots[slot] != NONE)
        slot = (slot + 1) & h->mask;
    h->slots[slot] = i;
}

/* Adds number n. */
static bool table_add(table *h, uint32_t hash, err *e)
{
    if (h->n >= NONE / 2) /* a slot's number, and twice as many slots, in 32 bits */
        return err_set(e, ERR_FAILED, "tokenizer training: the text has too many different words (take a part of it)");
    uint32_t *hashes = grown(h->hashes, &h->capacity, h->n + 1, sizeof *hashes, e);
    if (!hashes)
        return false;
    h->hashes = hashes;
    h->hashes[h->n] = hash;
    size_t size = h->slots ? h->mask + 1 : 0;
    if (2 * (h->n + 1) > size) {
        size = size ? 2 * size : 1024;
        uint32_t *slots = malloc(size * sizeof *slots);
        if (!slots)
            return err_no_memory(e, "tokenizer training", size * sizeof *slots);
        memset(slots, 0xFF, size * sizeof *slots);
        free(h->slots);
        h->slots = slots;
        h->mask = size - 1;
        for (size_t i = 0; i < h->n; i++)
            table_place(h, (uint32_t)i);
    }
    table_place(h, (uint32_t)h->n++);
    return true;
}

static void table_release(table *h)
{
    free(h->slots);
    free(h->hashes);
    *h = (table){0};
}

static uint32_t mix(uint64_t h)
{
    h = (h ^ (h >> 32)) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(h >> 32);
}

static uint32_t text_hash(const char *text, size_t bytes)
{
    uint64_t h = hash_bytes(HASH_BEGIN, text, bytes);
    return mix(h);
}

/* Strings end to end, each with its NUL, found by their text and numbered in the order of their coming. */
typedef struct pool {
    char *text;
    size_t used, text_capacity;
    size_t *starts; /* [table.n + 1] */
    size_t starts_capacity;
    table table;
} pool;

static size_t pool_bytes(const pool *p, uint32_t i)
{
    assert(i < p->table.n && p->starts);
    return p->starts[i + 1] - p->starts[i] - 1;
}

static uint32_t pool_find(const pool *p, const char *text, size_t bytes)
{
    uint32_t hash = text_hash(text, bytes), i;
    for (size_t probe = 0; (i = table_next(&p->table, hash, &probe)) != NONE;) {
        if (pool_bytes(p, i) == bytes && memcmp(p->text + p->starts[i], text, bytes) == 0)
            break;
    }
    return i;
}

/* text may not be in the pool's own block. */
static bool pool_add(pool *p, const char *text, size_t bytes, err *e)
{
    char *block = grown(p->text, &p->text_capacity, p->used + bytes + 1, 1, e);
    if (!block)
        return false;
    p->text = block;
    size_t *starts = grown(p->starts, &p->starts_capacity, p->table.n + 2, sizeof *starts, e);
    if (!starts)
        return false;
    p->starts = starts;
    if (!table_add(&p->table, text_hash(text, bytes), e))
        return false;
    memcpy(block + p->used, text, bytes);
    block[p->used + bytes] = 0;
    starts[p->table.n - 1] = p->used;
    starts[p->table.n] = p->used += bytes + 1;
    return true;
}

/* The strings in order, a new array. */
static const char **pool_list(const pool *p, err *e)
{
    size_t n = p->table.n;
    const char **list = malloc((n ? n : 1) * sizeof *list);
    if (!list)
        err_no_memory(e, "tokenizer training", n * sizeof *list);
    for (size_t i = 0; list && i < n; i++)
        list[i] = p->text + p->starts[i];
    return list;
}

static void pool_release(pool *p)
{
    table_release(&p->table);
    free(p->text);
    free(p->starts);
    *p = (pool){0};
}

/* ---- words --------------------------------------------------------------------------------------------------- */

struct bpe_trainer {
    pool words; /* the pieces, as bytes of lower-cased UTF-8 */
    uint64_t *counts;
    size_t counts_capacity;
    bool lowercase;
};

bpe_trainer *bpe_trainer_new(bool lowercase, err *e)
{
    bpe_trainer *t = calloc(1, sizeof *t);
    if (t)
        t->lowercase = lowercase;
    else
        err_no_memory(e, "tokenizer training", sizeof *t);
    return t;
}

void bpe_trainer_free(bpe_trainer *t)
{
    if (!t)
        return;
    pool_release(&t->words);
    free(t->counts);
    free(t);
}

static bool count_word(bpe_trainer *t, const char *text, size_t bytes, err *e)
{
    uint32_t i = pool_find(&t->words, text, bytes);
    if (i != NONE) {
        t->counts[i]++;
        return true;
    }
    size_t n = t->words.table.n;
    uint64_t *counts = grown(t->counts, &t->counts_capacity, n + 1, sizeof *counts, e);
    if (!counts)
        return false;
    t->counts = counts;
    t->counts[n] = 1;
    return pool_add(&t->words, text, bytes, e);
}

bool bpe_trainer_add(bpe_trainer *t, const char *text, err *e)
{
    size_t bytes;
    char *in = bpe_normalise(text, t->lowercase, &bytes, e);
    bool ok = in != NULL;
    for (size_t at = 0, piece; ok && at < bytes; at += piece) {
        piece = bpe_piece_bytes(in + at, bytes - at);
        ok = count_word(t, in + at, piece, e);
    }
    free(in);
    return ok;
}

/* ---- pairs --------------------------------------------------------------------------------------------------- */

/* Tokens side by side.  words: those with the pair, in rising order, until it is queued. */
typedef struct pair {
    int32_t left, right;
    int64_t count;
    uint32_t *words;
    size_t n_words, capacity;
} pair;

/* A pair in the queue, with a count that it had, perhaps before other merges took places of it, and the words that it
 * came up in. */
typedef struct candidate {
    int64_t count;
    uint32_t *words;
    size_t n_words;
    uint32_t pair;
} candidate;

/* Words, pairs, queue and tokens in the course of the merges. */
typedef struct training {
    const bpe_trainer *t;
    int32_t *symbols; /* the tokens of word i: symbols[words.starts[i]], lengths[i] of them */
    size_t *lengths;
    pair *pairs;
    size_t pair_capacity;
    table pair_table;
    uint32_t *touched; /* pairs that came up and are not yet queued */
    size_t n_touched, touched_capacity;
    candidate *queue; /* a binary heap */
    size_t n_queue, queue_capacity;
    pool tokens;
    uint32_t *merges; /* pairs */
    size_t n_merges, merge_capacity;
} training;

static void training_release(training *s)
{
    for (size_t i = 0; i < s->pair_table.n; i++)
        free(s->pairs[i].words);
    for (size_t i = 0; i < s->n_queue; i++)
        free(s->queue[i].words);
    table_release(&s->pair_table);
    pool_release(&s->tokens);
    free(s->symbols);
    free(s->lengths);
    free(s->pairs);
    free(s->touched);
    free(s->queue);
    free(s->merges);
    *s = (training){0};
}

/* The number of a pair, which is added where it is new. */
static bool find_pair(training *s, int32_t left, int32_t right, uint32_t *number, err *e)
{
    uint32_t hash = mix(((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0xD6E8FEB86659FD93u);
    for (size_t probe = 0; (*number = table_next(&s->pair_table, hash, &probe)) != NONE;) {
        if (s->pairs[*number].left == left && s->pairs[*number].right == right)
            return true;
    }
    size_t n = s->pair_table.n;
    pair *pairs = grown(s->pairs, &s->pair_capacity, n + 1, sizeof *pairs, e);
    if (!pairs)
        return false;
    s->pairs = pairs;
    s->pairs[n] = (pair){.left = left, .right = right};
    *number = (uint32_t)n;
    return table_add(&s->pair_table, hash, e);
}

/* Another place of the pair, in a word.  Words come in rising order, so a repeated one is the last. */
static bool add_pair(training *s, int32_t left, int32_t right, uint32_t word, err *e)
{
    uint32_t number;
    if (!find_pair(s, left, right, &number, e))
        return false;
    pair *p = &s->pairs[number];
    p->count += (int64_t)s->t->counts[word];
    if (p->n_words && p->words[p->n_words - 1] == word)
        return true;
    if (!p->n_words) {
        uint32_t *touched = grown(s->touched, &s->touched_capacity, s->n_touched + 1, sizeof *touched, e);
        if (!touched)
            return false;
        s->touched = touched;
        s->touched[s->n_touched++] = number;
    }
    uint32_t *words = grown(p->words, &p->capacity, p->n_words + 1, sizeof *words, e);
    if (!words)
        return false;
    p->words = words;
    p->words[p->n_words++] = word;
    return true;
}

/* A place of the pair is gone. */
static bool remove_pair(training *s, int32_t left, int32_t right, uint32_t word, err *e)
{
    uint32_t number;
    if (!find_pair(s, left, right, &number, e))
        return false;
    s->pairs[number].count -= (int64_t)s->t->counts[word];
    return true;
}

/* ---- the queue ----------------------------------------------------------------------------------------------- */

/* Whether a is merged before b. */
static bool is_before(const training *s, const candidate *a, const candidate *b)
{
    if (a->count != b->count)
        return a->count > b->count;
    const pair *p = &s->pairs[a->pair], *q = &s->pairs[b->pair];
    return p->left != q->left ? p->left < q->left : p->right < q->right;
}

/* Puts c into the hole at the top. */
static void queue_sink(training *s, candidate c)
{
    candidate *q = s->queue;
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < s->n_queue; i = child) {
        if (child + 1 < s->n_queue && is_before(s, &q[child + 1], &q[child]))
            child++;
        if (!is_before(s, &q[child], &c))
            break;
        q[i] = q[child];
    }
    q[i] = c;
}

static bool queue_push(training *s, candidate c, err *e)
{
    candidate *q = grown(s->queue, &s->queue_capacity, s->n_queue + 1, sizeof *q, e);
    if (!q)
        return false;
    s->queue = q;
    size_t i = s->n_queue++;
    for (; i > 0 && is_before(s, &c, &q[(i - 1) / 2]); i = (i - 1) / 2)
        q[i] = q[(i - 1) / 2];
    q[i] = c;
    return true;
}

static candidate queue_pop(training *s)
{
    candidate top = s->queue[0], last = s->queue[--s->n_queue];
    if (s->n_queue)
        queue_sink(s, last);
    return top;
}

/* Queues the pairs that came up. */
static bool queue_touched(training *s, err *e)
{
    for (size_t i = 0; i < s->n_touched; i++) {
        pair *p = &s->pairs[s->touched[i]];
        if (p->count > 0) {
            if (!queue_push(s, (candidate){p->count, p->words, p->n_words, s->touched[i]}, e))
                return false;
        } else {
            free(p->words); /* came and went in one merge */
        }
        p->words = NULL;
        p->n_words = p->capacity = 0;
    }
    s->n_touched = 0;
    return true;
}

/* ---- merging ------------------------------------------------------------------------------------------------- */

/* Specials and bytes. */
static bool add_tokens(training *s, int32_t byte_ids[256], const char *const *specials, size_t n, err *e)
{
    char show[64];
    for (size_t i = 0; i < n; i++) {
        size_t bytes = strlen(specials[i]);
        if (!bytes || !bpe_is_utf8(specials[i]))
            return err_set(e, ERR_USAGE, "special token %zu is %s", i, bytes ? "not UTF-8" : "empty");
        if (pool_find(&s->tokens, specials[i], bytes) != NONE)
            return err_set(e, ERR_USAGE, "special token %zu \"%s\" is there twice", i, bpe_excerpt(show, specials[i]));
        if (!pool_add(&s->tokens, specials[i], bytes, e))
            return false;
    }
    for (int32_t c = 0, left = 256; left; c++) {
        int byte = bpe_char_to_byte(c);
        if (byte < 0)
            continue;
        uint8_t text[8];
        size_t bytes = (size_t)utf8proc_encode_char(c, text);
        uint32_t id = pool_find(&s->tokens, (const char *)text, bytes);
        if (id == NONE) {
            id = (uint32_t)s->tokens.table.n;
            if (!pool_add(&s->tokens, (const char *)text, bytes, e))
                return false;
        }
        byte_ids[byte] = (int32_t)id;
        left--;
    }
    return true;
}

/* Every word as its bytes' tokens, and their pairs. */
static bool add_words(training *s, const int32_t byte_ids[256], err *e)
{
    const pool *words = &s->t->words;
    size_t n = words->table.n;
    s->symbols = malloc((words->used ? words->used : 1) * sizeof *s->symbols);
    s->lengths = malloc((n ? n : 1) * sizeof *s->lengths);
    if (!s->symbols || !s->lengths)
        return err_no_memory(e, "tokenizer training", words->used * sizeof *s->symbols);
    for (size_t w = 0; w < n; w++) {
        const uint8_t *text = (const uint8_t *)words->text + words->starts[w];
        int32_t *symbols = s->symbols + words->starts[w];
        s->lengths[w] = pool_bytes(words, (uint32_t)w);
        for (size_t i = 0; i < s->lengths[w]; i++) {
            symbols[i] = byte_ids[text[i]];
            if (i && !add_pair(s, symbols[i - 1], symbols[i], (uint32_t)w, e))
                return false;
        }
    }
    return queue_touched(s, e);
}

/* left right -> join wherever it is in the word, from left to right; keeps count of the pairs around. */
static bool merge_word(training *s, uint32_t word, int32_t left, int32_t right, int32_t join, err *e)
{
    int32_t *x = s->symbols + s->t->words.starts[word];
    size_t n = s->lengths[word], kept = 0;
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        if (x[i] != left || i + 1 == n || x[i + 1] != right) {
            x[kept++] = x[i];
            continue;
        }
        if (kept)
            ok = remove_pair(s, x[kept - 1], left, word, e) && add_pair(s, x[kept - 1], join, word, e);
        if (ok && i + 2 < n)
            ok = remove_pair(s, right, x[i + 2], word, e) && add_pair(s, join, x[i + 2], word, e);
        x[kept++] = join;
        i++;
    }
    s->lengths[word] = kept;
    return ok;
}

/* The token left right, which is there already where it is a special. */
static bool join_tokens(training *s, int32_t left, int32_t right, int32_t *join, err *e)
{
    const pool *p = &s->tokens;
    size_t a = pool_bytes(p, (uint32_t)left), b = pool_bytes(p, (uint32_t)right);
    char *text = malloc(a + b);
    if (!text)
        return err_no_memory(e, "tokenizer training", a + b);
    memcpy(text, p->text + p->starts[left], a);
    memcpy(text + a, p->text + p->starts[right], b);
    uint32_t id = pool_find(p, text, a + b);
    bool ok = true;
    if (id == NONE) {
        id = (uint32_t)p->table.n;
        ok = pool_add(&s->tokens, text, a + b, e);
    }
    *join = (int32_t)id;
    free(text);
    return ok;
}

static bool merge_candidate(training *s, const candidate *c, err *e)
{
    int32_t left = s->pairs[c->pair].left, right = s->pairs[c->pair].right, join = -1;
    uint32_t *merges = grown(s->merges, &s->merge_capacity, s->n_merges + 1, sizeof *merges, e);
    if (!merges)
        return false;
    s->merges = merges;
    s->merges[s->n_merges++] = c->pair;
    if (!join_tokens(s, left, right, &join, e))
        return false;
    for (size_t i = 0; i < c->n_words; i++) {
        if (!merge_word(s, c->words[i], left, right, join, e))
            return false;
    }
    return queue_touched(s, e);
}

static bool merge_all(training *s, size_t vocabulary, int64_t min_frequency, err *e)
{
    bool ok = true;
    while (ok && s->tokens.table.n < vocabulary && s->n_queue) {
        candidate top = s->queue[0];
        int64_t now = s->pairs[top.pair].count;
        if (top.count != now) {
            top.count = now;
            queue_sink(s, top);
            continue;
        }
        if (now < min_frequency)
            break;
        queue_pop(s);
        ok = merge_candidate(s, &top, e);
        free(top.words);
    }
    return ok;
}

/* The tokenizer of the tokens and merges. */
static bpe *build(const training *s, err *e)
{
    pool texts = {0};
    const char **tokens = pool_list(&s->tokens, e), **merges = NULL;
    char *text = NULL;
    size_t capacity = 0;
    bool ok = tokens != NULL;
    for (size_t i = 0; ok && i < s->n_merges; i++) {
        const pair *p = &s->pairs[s->merges[i]];
        size_t a = pool_bytes(&s->tokens, (uint32_t)p->left), b = pool_bytes(&s->tokens, (uint32_t)p->right);
        char *room = grown(text, &capacity, a + b + 1, 1, e);
        ok = room != NULL;
        if (ok) {
            text = room;
            memcpy(text, tokens[p->left], a);
            text[a] = ' ';
            memcpy(text + a + 1, tokens[p->right], b);
            ok = pool_add(&texts, text, a + 1 + b, e);
        }
    }
    merges = ok ? pool_list(&texts, e) : NULL;
    bpe *b = merges
                 ? bpe_new("tokenizer training", tokens, s->tokens.table.n, merges, texts.table.n, s->t->lowercase, e)
                 : NULL;
    free(text);
    free(tokens);
    free(merges);
    pool_release(&texts);
    return b;
}

bpe *bpe_trainer_finish(const bpe_trainer *t, size_t vocabulary, uint64_t min_frequency, const char *const *specials,
                        size_t n_specials, err *e)
{
    training s = {.t = t};
    int32_t byte_ids[256];
    bpe *b = NULL;
    int64_t least = min_frequency < 1 ? 1 : min_frequency > INT64_MAX ? INT64_MAX : (int64_t)min_frequency;
    if (vocabulary > INT32_MAX)
        err_set(e, ERR_USAGE, "a vocabulary of %zu tokens is not possible (ids go to %d)", vocabulary, INT32_MAX);
    else if (add_tokens(&s, byte_ids, specials, n_specials, e) && add_words(&s, byte_ids, e) &&
             merge_all(&s, vocabulary, least, e))
        b = build(&s, e);
    training_release(&s);
    return b;
}
