/* What each opcode of a pickle does: a stack, marks and a memo (pickletools in Python's library describes them). */
#include <stdlib.h>
#include <string.h>

#include "io/pickle_internal.h"

/* ---- stack ---- */

static bool push(pickle_machine *m, pickle_value *v)
{
    if (!v || !pickle_grow(m, &m->stack, &m->stack_capacity, m->n_stack, sizeof *m->stack))
        return false;
    m->stack[m->n_stack++] = v;
    return true;
}

/* How many values lie above the last mark: an opcode without a mark of its own reaches no deeper. */
static size_t above(const pickle_machine *m)
{
    return m->n_stack - (m->n_marks ? m->marks[m->n_marks - 1] : 0);
}

static bool need(pickle_machine *m, size_t n)
{
    return above(m) >= n || pickle_fail(m, "it takes %zu values from the stack, which has %zu", n, above(m));
}

/* The values above the last mark, which goes: *first is their place, *n their number. */
static bool pop_mark(pickle_machine *m, pickle_value ***first, size_t *n)
{
    if (!m->n_marks)
        return pickle_fail(m, "there is no mark");
    *n = above(m);
    m->n_stack = m->marks[--m->n_marks];
    *first = m->n_stack + *n ? m->stack + m->n_stack : NULL;
    return true;
}

/* ---- opcodes ---- */

static bool op_mark(pickle_machine *m, const pickle_argument *a, int detail)
{
    (void)a, (void)detail;
    if (!pickle_grow(m, &m->marks, &m->marks_capacity, m->n_marks, sizeof *m->marks))
        return false;
    m->marks[m->n_marks++] = m->n_stack;
    return true;
}

static bool op_stop(pickle_machine *m, const pickle_argument *a, int detail)
{
    (void)a, (void)detail;
    if (!need(m, 1))
        return false;
    m->p->root = m->stack[m->n_stack - 1];
    m->stopped = true;
    return true;
}

static bool op_nothing(pickle_machine *m, const pickle_argument *a, int detail)
{
    (void)m, (void)a, (void)detail;
    return true;
}

static bool op_protocol(pickle_machine *m, const pickle_argument *a, int detail)
{
    (void)detail;
    return a->number <= 5 || pickle_fail(m, "protocol %d is not known (0 to 5 are)", (int)a->number);
}

static bool op_pop(pickle_machine *m, const pickle_argument *a, int detail)
{
    (void)a, (void)detail;
    if (m->n_marks && m->marks[m->n_marks - 1] == m->n_stack) {
        m->n_marks--;
        return true;
    }
    if (!need(m, 1))
        return false;
    m->n_stack--;
    return true;
}

static bool op_pop_mark(pickle_machine *m, const pickle_argument *a, int detail)
{
    (void)a, (void)detail;
    pickle_value **first = NULL;
    size_t n = 0;
    return pop_mark(m, &first, &n);
}

static bool op_dup(pickle_machine *m, const pickle_argument *a, int detail)
{
    (void)a, (void)detail;
    return need(m, 1) && push(m, m->stack[m->n_stack - 1]);
}

static bool op_constant(pickle_machine *m, const pickle_argument *a, int detail)
{
    (void)a;
    return push(m, &m->constants[detail]);
}

static bool push_int(pickle_machine *m, int64_t value)
{
    pickle_value *v = pickle_new(m, PICKLE_INT);
    if (v)
        v->integer = value;
    return push(m, v);
}

/* detail: whether its 32 bits are signed */
static bool op_int(pickle_machine *m, const pickle_argument *a, int detail)
{
    return push_int(m, detail ? (int32_t)(uint32_t)a->number : (int64_t)a->number);
}

static bool op_float(pickle_machine *m, const pickle_argument *a, int detail)
{
    (void)detail;
    pickle_value *v = pickle_new(m, PICKLE_FLOAT);
    uint64_t bits = __builtin_bswap64(a->number); /* big-endian in the file */
    if (v)
        memcpy(&v->number, &bits, sizeof bits);
    return push(m, v);
}

/* detail: 'F', 'I' or 'L' */
static bool op_number_line(pickle_machine *m, const pickle_argument *a, int detail)
{
    char text[64], *end;
    size_t n = a->length[0];
    if (n && detail == 'L' && a->text[0][n - 1] == 'L')
        n--;
    if (!n || n >= sizeof text)
        return pickle_fail(m, "its number has %zu digits", n);
    memcpy(text, a->text[0], n);
    text[n] = 0;
    if (detail == 'I' && (!strcmp(text, "00") || !strcmp(text, "01")))
        return push(m, &m->constants[1 + (text[1] == '1')]);
    if (detail == 'F') {
        pickle_value *v = pickle_new(m, PICKLE_FLOAT);
        if (v)
            v->number = strtod(text, &end);
        return v && (*end ? pickle_fail(m, "no number") : push(m, v));
    }
    int64_t value = strtoll(text, &end, 10);
    if (*end || value == INT64_MIN || value == INT64_MAX)
        return pickle_fail(m, "no integer of 64 bits");
    return push_int(m, value);
}

static bool op_long(pickle_machine *m, const pickle_argument *a, int detail)
{
    (void)detail;
    const uint8_t *bytes = (const uint8_t *)a->text[0];
    size_t n = a->length[0];
    uint64_t value = n && bytes[n - 1] & 0x80 ? UINT64_MAX : 0;
    if (n > 8)
        return push(m, pickle_new_text(m, PICKLE_LONG, a->text[0], n));
    for (size_t i = n; i-- > 0;)
        value = value << 8 | bytes[i];
    return push_int(m, (int64_t)value);
}

/* detail: the kind */
static bool op_text(pickle_machine *m, const pickle_argument *a, int detail)
{
    return push(m, pickle_new_text(m, (pickle_kind)detail, a->text[0], a->length[0]));
}

/* detail: 'S' for a quoted string, 'V' for one with \u escapes */
static bool op_text_line(pickle_machine *m, const pickle_argument *a, int detail)
{
    const char *text = a->text[0];
    size_t n = a->length[0];
    if (detail == 'S') {
        if (n < 2 || (*text != '\'' && *text != '"') || text[n - 1] != *text)
            return pickle_fail(m, "a string without quotes");
        text++;
        n -= 2;
    }
    pickle_value *v = pickle_new(m, PICKLE_STRING);
    char *to = v ? pickle_take(m, 2 * n + 1) : NULL;
    if (!to)
        return false;
    v->length = detail == 'S' ? pickle_unescape(to, text, n) : pickle_unescape_unicode(to, text, n);
    v->text = to;
    return push(m, v);
}

/* ---- containers ---- */

static bool op_empty(pickle_machine *m, const pickle_argument *a, int detail)
{
    (void)a;
    return push(m, pickle_new(m, (pickle_kind)detail));
}

static pickle_value *sequence(pickle_machine *m, pickle_kind kind, pickle_value **from, size_t n)
{
    pickle_value *v = pickle_new(m, kind);
    for (size_t i = 0; v && i < n; i++)
        if (!pickle_put(m, v, NULL, from[i]))
            return NULL;
    return v;
}

/* detail: PICKLE_LIST, PICKLE_TUPLE or PICKLE_SET */
static bool op_from_mark(pickle_machine *m, const pickle_argument *a, int detail)
{
    (void)a;
    pickle_value **first = NULL;
    size_t n = 0;
    return pop_mark(m, &first, &n) && push(m, sequence(m, (pickle_kind)detail, first, n));
}

/* A tuple of the last `detail` values. */
static bool op_tuple(pickle_machine *m, const pickle_argument *a, int detail)
{
    (void)a;
    if (!need(m, (size_t)detail))
        return false;
    m->n_stack -= (size_t)detail;
    return push(m, sequence(m, PICKLE_TUPLE, m->stack + m->n_stack, (size_t)detail));
}

static bool put_pairs(pickle_machine *m, pickle_value *to, pickle_value **from, size_t n)
{
    if (to->kind != PICKLE_DICT && to->kind != PICKLE_OBJECT)
        return pickle_fail(m, "items are set on what is no dict");
    if (n % 2)
        return pickle_fail(m, "a key without a value");
    for (size_t i = 0; i < n; i += 2)
        if (!pickle_put(m, to, from[i], from[i + 1]))
            return false;
    return true;
}

static bool put_values(pickle_machine *m, pickle_value *to, pickle_value **from, size_t n)
{
    if (to->kind != PICKLE_LIST && to->kind != PICKLE_SET && to->kind != PICKLE_OBJECT)
        return pickle_fail(m, "values are added to what is no list");
    for (size_t i = 0; i < n; i++)
        if (!pickle_put(m, to, NULL, from[i]))
            return false;
    return true;
}

static bool op_dict(pickle_machine *m, const pickle_argument *a, int detail)
{
    (void)a, (void)detail;
    pickle_value **first = NULL, *v = pickle_new(m, PICKLE_DICT);
    size_t n = 0;
    return v && pop_mark(m, &first, &n) && put_pairs(m, v, first, n) && push(m, v);
}

/* Adds to the value below: `detail` values, or all above the mark (0, and 1 for pairs). */
static bool op_add(pickle_machine *m, const pickle_argument *a, int detail)
{
    (void)a;
    size_t n = (size_t)detail;
    if (!need(m, n + 1))
        return false;
    m->n_stack -= n;
    pickle_value *to = m->stack[m->n_stack - 1], **from = m->stack + m->n_stack;
    return n == 2 ? put_pairs(m, to, from, n) : put_values(m, to, from, n);
}

static bool op_add_from_mark(pickle_machine *m, const pickle_argument *a, int pairs)
{
    (void)a;
    pickle_value **first = NULL;
    size_t n = 0;
    if (!pop_mark(m, &first, &n) || !need(m, 1))
        return false;
    pickle_value *to = m->stack[m->n_stack - 1];
    return pairs ? put_pairs(m, to, first, n) : put_values(m, to, first, n);
}

/* ---- memo ---- */

static bool op_put(pickle_machine *m, const pickle_argument *a, int detail)
{
    uint64_t at = detail == 'm' ? m->n_memo : a->number;
    if (detail == 'p' && (a->length[0] == 0 || a->length[0] > 9))
        return pickle_fail(m, "no index");
    if (detail == 'p')
        at = strtoull(a->text[0], NULL, 10);
    if (!need(m, 1))
        return false;
    if (at >= m->at) /* indices count up from 0, so none is larger than the file has bytes up to here */
        return pickle_fail(m, "index %llu is out of all order", (unsigned long long)at);
    while (m->memo_capacity <= at)
        if (!pickle_grow(m, &m->memo, &m->memo_capacity, m->memo_capacity, sizeof *m->memo))
            return false;
    m->n_memo += !m->memo[at];
    m->memo[at] = m->stack[m->n_stack - 1];
    return true;
}

static bool op_get(pickle_machine *m, const pickle_argument *a, int detail)
{
    uint64_t at = a->number;
    if (detail == 'g' && (a->length[0] == 0 || a->length[0] > 9))
        return pickle_fail(m, "no index");
    if (detail == 'g')
        at = strtoull(a->text[0], NULL, 10);
    if (at >= m->memo_capacity || !m->memo[at])
        return pickle_fail(m, "nothing is remembered as %llu", (unsigned long long)at);
    return push(m, m->memo[at]);
}

/* ---- classes and records ---- */

static pickle_value *new_class(pickle_machine *m, const char *module, size_t n_module, const char *name, size_t n_name)
{
    pickle *p = m->p;
    pickle_value *v = pickle_new(m, PICKLE_CLASS);
    char *text = v ? pickle_take(m, n_module + n_name + 2) : NULL;
    if (!text || !pickle_grow(m, &p->classes, &p->classes_capacity, p->n_classes, sizeof *p->classes))
        return NULL;
    memcpy(text, module, n_module);
    text[n_module] = '.';
    memcpy(text + n_module + 1, name, n_name);
    v->text = text;
    v->length = n_module + n_name + 1;
    return p->classes[p->n_classes++] = v, v;
}

static bool op_global(pickle_machine *m, const pickle_argument *a, int detail)
{
    (void)detail;
    return push(m, new_class(m, a->text[0], a->length[0], a->text[1], a->length[1]));
}

static bool op_stack_global(pickle_machine *m, const pickle_argument *a, int detail)
{
    (void)a, (void)detail;
    if (!need(m, 2))
        return false;
    pickle_value *module = m->stack[m->n_stack - 2], *name = m->stack[m->n_stack - 1];
    if (module->kind != PICKLE_STRING || name->kind != PICKLE_STRING)
        return pickle_fail(m, "module and name are not strings");
    m->n_stack -= 2;
    return push(m, new_class(m, module->text, module->length, name->text, name->length));
}

/* REDUCE and NEWOBJ: class, args; NEWOBJ_EX (detail 3): class, args, keywords, which are left out. */
static bool op_call(pickle_machine *m, const pickle_argument *a, int detail)
{
    (void)a;
    if (!need(m, (size_t)detail))
        return false;
    m->n_stack -= (size_t)detail;
    return push(m, pickle_call(m, m->stack[m->n_stack], m->stack[m->n_stack + 1]));
}

static bool op_inst(pickle_machine *m, const pickle_argument *a, int detail)
{
    (void)detail;
    pickle_value **first = NULL, *class = new_class(m, a->text[0], a->length[0], a->text[1], a->length[1]);
    size_t n = 0;
    if (!class || !pop_mark(m, &first, &n))
        return false;
    pickle_value *args = sequence(m, PICKLE_TUPLE, first, n);
    return args && push(m, pickle_call(m, class, args));
}

static bool op_obj(pickle_machine *m, const pickle_argument *a, int detail)
{
    (void)a, (void)detail;
    pickle_value **first = NULL;
    size_t n = 0;
    if (!pop_mark(m, &first, &n))
        return false;
    if (!n)
        return pickle_fail(m, "no class");
    pickle_value *class = first[0], *args = sequence(m, PICKLE_TUPLE, first + 1, n - 1);
    return args && push(m, pickle_call(m, class, args));
}

static bool op_build(pickle_machine *m, const pickle_argument *a, int detail)
{
    (void)a, (void)detail;
    if (!need(m, 2))
        return false;
    pickle_value *to = m->stack[m->n_stack - 2];
    if (to->kind != PICKLE_OBJECT && to->kind != PICKLE_DICT && to->kind != PICKLE_LIST && to->kind != PICKLE_SET)
        return pickle_fail(m, "a state is given to what is no record");
    to->state = m->stack[--m->n_stack];
    return true;
}

/* detail: 'P' for an id that is a line of text */
static bool op_persistent(pickle_machine *m, const pickle_argument *a, int detail)
{
    pickle_value *id = NULL;
    if (detail == 'P')
        id = pickle_new_text(m, PICKLE_STRING, a->text[0], a->length[0]);
    else if (need(m, 1))
        id = m->stack[--m->n_stack];
    if (!id)
        return false;
    /* PyTorch before 1.6 wraps a class with its source so: ("module", class, file, source) */
    const char *kind = pickle_text(pickle_at(id, 0));
    if (id->kind == PICKLE_TUPLE && id->n >= 2 && kind && !strcmp(kind, "module"))
        return push(m, id->items[1]);
    pickle *p = m->p;
    pickle_value *v = pickle_new(m, PICKLE_PERSISTENT);
    if (!v || !pickle_grow(m, &p->persistents, &p->persistents_capacity, p->n_persistents, sizeof *p->persistents))
        return false;
    v->args = id;
    p->persistents[p->n_persistents++] = v;
    return push(m, v);
}

static bool op_refused(pickle_machine *m, const pickle_argument *a, int detail)
{
    (void)a, (void)detail;
    return pickle_fail(m, "what it refers to is outside the file");
}

const pickle_opcode pickle_opcodes[256] = {
    ['('] = {"MARK", ARG_NONE, op_mark, 0},
    ['.'] = {"STOP", ARG_NONE, op_stop, 0},
    ['0'] = {"POP", ARG_NONE, op_pop, 0},
    ['1'] = {"POP_MARK", ARG_NONE, op_pop_mark, 0},
    ['2'] = {"DUP", ARG_NONE, op_dup, 0},
    ['F'] = {"FLOAT", ARG_LINE, op_number_line, 'F'},
    ['G'] = {"BINFLOAT", ARG_8, op_float, 0},
    ['I'] = {"INT", ARG_LINE, op_number_line, 'I'},
    ['J'] = {"BININT", ARG_4, op_int, true},
    ['K'] = {"BININT1", ARG_1, op_int, false},
    ['L'] = {"LONG", ARG_LINE, op_number_line, 'L'},
    ['M'] = {"BININT2", ARG_2, op_int, false},
    ['N'] = {"NONE", ARG_NONE, op_constant, 0},
    ['P'] = {"PERSID", ARG_LINE, op_persistent, 'P'},
    ['Q'] = {"BINPERSID", ARG_NONE, op_persistent, 0},
    ['R'] = {"REDUCE", ARG_NONE, op_call, 2},
    ['S'] = {"STRING", ARG_LINE, op_text_line, 'S'},
    ['T'] = {"BINSTRING", ARG_BYTES_4, op_text, PICKLE_STRING},
    ['U'] = {"SHORT_BINSTRING", ARG_BYTES_1, op_text, PICKLE_STRING},
    ['V'] = {"UNICODE", ARG_LINE, op_text_line, 'V'},
    ['X'] = {"BINUNICODE", ARG_BYTES_4, op_text, PICKLE_STRING},
    ['B'] = {"BINBYTES", ARG_BYTES_4, op_text, PICKLE_BYTES},
    ['C'] = {"SHORT_BINBYTES", ARG_BYTES_1, op_text, PICKLE_BYTES},
    ['a'] = {"APPEND", ARG_NONE, op_add, 1},
    ['e'] = {"APPENDS", ARG_NONE, op_add_from_mark, false},
    ['s'] = {"SETITEM", ARG_NONE, op_add, 2},
    ['u'] = {"SETITEMS", ARG_NONE, op_add_from_mark, true},
    ['b'] = {"BUILD", ARG_NONE, op_build, 0},
    ['c'] = {"GLOBAL", ARG_LINES, op_global, 0},
    ['d'] = {"DICT", ARG_NONE, op_dict, 0},
    ['}'] = {"EMPTY_DICT", ARG_NONE, op_empty, PICKLE_DICT},
    ['l'] = {"LIST", ARG_NONE, op_from_mark, PICKLE_LIST},
    [']'] = {"EMPTY_LIST", ARG_NONE, op_empty, PICKLE_LIST},
    ['t'] = {"TUPLE", ARG_NONE, op_from_mark, PICKLE_TUPLE},
    [')'] = {"EMPTY_TUPLE", ARG_NONE, op_empty, PICKLE_TUPLE},
    ['g'] = {"GET", ARG_LINE, op_get, 'g'},
    ['h'] = {"BINGET", ARG_1, op_get, 0},
    ['j'] = {"LONG_BINGET", ARG_4, op_get, 0},
    ['p'] = {"PUT", ARG_LINE, op_put, 'p'},
    ['q'] = {"BINPUT", ARG_1, op_put, 0},
    ['r'] = {"LONG_BINPUT", ARG_4, op_put, 0},
    ['i'] = {"INST", ARG_LINES, op_inst, 0},
    ['o'] = {"OBJ", ARG_NONE, op_obj, 0},
    [0x80] = {"PROTO", ARG_1, op_protocol, 0},
    [0x81] = {"NEWOBJ", ARG_NONE, op_call, 2},
    [0x82] = {"EXT1", ARG_1, op_refused, 0},
    [0x83] = {"EXT2", ARG_2, op_refused, 0},
    [0x84] = {"EXT4", ARG_4, op_refused, 0},
    [0x85] = {"TUPLE1", ARG_NONE, op_tuple, 1},
    [0x86] = {"TUPLE2", ARG_NONE, op_tuple, 2},
    [0x87] = {"TUPLE3", ARG_NONE, op_tuple, 3},
    [0x88] = {"NEWTRUE", ARG_NONE, op_constant, 2},
    [0x89] = {"NEWFALSE", ARG_NONE, op_constant, 1},
    [0x8a] = {"LONG1", ARG_BYTES_1, op_long, 0},
    [0x8b] = {"LONG4", ARG_BYTES_4, op_long, 0},
    [0x8c] = {"SHORT_BINUNICODE", ARG_BYTES_1, op_text, PICKLE_STRING},
    [0x8d] = {"BINUNICODE8", ARG_BYTES_8, op_text, PICKLE_STRING},
    [0x8e] = {"BINBYTES8", ARG_BYTES_8, op_text, PICKLE_BYTES},
    [0x8f] = {"EMPTY_SET", ARG_NONE, op_empty, PICKLE_SET},
    [0x90] = {"ADDITEMS", ARG_NONE, op_add_from_mark, false},
    [0x91] = {"FROZENSET", ARG_NONE, op_from_mark, PICKLE_SET},
    [0x92] = {"NEWOBJ_EX", ARG_NONE, op_call, 3},
    [0x93] = {"STACK_GLOBAL", ARG_NONE, op_stack_global, 0},
    [0x94] = {"MEMOIZE", ARG_NONE, op_put, 'm'},
    [0x95] = {"FRAME", ARG_8, op_nothing, 0},
    [0x96] = {"BYTEARRAY8", ARG_BYTES_8, op_text, PICKLE_BYTES},
    [0x97] = {"NEXT_BUFFER", ARG_NONE, op_refused, 0},
    [0x98] = {"READONLY_BUFFER", ARG_NONE, op_refused, 0},
};
