/* limn tokenize: the token ids of a text.  Reads the tokenizer alone, so it needs no device. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/common.h"
#include "cli/model_input.h"
#include "models/prompt.h"

extern const uint8_t limn_builtin_model[], limn_builtin_model_end[];

static void print_tokens(const tokenizer *b, const int32_t *ids, size_t n, bool json)
{
    json_t *all = json_array();
    for (size_t i = 0; i < n; i++) {
        const char *token = tokenizer_token(b, ids[i]);
        if (!json) {
            printf("%d\t%s\n", (int)ids[i], token ? token : "?");
            continue;
        }
        json_t *t = json_object();
        json_object_set_new(t, "id", json_integer(ids[i]));
        json_object_set_new(t, "token", token ? json_text(token) : json_null());
        json_array_append_new(all, t);
    }
    if (json)
        print_json(json_incref(all));
    json_decref(all);
}

int command_tokenize(const options *o)
{
    err e = {0};
    const char *path = options_text(o, "model", NULL);
    char *own = NULL;
    file_map map = {0};
    gguf *g = NULL;
    tokenizer *b = NULL;
    int32_t *ids = NULL;
    size_t n = 0;
    if (!path)
        g = gguf_open(limn_builtin_model, (size_t)(limn_builtin_model_end - limn_builtin_model), "the built-in model",
                      &e);
    else if (model_input(o, path, &own, &e) && file_map_open(&map, own ? own : path, &e))
        g = gguf_open(map.data, map.size, own ? own : path, &e);
    b = g ? tokenizer_from_gguf(g, &e) : NULL;
    prompt_form form;
    bool ok = b && prompt_form_read(&form, g, &e) && prompt_tokenize(&form, b, o->operands[0], &ids, &n, &e);
    if (ok)
        prompt_warn(&form, b, path ? path : "the built-in model", o->operands[0]);
    if (ok)
        print_tokens(b, ids, n, options_given(o, "json"));
    free(own);
    free(ids);
    tokenizer_free(b);
    gguf_free(g);
    file_map_release(&map);
    return ok ? 0 : report(&e);
}
