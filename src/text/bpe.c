/* Byte-level byte-pair encoding: the vocabulary, merging, and text from ids. */
#include "text/bpe.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/hash.h"
#include "base/rng.h"
#include "text/bpe_internal.h"
#include "text/bpe_split.h"
#include "text/clean.h"

/* ---- hash tables --------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t h)
{
    h = (h ^ (h >> 32)) * 0x9E3779B97F4A7C15u;
    return h ^ (h >> 29);
}

/* The slot of a token, or the free one where it belongs.  The token is text[0..bytes). */
static size_t token_slot(const bpe *b, const char *text, size_t bytes)
{
    uint64_t h = hash_bytes(HASH_BEGIN, text, bytes);
    for (size_t slot = mix(h) & b->token_mask;; slot = (slot + 1) & b->token_mask) {
        int32_t id = b->token_slots[slot];
        if (id < 0 || (strncmp(b->tokens[id], text, bytes) == 0 && b->tokens[id][bytes] == 0))
            return slot;
    }
}

static int32_t find_token(const bpe *b, const char *text, size_t bytes)
{
    return b->token_slots[token_slot(b, text, bytes)];
}

static size_t pair_slot(const bpe *b, int32_t left, int32_t right)
{
    uint64_t h = mix((uint64_t)(uint32_t)left << 32 | (uint32_t)right);
    for (size_t slot = h & b->pair_mask;; slot = (slot + 1) & b->pair_mask) {
        uint32_t rank = b->pair_slots[slot];
        if (rank == NO_RANK || (b->merges[rank].left == left && b->merges[rank].right == right))
            return slot;
    }
}

static uint32_t pair_rank(const bpe *b, int32_t left, int32_t right)
{
    return b->pair_slots[pair_slot(b, left, right)];
}

/* Slots for n entries, all free: every byte 0xFF is -1 as an id and NO_RANK as a rank.  *mask is the size less 1. */
static void *new_slots(size_t n, size_t *mask, err *e)
{
    size_t size = 16;
    while (size / 2 < n)
        size *= 2;
    void *slots = malloc(size * sizeof(uint32_t));
    if (!slots) {
        err_no_memory(e, "tokenizer", size * sizeof(uint32_t));
        return NULL;
    }
    memset(slots, 0xFF, size * sizeof(uint32_t));
    *mask = size - 1;
    return slots;
}

/* ---- building ------------------------------------------------------------------------------------------------ */

/* Copies the strings into one block, pointers first.  kind ("token", "merge") and name are for messages. */
static char **copy_strings(const char *const *strings, size_t n, const char *name, const char *kind, err *e)
{
    size_t bytes = n * sizeof(char *);
    for (size_t i = 0; i < n; i++) {
        if (!bpe_is_utf8(strings[i])) {
            err_set(e, ERR_FAILED, "%s: %s %zu is not UTF-8 (the file is damaged)", name, kind, i);
            return NULL;
        }
        bytes += strlen(strings[i]) + 1;
    }
    char **copy = malloc(bytes ? bytes : 1);
    if (!copy) {
        err_no_memory(e, name, bytes);
        return NULL;
    }
    char *at = (char *)(copy + n);
    for (size_t i = 0; i < n; i++) {
        size_t size = strlen(strings[i]) + 1;
        copy[i] = memcpy(at, strings[i], size);
        at += size;
    }
    return copy;
}

static bool add_tokens(bpe *b, const char *name, const char *const *tokens, size_t n, err *e)
{
    if (n > INT32_MAX)
        return err_set(e, ERR_FAILED, "%s: %zu tokens: more than ids can count", name, n);
    b->tokens = copy_strings(tokens, n, name, "token", e);
    b->token_slots = new_slots(n, &b->token_mask, e);
    b->is_text = calloc(n ? n : 1, sizeof *b->is_text);
    if (!b->tokens || !b->token_slots || !b->is_text)
        return err_no_memory(e, name, n);
    b->n_tokens = n;
    char show[64];
    for (size_t id = 0; id < n; id++) {
        if (!*b->tokens[id])
            return err_set(e, ERR_FAILED, "%s: token %zu is empty (the vocabulary is damaged)", name, id);
        size_t slot = token_slot(b, b->tokens[id], strlen(b->tokens[id]));
        if (b->token_slots[slot] >= 0)
            return err_set(e, ERR_FAILED, "%s: token %zu \"%s\" is also token %" PRId32 " (each token has one id)",
                           name, id, bpe_excerpt(show, b->tokens[id]), b->token_slots[slot]);
        b->token_slots[slot] = (int32_t)id;
    }
    for (int byte = 0; b->byte_level && byte < 256; byte++) {
        uint8_t text[8] = {0};
        size_t k = (size_t)utf8proc_encode_char(bpe_byte_to_char((uint8_t)byte), text);
        int32_t id = find_token(b, (const char *)text, k);
        if (id < 0)
            return err_set(e, ERR_FAILED, "%s: byte 0x%02X has no token \"%s\" (is this a byte-level vocabulary?)",
                           name, (unsigned)byte, (const char *)text);
        b->byte_ids[byte] = id;
        b->is_text[id] = true;
    }
    return true;
}

/* Whether each character of a token stands for a byte. */
static bool in_byte_alphabet(const char *token)
{
    size_t n = strlen(token);
    for (size_t at = 0; at < n;) {
        utf8proc_int32_t c;
        at += (size_t)utf8proc_iterate((const uint8_t *)token + at, (utf8proc_ssize_t)(n - at), &c);
        if (bpe_char_to_byte(c) < 0)
            return false;
    }
    return true;
}

/* Merge `rank` from its text.  joined has room for that text. */
static bool add_merge(bpe *b, const char *name, uint32_t rank, char *joined, err *e)
{
    const char *text = b->merge_texts[rank], *space = strchr(text, ' ');
    char show[64];
    bpe_excerpt(show, text);
    if (!space || space == text || !space[1] || strchr(space + 1, ' '))
        return err_set(e, ERR_FAILED, "%s: merge %" PRIu32 " \"%s\" is not two tokens with a space between", name, rank,
                       show);
    size_t left = (size_t)(space - text), right = strlen(space + 1);
    memcpy(joined, text, left);
    memcpy(joined + left, space + 1, right + 1);
    merge m = {find_token(b, text, left), find_token(b, space + 1, right), find_token(b, joined, left + right)};
    const char *missing = m.left < 0    ? "its first part"
                          : m.right < 0 ? "its second part"
                          : m.join < 0  ? "its result"
                                        : 0;
    if (missing)
        return err_set(e, ERR_FAILED,
                       "%s: merge %" PRIu32 " \"%s\": %s is no token (are vocabulary and merges of one "
                       "tokenizer?)",
                       name, rank, show, missing);
    if (b->byte_level && !in_byte_alphabet(joined))
        return err_set(e, ERR_FAILED, "%s: merge %" PRIu32 " \"%s\" has a character that stands for no byte", name,
                       rank, show);
    b->merges[rank] = m;
    b->is_text[m.join] = true;
    b->pair_slots[pair_slot(b, m.left, m.right)] = rank; /* of a repeated merge the last rank counts, as elsewhere */
    return true;
}

static bool add_merges(bpe *b, const char *name, const char *const *merges, size_t n, err *e)
{
    if (n >= NO_RANK)
        return err_set(e, ERR_FAILED, "%s: %zu merges: more than ranks can count", name, n);
    b->merge_texts = copy_strings(merges, n, name, "merge", e);
    b->pair_slots = new_slots(n, &b->pair_mask, e);
    b->merges = calloc(n ? n : 1, sizeof *b->merges);
    if (!b->merge_texts || !b->pair_slots || !b->merges)
        return err_no_memory(e, name, n * sizeof *b->merges);
    b->n_merges = n;
    size_t longest = 0;
    for (size_t i = 0; i < n; i++) {
        size_t bytes = strlen(merges[i]);
        longest = bytes > longest ? bytes : longest;
    }
    char *joined = malloc(longest + 1);
    if (!joined)
        return err_no_memory(e, name, longest + 1);
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++)
        ok = add_merge(b, name, (uint32_t)i, joined, e);
    free(joined);
    return ok;
}

bpe *bpe_build(const char *token_name, const char *const *tokens, size_t n_tokens, const char *merge_name,
               const char *const *merges, size_t n_merges, bool byte_level, bool lowercase, err *e)
{
    bpe *b = calloc(1, sizeof *b);
    if (!b) {
        err_no_memory(e, token_name, sizeof *b);
        return NULL;
    }
    b->byte_level = byte_level;
    b->lowercase = lowercase;
    if (!add_tokens(b, token_name, tokens, n_tokens, e) || !add_merges(b, merge_name, merges, n_merges, e)) {
        bpe_free(b);
        return NULL;
    }
    return b;
}

bpe *bpe_new(const char *name, const char *const *tokens, size_t n_tokens, const char *const *merges, size_t n_merges,
             bool lowercase, err *e)
{
    return bpe_build(name, tokens, n_tokens, name, merges, n_merges, true, lowercase, e);
}

void bpe_free(bpe *b)
{
    if (!b)
        return;
    added_free(b->added);
    pretokens_free(b->splits);
    free(b->tokens);
    free(b->merge_texts);
    free(b->merges);
    free(b->is_text);
    free(b->token_slots);
    free(b->pair_slots);
    free(b);
}

bool bpe_add(bpe *b, const char *name, const int32_t *ids, size_t n, err *e)
{
    const char **texts = malloc((n ? n : 1) * sizeof *texts);
    if (!texts)
        return err_no_memory(e, name, n * sizeof *texts);
    for (size_t i = 0; i < n; i++)
        texts[i] = b->tokens[ids[i]];
    b->added = added_new(name, texts, ids, n, e);
    free(texts);
    return b->added != NULL;
}

size_t bpe_size(const bpe *b)
{
    return b->n_tokens;
}

const char *bpe_token(const bpe *b, int32_t id)
{
    return id >= 0 && (size_t)id < b->n_tokens ? b->tokens[id] : NULL;
}

int32_t bpe_find(const bpe *b, const char *token)
{
    return find_token(b, token, strlen(token));
}

/* ---- merging ------------------------------------------------------------------------------------------------- */

/* A token of the piece in work, in a list by position.  rank: of the merge with the next one; NO_RANK where there is
 * none, and for tokens that were merged away. */
typedef struct symbol {
    int32_t id;
    int32_t previous, next; /* -1 at the ends */
    uint32_t rank;
} symbol;

/* Candidates are (rank << 32 | position) in a binary heap, so the lowest rank comes first and of equals the leftmost.
 * Entries are not removed when a merge changes their pair; they are known by a rank that is no longer the symbol's. */
typedef struct merger {
    const bpe *b;
    symbol *symbols; /* [capacity] */
    uint64_t *heap;  /* [2 capacity]: a pair each at first, and each merge takes one and adds at most two */
    size_t capacity, heap_size;
    const bpe_dropout *dropout; /* NULL: none */
    uint32_t drawn;             /* random numbers so far */
    uint64_t *left_out;         /* [2 capacity], with dropout: candidates that wait for the next merge */
    size_t n_left_out;
} merger;

static void heap_push(merger *m, uint64_t key)
{
    size_t i = m->heap_size++;
    for (; i > 0 && m->heap[(i - 1) / 2] > key; i = (i - 1) / 2)
        m->heap[i] = m->heap[(i - 1) / 2];
    m->heap[i] = key;
}

static uint64_t heap_pop(merger *m)
{
    uint64_t top = m->heap[0], key = m->heap[--m->heap_size];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < m->heap_size; i = child) {
        if (child + 1 < m->heap_size && m->heap[child + 1] < m->heap[child])
            child++;
        if (m->heap[child] >= key)
            break;
        m->heap[i] = m->heap[child];
    }
    m->heap[i] = key;
    return top;
}

/* Looks up the merge of the symbol at a position with its next one. */
static void rank_symbol(merger *m, int32_t at)
{
    symbol *s = &m->symbols[at];
    s->rank = s->next < 0 ? NO_RANK : pair_rank(m->b, s->id, m->symbols[s->next].id);
    if (s->rank != NO_RANK)
        heap_push(m, (uint64_t)s->rank << 32 | (uint32_t)at);
}

/* Whether dropout leaves the candidate out of this merge. */
static bool leave_out(merger *m, uint64_t key)
{
    const bpe_dropout *d = m->dropout;
    if (!d || !(d->share >= 1 || rng_uniform(d->seed, d->stream, d->position, m->drawn++) < d->share))
        return false;
    m->left_out[m->n_left_out++] = key;
    return true;
}

static bool reserve(merger *m, size_t bytes, err *e)
{
    if (m->symbols && bytes <= m->capacity)
        return true;
    size_t capacity = bytes < 256 ? 256 : bytes;
    free(m->symbols);
    free(m->heap);
    m->capacity = 0;
    m->symbols = malloc(capacity * sizeof *m->symbols);
    m->heap = malloc(2 * capacity * sizeof *m->heap);
    free(m->left_out);
    m->left_out = m->dropout ? malloc(2 * capacity * sizeof *m->left_out) : NULL;
    if (!m->symbols || !m->heap || (m->dropout && !m->left_out)) {
        err_no_memory(e, "tokenizer", 2 * capacity * sizeof *m->symbols);
        return false;
    }
    m->capacity = capacity;
    return true;
}

/* Merges the first `count` symbols, whose ids are set, and appends what is left; O(count log count). */
static void merge_symbols(merger *m, int32_t count, int32_t *ids, size_t *n)
{
    symbol *s = m->symbols;
    for (int32_t i = 0; i < count; i++)
        s[i] = (symbol){s[i].id, i - 1, i + 1 < count ? i + 1 : -1, NO_RANK};
    m->heap_size = m->n_left_out = 0;
    for (int32_t i = 0; i < count; i++)
        rank_symbol(m, i);
    while (m->heap_size) {
        uint64_t key = heap_pop(m);
        int32_t at = (int32_t)(key & UINT32_MAX);
        if (s[at].rank != key >> 32 || leave_out(m, key))
            continue;
        int32_t gone = s[at].next;
        s[at].id = m->b->merges[s[at].rank].join;
        s[at].next = s[gone].next;
        s[gone].rank = NO_RANK;
        if (s[at].next >= 0)
            s[s[at].next].previous = at;
        rank_symbol(m, at);
        if (s[at].previous >= 0)
            rank_symbol(m, s[at].previous);
        while (m->n_left_out)
            heap_push(m, m->left_out[--m->n_left_out]);
    }
    for (int32_t i = count > 0 ? 0 : -1; i >= 0; i = s[i].next)
        ids[(*n)++] = s[i].id;
}

bool bpe_merge(const bpe *b, int32_t *ids, size_t *n, err *e)
{
    merger m = {.b = b};
    size_t count = *n;
    bool ok = reserve(&m, count, e);
    if (ok) {
        for (size_t i = 0; i < count; i++)
            m.symbols[i].id = ids[i];
        *n = 0;
        merge_symbols(&m, (int32_t)count, ids, n);
    }
    free(m.symbols);
    free(m.heap);
    return ok;
}

/* ---- text ---------------------------------------------------------------------------------------------------- */

/* A text that becomes ids. */
typedef struct encoding {
    merger m;
    int32_t *ids;
    size_t n, room;
} encoding;

/* Room for so many ids more. */
static bool make_room(encoding *c, size_t more, err *e)
{
    size_t room = c->n + more;
    if (room <= c->room)
        return true;
    room = room < 2 * c->room ? 2 * c->room : room;
    int32_t *ids = realloc(c->ids, room * sizeof *ids);
    if (!ids)
        return err_no_memory(e, "text", room * sizeof *ids);
    c->ids = ids;
    c->room = room;
    return true;
}

/* Appends the ids of one piece. */
static bool encode_piece(void *context, const char *piece, size_t bytes, err *e)
{
    encoding *c = context;
    merger *m = &c->m;
    if (!reserve(m, bytes, e) || !make_room(c, bytes, e)) /* a token is at least a byte */
        return false;
    for (size_t i = 0; i < bytes; i++)
        m->symbols[i].id = m->b->byte_ids[(uint8_t)piece[i]];
    merge_symbols(m, (int32_t)bytes, c->ids, &c->n);
    return true;
}

static bool begin_with_space(char **text, size_t *bytes, err *e)
{
    if (!*bytes || **text == ' ')
        return true;
    char *longer = realloc(*text, *bytes + 2);
    if (!longer)
        return err_no_memory(e, "text", *bytes + 2);
    memmove(longer + 1, longer, *bytes + 1);
    *longer = ' ';
    *text = longer;
    ++*bytes;
    return true;
}

/* The text as it is split: made plain where the tokenizer is limn's own, composed and in small letters where it says
 * so. */
static char *prepare(const bpe *b, const char *text, size_t *bytes, err *e)
{
    if (!b->clean && !b->nfc)
        return bpe_normalise(text, b->lowercase, bytes, e);
    char *plain = (b->clean ? clean_text : clean_compose)(text, bytes, e);
    if (!plain || !b->lowercase)
        return plain;
    char *low = bpe_normalise(plain, true, bytes, e);
    free(plain);
    return low;
}

/* Appends the ids of a text without added tokens. */
static bool encode_text(encoding *c, const char *text, err *e)
{
    const bpe *b = c->m.b;
    size_t bytes = 0;
    char *in = prepare(b, text, &bytes, e);
    bool ok = in != NULL && (!b->space_first || begin_with_space(&in, &bytes, e));
    if (ok && bytes > INT32_MAX)
        ok = err_set(e, ERR_FAILED, "text: %zu bytes are too many for one text (split it)", bytes);
    if (ok && b->splits)
        ok = pretokens_split(b->splits, in, bytes, encode_piece, c, e);
    for (size_t at = 0, piece; ok && !b->splits && at < bytes; at += piece) {
        piece = bpe_piece_bytes(in + at, bytes - at);
        ok = encode_piece(c, in + at, piece, e);
    }
    free(in);
    return ok;
}

/* Appends the ids of a text: of added tokens, and of what is between them. */
static bool encode_all(encoding *c, const char *text, err *e)
{
    const bpe *b = c->m.b;
    size_t bytes = strlen(text), before, size;
    int32_t id = 0;
    if (!b->added)
        return encode_text(c, text, e);
    char *part = malloc(bytes + 1);
    bool ok = part || err_no_memory(e, "text", bytes + 1);
    for (size_t at = 0; ok && at < bytes; at += before + size) {
        size = added_find(b->added, text + at, bytes - at, &before, &id);
        memcpy(part, text + at, before);
        part[before] = 0;
        ok = (!before || encode_text(c, part, e)) && (!size || make_room(c, 1, e));
        if (ok && size)
            c->ids[c->n++] = id;
    }
    free(part);
    return ok;
}

bool bpe_encode(const bpe *b, const char *text, int32_t **ids, size_t *n, err *e)
{
    return bpe_encode_dropout(b, text, NULL, ids, n, e);
}

bool bpe_encode_dropout(const bpe *b, const char *text, const bpe_dropout *d, int32_t **ids, size_t *n, err *e)
{
    encoding c = {.m = {.b = b, .dropout = d && d->share > 0 ? d : NULL}};
    bool ok = encode_all(&c, text, e);
    free(c.m.symbols);
    free(c.m.heap);
    free(c.m.left_out);
    int32_t *fitted = ok && c.n ? realloc(c.ids, c.n * sizeof *fitted) : NULL;
    if (!ok || !c.n) {
        free(c.ids);
        c.ids = NULL;
    }
    *ids = fitted ? fitted : c.ids;
    *n = ok ? c.n : 0;
    return ok;
}

char *bpe_decode(const bpe *b, const int32_t *ids, size_t n, err *e)
{
    size_t room = 1;
    for (size_t i = 0; i < n; i++) {
        const char *token = bpe_token(b, ids[i]);
        if (!token) {
            err_set(e, ERR_FAILED, "text ids: %" PRId32 " at position %zu is outside 0..%zu (is this the right model?)",
                    ids[i], i, b->n_tokens - 1);
            return NULL;
        }
        size_t bytes = strlen(token); /* at least one for each byte it stands for */
        room = room <= SIZE_MAX - bytes ? room + bytes : SIZE_MAX;
    }
    uint8_t *bytes = malloc(room);
    if (!bytes) {
        err_no_memory(e, "text ids", room);
        return NULL;
    }
    size_t written = 0;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *token = (const uint8_t *)b->tokens[ids[i]];
        utf8proc_int32_t c;
        for (; b->is_text[ids[i]] && *token; token += utf8proc_iterate(token, -1, &c), written++) {
            utf8proc_iterate(token, -1, &c);
            bytes[written] = (uint8_t)bpe_char_to_byte(c);
        }
    }
    char *text = bpe_repair(bytes, written, e);
    free(bytes);
    return text;
}
