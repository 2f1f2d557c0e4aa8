/* The unpickling machine: its memory, and the loop over opcodes. */
#include "io/pickle.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/pickle_internal.h"

enum { LIMIT = 1 << 28, STACK_LIMIT = 1 << 24, BLOCK = 1 << 16 };

/* ---- memory ---- */

bool pickle_fail(pickle_machine *m, const char *fmt, ...)
{
    char reason[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    return err_set(m->e, ERR_FAILED, "%s: byte %zu: %s%s%s", m->name, m->opcode_at, m->opcode ? m->opcode : "",
                   m->opcode ? ": " : "", reason);
}

void *pickle_take(pickle_machine *m, size_t bytes)
{
    pickle *p = m->p;
    bytes = (bytes + 15) & ~(size_t)15;
    if (bytes > LIMIT || p->taken > LIMIT - bytes) {
        pickle_fail(m, "the pickle's values take more than %d MiB", LIMIT >> 20);
        return NULL;
    }
    if (!p->blocks || p->blocks->size - p->blocks->used < bytes) {
        size_t size = bytes > BLOCK ? bytes : BLOCK;
        pickle_block *b = calloc(1, sizeof *b + size);
        if (!b) {
            err_no_memory(m->e, m->name, sizeof *b + size);
            return NULL;
        }
        b->size = size;
        b->next = p->blocks;
        p->blocks = b;
        p->taken += size;
    }
    void *taken = p->blocks->bytes + p->blocks->used;
    p->blocks->used += bytes;
    return taken;
}

pickle_value *pickle_new(pickle_machine *m, pickle_kind kind)
{
    pickle_value *v = pickle_take(m, sizeof *v);
    if (v)
        v->kind = kind;
    return v;
}

pickle_value *pickle_new_text(pickle_machine *m, pickle_kind kind, const char *text, size_t length)
{
    pickle_value *v = pickle_new(m, kind);
    char *copy = v ? pickle_take(m, length + 1) : NULL;
    if (!copy)
        return NULL;
    if (length)
        memcpy(copy, text, length);
    v->text = copy;
    v->length = length;
    return v;
}

bool pickle_put(pickle_machine *m, pickle_value *v, pickle_value *key, pickle_value *item)
{
    bool keyed = v->kind == PICKLE_DICT || v->kind == PICKLE_OBJECT;
    if (v->n == v->capacity) {
        uint32_t capacity = v->capacity ? 2 * v->capacity : 4;
        pickle_value **items = pickle_take(m, (size_t)capacity * sizeof *items * (keyed ? 2 : 1));
        if (!items)
            return false;
        if (v->n)
            memcpy(items, v->items, v->n * sizeof *items);
        if (v->n && keyed)
            memcpy(items + capacity, v->keys, v->n * sizeof *items);
        v->items = items;
        v->keys = keyed ? items + capacity : NULL;
        v->capacity = capacity;
    }
    if (keyed)
        v->keys[v->n] = key;
    v->items[v->n++] = item;
    return true;
}

bool pickle_grow(pickle_machine *m, void *array, size_t *capacity, size_t n, size_t each)
{
    void *old;
    if (n < *capacity)
        return true;
    if (n >= STACK_LIMIT)
        return pickle_fail(m, "more than %d values at a time", STACK_LIMIT);
    memcpy(&old, array, sizeof old);
    size_t wanted = n < 128 ? 256 : 2 * n;
    void *grown = realloc(old, wanted * each);
    if (!grown)
        return err_no_memory(m->e, m->name, wanted * each);
    memset((char *)grown + *capacity * each, 0, (wanted - *capacity) * each);
    memcpy(array, &grown, sizeof grown);
    *capacity = wanted;
    return true;
}

/* ---- the loop ---- */

static bool take_bytes(pickle_machine *m, uint64_t n, const char **text)
{
    if (n > m->size - m->at)
        return pickle_fail(m, "%llu bytes, where %zu follow (is the file incomplete?)", (unsigned long long)n,
                           m->size - m->at);
    *text = (const char *)m->data + m->at;
    m->at += (size_t)n;
    return true;
}

static bool take_number(pickle_machine *m, int bytes, uint64_t *number)
{
    const char *text = NULL;
    if (!take_bytes(m, (uint64_t)bytes, &text))
        return false;
    *number = 0;
    for (int i = bytes; i-- > 0;)
        *number = *number << 8 | (uint8_t)text[i];
    return true;
}

static bool take_line(pickle_machine *m, const char **text, size_t *length)
{
    const char *start = (const char *)m->data + m->at;
    const char *end = m->at < m->size ? memchr(start, '\n', m->size - m->at) : NULL;
    if (!end)
        return pickle_fail(m, "its line has no end (is the file incomplete?)");
    *text = start;
    *length = (size_t)(end - start);
    m->at += *length + 1;
    return true;
}

static bool take_argument(pickle_machine *m, const pickle_opcode *op, pickle_argument *a)
{
    static const int sizes[] = {
        [ARG_1] = 1, [ARG_2] = 2, [ARG_4] = 4, [ARG_8] = 8, [ARG_BYTES_1] = 1, [ARG_BYTES_4] = 4, [ARG_BYTES_8] = 8};
    if (op->arg == ARG_NONE)
        return true;
    if (op->arg == ARG_LINE || op->arg == ARG_LINES)
        return take_line(m, &a->text[0], &a->length[0]) &&
               (op->arg == ARG_LINE || take_line(m, &a->text[1], &a->length[1]));
    if (!take_number(m, sizes[op->arg], &a->number))
        return false;
    if (op->arg < ARG_BYTES_1)
        return true;
    a->length[0] = (size_t)a->number;
    return take_bytes(m, a->number, &a->text[0]);
}

static bool run(pickle_machine *m)
{
    m->constants = pickle_take(m, 3 * sizeof *m->constants);
    if (!m->constants)
        return false;
    m->constants[1].kind = m->constants[2].kind = PICKLE_BOOL;
    m->constants[2].truth = true;
    while (!m->stopped) {
        m->opcode = NULL;
        m->opcode_at = m->at;
        if (m->at == m->size)
            return pickle_fail(m, "the pickle ends without STOP (is the file incomplete?)");
        const pickle_opcode *op = &pickle_opcodes[m->data[m->at++]];
        pickle_argument a = {0};
        if (!op->run)
            return pickle_fail(m, "opcode 0x%02x is not known (is this a pickle?)", m->data[m->opcode_at]);
        m->opcode = op->name;
        if (!take_argument(m, op, &a) || !op->run(m, &a, op->detail))
            return false;
    }
    return true;
}

pickle *pickle_read(const void *data, size_t size, size_t *used, const char *name, err *e)
{
    pickle *p = calloc(1, sizeof *p);
    if (!p) {
        err_no_memory(e, name, sizeof *p);
        return NULL;
    }
    pickle_machine m = {.p = p, .data = data, .size = size < LIMIT ? size : LIMIT, .name = name, .e = e};
    bool ok = run(&m);
    free(m.stack);
    free(m.memo);
    free(m.marks);
    if (!ok) {
        pickle_free(p);
        return NULL;
    }
    *used = m.at;
    return p;
}

void pickle_free(pickle *p)
{
    for (pickle_block *b = p ? p->blocks : NULL, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    if (p) {
        free(p->classes);
        free(p->persistents);
    }
    free(p);
}

const pickle_value *pickle_root(const pickle *p)
{
    return p->root;
}

const pickle_value *const *pickle_classes(const pickle *p, size_t *n)
{
    *n = p->n_classes;
    return p->classes;
}

const pickle_value *const *pickle_persistents(const pickle *p, size_t *n)
{
    *n = p->n_persistents;
    return p->persistents;
}
