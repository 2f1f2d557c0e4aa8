/* SentencePiece's unigram models as HuggingFace's tokenizers has them, tokenizer.json. */
#include <stdlib.h>
#include <string.h>

#include "io/json_file.h"
#include "text/spiece.h"
#include "text/unigram.h"

/* *n bytes of text in base 64 (RFC 4648), new memory; NULL where it is none, or there is no memory. */
static uint8_t *from_base64(const char *text, size_t *n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t *bytes = malloc(strlen(text) / 4 * 3 + 3);
    uint32_t bits = 0;
    *n = 0;
    for (size_t i = 0; bytes && text[i] && text[i] != '='; i++) {
        const char *digit = strchr(digits, text[i]);
        if (!digit) {
            free(bytes);
            return NULL;
        }
        bits = bits << 6 | (uint32_t)(digit - digits);
        if (i % 4)
            bytes[(*n)++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
    return bytes;
}

/* The table of replacements, which may stand in a list of normalizers. */
static bool read_chars(spiece *s, const json_t *normalizer)
{
    const char *text = json_string_value(json_object_get(normalizer, "precompiled_charsmap"));
    const json_t *list = json_object_get(normalizer, "normalizers"), *one;
    size_t i;
    json_array_foreach(list, i, one) if (!text) text = json_string_value(json_object_get(one, "precompiled_charsmap"));
    if (!text)
        return true;
    s->chars = from_base64(text, &s->chars_size);
    return s->chars;
}

static bool read_pieces(spiece *s, const json_t *vocab, const json_t *unknown)
{
    size_t i, n = json_array_size(vocab);
    const json_t *one;
    s->pieces = calloc(n + 1, sizeof *s->pieces);
    s->capacity = n + 1;
    if (!s->pieces || !n)
        return false;
    json_array_foreach(vocab, i, one)
    {
        const char *text = json_string_value(json_array_get(one, 0));
        const json_t *score = json_array_get(one, 1);
        if (!text || !json_is_number(score) || !(s->pieces[i].text = strdup(text)))
            return false;
        s->pieces[i].score = (float)json_number_value(score);
        s->pieces[i].type =
            json_is_integer(unknown) && json_integer_value(unknown) == (json_int_t)i ? PIECE_UNKNOWN : PIECE_NORMAL;
        s->n = i + 1;
    }
    return true;
}

/* Tokens that a text names: of their ids, behind all others where these go on. */
static bool read_added(spiece *s, const json_t *added)
{
    size_t i;
    const json_t *one;
    json_array_foreach(added, i, one)
    {
        const char *text = json_string_value(json_object_get(one, "content"));
        const json_t *id = json_object_get(one, "id");
        if (!text || !json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > (json_int_t)s->n)
            return false;
        size_t at = (size_t)json_integer_value(id);
        if (at == s->n) {
            spiece_piece *grown = realloc(s->pieces, (s->n + 1) * sizeof *grown);
            char *own = grown ? strdup(text) : NULL;
            if (grown)
                s->pieces = grown;
            if (!own)
                return false;
            s->pieces[s->n++] = (spiece_piece){.text = own};
        } else if (strcmp(s->pieces[at].text, text) != 0) {
            return false;
        }
        if (s->pieces[at].type != PIECE_UNKNOWN)
            s->pieces[at].type = PIECE_CONTROL;
    }
    return true;
}

bool spiece_read_json(spiece *s, const char *path, err *e)
{
    *s = (spiece){.model_type = 1, .add_prefix = true, .one_space = true};
    json_t *root = json_file_load(path, 0, "a tokenizer is a JSON object", e);
    if (!root)
        return false;
    const json_t *model = json_object_get(root, "model"), *type = json_object_get(model, "type");
    bool right = json_is_string(type) && !strcmp(json_string_value(type), "Unigram");
    bool ok = right && read_pieces(s, json_object_get(model, "vocab"), json_object_get(model, "unk_id")) &&
              read_added(s, json_object_get(root, "added_tokens")) &&
              read_chars(s, json_object_get(root, "normalizer"));
    json_decref(root);
    return ok || err_set(e, ERR_FAILED, "%s: %s", path,
                         right ? "a unigram model, but damaged (download it again)"
                               : "no unigram model of SentencePiece (T5's is one)");
}
