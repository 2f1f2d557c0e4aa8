/* Reading SentencePiece's model files: protocol buffers, of which these are a few fields. */
#include "text/spiece.h"

#include <stdlib.h>
#include <string.h>

enum { UNIGRAM = 1, MODEL_PIECE = 1, MODEL_TRAINER, MODEL_NORMALIZER };

/* A message, or what is left of it. */
typedef struct message {
    const uint8_t *at, *end;
} message;

/* A field: its number, and its value as a number, 4 bytes, or bytes. */
typedef struct field {
    uint64_t number, value;
    float real;
    message bytes;
} field;

static bool read_varint(message *m, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; m->at < m->end && shift < 64; shift += 7) {
        uint8_t byte = *m->at++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return true;
    }
    return false;
}

/* The next field; *more goes at the end.  False where the message is damaged. */
static bool next_field(message *m, field *f, bool *more)
{
    uint64_t tag, size;
    *f = (field){0};
    *more = m->at < m->end;
    if (!*more)
        return true;
    if (!read_varint(m, &tag))
        return false;
    f->number = tag >> 3;
    switch (tag & 7) {
    case 0:
        return read_varint(m, &f->value);
    case 2:
        if (!read_varint(m, &size) || size > (uint64_t)(m->end - m->at))
            return false;
        f->bytes = (message){m->at, m->at + size};
        break;
    case 1:
        size = 8;
        break;
    case 5:
        size = 4;
        break;
    default:
        return false;
    }
    if (size > (uint64_t)(m->end - m->at))
        return false;
    if ((tag & 7) == 5)
        memcpy(&f->real, m->at, sizeof f->real);
    m->at += size;
    return true;
}

/* A new string of the field's bytes. */
static char *string_of(message bytes)
{
    size_t n = (size_t)(bytes.end - bytes.at);
    char *text = malloc(n + 1);
    if (text) {
        memcpy(text, bytes.at, n);
        text[n] = 0;
    }
    return text;
}

static bool add_piece(spiece *s, message m)
{
    spiece_piece p = {.type = 1};
    field f;
    bool more;
    if (s->n == s->capacity) {
        size_t capacity = s->capacity ? 2 * s->capacity : 1024;
        spiece_piece *grown = realloc(s->pieces, capacity * sizeof *grown);
        if (!grown)
            return false;
        s->pieces = grown;
        s->capacity = capacity;
    }
    while (next_field(&m, &f, &more) && more) {
        if (f.number == 1 && f.bytes.at && !p.text)
            p.text = string_of(f.bytes);
        else if (f.number == 2)
            p.score = f.real;
        else if (f.number == 3)
            p.type = f.value < 16 ? (int)f.value : 0;
    }
    if (!more && !p.text)
        p.text = strdup("");
    if (more || !p.text) {
        free(p.text);
        return false;
    }
    s->pieces[s->n++] = p;
    return true;
}

static bool read_normalizer(spiece *s, message m)
{
    field f;
    bool more;
    while (next_field(&m, &f, &more) && more) {
        size_t size = (size_t)(f.bytes.end - f.bytes.at);
        if (f.number == 2 && f.bytes.at && size && !s->chars) {
            s->chars = malloc(size);
            if (!s->chars)
                return false;
            memcpy(s->chars, f.bytes.at, size);
            s->chars_size = size;
        } else if (f.number == 3) {
            s->add_prefix = f.value;
        } else if (f.number == 4) {
            s->one_space = f.value;
        }
    }
    return !more;
}

static bool read_trainer(spiece *s, message m)
{
    field f;
    bool more;
    while (next_field(&m, &f, &more) && more)
        if (f.number == 3)
            s->model_type = f.value < 16 ? (int)f.value : 0;
    return !more;
}

bool spiece_read(spiece *s, const void *data, size_t size, const char *name, err *e)
{
    message m = {data, size ? (const uint8_t *)data + size : data};
    field f;
    bool more = true, ok = true;
    *s = (spiece){.model_type = UNIGRAM, .add_prefix = true, .one_space = true};
    while (ok && (ok = next_field(&m, &f, &more)) && more) {
        if (f.number == MODEL_PIECE)
            ok = f.bytes.at && add_piece(s, f.bytes);
        else if (f.number == MODEL_TRAINER)
            ok = f.bytes.at && read_trainer(s, f.bytes);
        else if (f.number == MODEL_NORMALIZER)
            ok = f.bytes.at && read_normalizer(s, f.bytes);
    }
    if (!ok || !s->n)
        return err_set(e, ERR_FAILED, "%s: not a model of SentencePiece, or damaged (download it again)", name);
    return s->model_type == UNIGRAM ||
           err_set(e, ERR_FAILED, "%s: a model of SentencePiece, but no unigram model (kind %d)", name, s->model_type);
}

void spiece_release(spiece *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->pieces[i].text);
    free(s->pieces);
    free(s->chars);
    *s = (spiece){0};
}
