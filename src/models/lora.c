/* Low-rank adapters: their names, those that learn, and their files. */
#include "models/lora.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/os.h"
#include "io/json_file.h"
#include "io/safetensors.h"
#include "models/lora_internal.h"
#include "models/transformers/gpt.h"

/* ---- names ---- */

/* Whether d is LLaMA's blocks, whose layers have the names of that. */
static const gpt *llama_of(const transformer *d)
{
    const gpt *g = d->kind == &transformer_gpt ? (const gpt *)d : NULL;
    return g && g->rotary && g->gated && g->rms ? g : NULL;
}

const char *lora_prefix(const transformer *d)
{
    const gpt *g = llama_of(d);
    return !g ? "" : g->deep_head ? "language_model.model." : "model.";
}

/* The parts of a block's parameter, which are as wide as queries, and as keys and values. */
static const struct {
    const char *ours, *theirs[LOW_RANK_PARTS];
} llama_layers[] = {{"qkv", {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}},
                    {"out", {"self_attn.o_proj"}},
                    {"gate", {"mlp.gate_proj"}},
                    {"up", {"mlp.up_proj"}},
                    {"down", {"mlp.down_proj"}}};
static const struct {
    const char *ours, *theirs;
} llama_heads[] = {{"transformer.head_up.weight", "gen_head.output_mlp_projector"},
                   {"transformer.image_head.weight", "gen_head.vision_head"}};

static int llama_modules(const transformer *d, const param *p, bool heads, lora_module out[LOW_RANK_PARTS])
{
    char layer[32] = "";
    int block = 0, n = 0;
    for (size_t i = 0; heads && llama_of(d)->deep_head && i < sizeof llama_heads / sizeof *llama_heads; i++)
        if (!strcmp(p->name, llama_heads[i].ours)) {
            snprintf(out[0].name, sizeof out[0].name, "%s", llama_heads[i].theirs);
            out[0].n = p->shape[0];
            return 1;
        }
    if (!p->layer || sscanf(p->name, "transformer.block.%d.%31[a-z]", &block, layer) != 2)
        return 0;
    for (size_t i = 0; i < sizeof llama_layers / sizeof *llama_layers; i++)
        if (!strcmp(layer, llama_layers[i].ours))
            for (; n < LOW_RANK_PARTS && llama_layers[i].theirs[n]; n++)
                snprintf(out[n].name, sizeof out[n].name, "layers.%d.%s", block, llama_layers[i].theirs[n]);
    int64_t first = n > 1 ? (int64_t)d->heads * d->head_dim : p->shape[0];
    for (int i = 0; i < n; i++) {
        out[i].n = i ? (p->shape[0] - first) / (n - 1) : first;
        out[i].first = i ? out[i - 1].first + out[i - 1].n : 0;
    }
    return n;
}

int lora_modules(const transformer *d, const param *p, bool all, lora_module out[LOW_RANK_PARTS])
{
    memset(out, 0, LOW_RANK_PARTS * sizeof *out);
    if (d->latents)
        return lora_diffusion_modules(d, p, all, out);
    if (!p->linear || p->nd != 2 || p->fixed) /* fixed: an encoder of texts that training leaves as it is */
        return 0;
    if (llama_of(d))
        return llama_modules(d, p, all, out);
    if (!p->layer)
        return 0;
    snprintf(out[0].name, sizeof out[0].name, "%.*s", (int)(strlen(p->name) - strlen(".weight")), p->name);
    out[0].n = p->shape[0];
    return 1;
}

/* ---- those that learn ---- */

/* The deviation of a's first values: as PEFT has it, but normal: uniform within 1 / sqrt(in); of a U-Net's as
 * diffusers' programs have it. */
static float deviation_of(const lora *l, const param *p)
{
    return l->d->latents ? 1 / (float)l->rank : 1 / sqrtf(3 * (float)p->shape[1]);
}

static bool declare_one(lora *l, const param *p, err *e)
{
    lora_module parts[LOW_RANK_PARTS];
    int n = lora_modules(l->d, p, false, parts);
    low_rank *k = &l->list[l->n];
    if (!n)
        return true;
    *k = (low_rank){.parts = n, .scale = 1};
    for (int i = 0; i < n; i++) {
        k->outputs[i] = parts[i].n;
        if (l->rank > parts[i].n || l->rank > p->shape[1])
            return err_set(
                e, ERR_USAGE,
                "adapters of rank %d: a layer of %lld by %lld numbers has no adapter of that rank (4 to 64 are usual)",
                l->rank, (long long)parts[i].n, (long long)p->shape[1]);
    }
    l->of[l->n++] = p;
    param_table *t = &l->params;
    param_matrix(t, &k->a, (int64_t)n * l->rank, p->shape[1], PARAM_MATRIX, "%.70s.lora_a", p->name);
    if (!t->error.code)
        t->list[t->n - 1].deviation = deviation_of(l, p);
    param_matrix(t, &k->b, p->shape[0], l->rank, PARAM_MATRIX, "%.70s.lora_b", p->name);
    if (!t->error.code)
        t->list[t->n - 1].deviation = 0;
    return true;
}

bool lora_declare(lora *l, const transformer *d, const param_table *base, int rank, bool all, err *e)
{
    *l = (lora){.d = d, .rank = rank};
    l->list = calloc(base->n, sizeof *l->list);
    l->of = calloc(base->n, sizeof *l->of);
    if (!l->list || !l->of)
        return err_no_memory(e, "adapters", base->n * sizeof *l->list);
    for (size_t i = 0; i < base->n; i++)
        if (lora_learns(d, &base->list[i], all) && !declare_one(l, &base->list[i], e))
            return false;
    return true;
}

bool lora_attach(const lora *l, tape *t, err *e)
{
    for (size_t i = 0; i < l->n; i++)
        if (!tape_attach(t, *l->of[i]->to, &l->list[i], e))
            return false;
    return true;
}

void lora_release(lora *l)
{
    params_release(&l->params);
    free(l->list);
    free(l->of);
    *l = (lora){0};
}

/* ---- writing ---- */

/* The name's last part, as target_modules has it. */
static const char *target_of(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

static bool write_config(const lora *l, const char *folder, const char *base_model, err *e)
{
    json_t *targets = json_array();
    for (size_t i = 0; i < l->n; i++) {
        lora_module parts[LOW_RANK_PARTS];
        int n = lora_modules(l->d, l->of[i], false, parts);
        for (int k = 0; k < n; k++) {
            size_t at = 0, there = json_array_size(targets);
            while (at < there && strcmp(json_string_value(json_array_get(targets, at)), target_of(parts[k].name)))
                at++;
            if (at == there)
                json_array_append_new(targets, json_string(target_of(parts[k].name)));
        }
    }
    json_t *base = json_string(file_base_name(base_model)); /* NULL where the name isn't UTF-8 */
    json_t *root =
        json_pack("{s:{}, s:o*, s:s, s:b, s:b, s:i, s:f, s:n, s:s, s:i, s:{}, s:o, s:b, s:b}", "alpha_pattern",
                  "base_model_name_or_path", base, "bias", "none", "fan_in_fan_out", 0, "inference_mode", 1,
                  "lora_alpha", l->rank, "lora_dropout", 0.0, "modules_to_save", "peft_type", "LORA", "r", l->rank,
                  "rank_pattern", "target_modules", targets, "use_dora", 0, "use_rslora", 0);
    char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    file_out f = {0};
    char *path = malloc(strlen(folder) + sizeof LORA_CONFIG + 1);
    bool ok = text && path ? true : err_no_memory(e, LORA_CONFIG, strlen(folder) + 1024);
    if (ok)
        sprintf(path, "%s" LORA_CONFIG, folder);
    ok = ok && file_out_open(&f, path, e) && file_out_write(&f, text, strlen(text), e) && file_out_commit(&f, e);
    file_out_release(&f);
    json_decref(root);
    free(text);
    free(path);
    return ok;
}

/* "base_model.model.layers.0.self_attn.q_proj.lora_A.weight", a new string. */
static char *tensor_name(const transformer *d, const char *module, char part, err *e)
{
    const char *before = d->latents ? "" : "base_model.model.", *prefix = d->latents ? "" : lora_prefix(d);
    const size_t room = strlen(before) + strlen(prefix) + strlen(module) + sizeof ".lora_A.weight";
    char *name = malloc(room);
    if (name)
        snprintf(name, room, "%s%s%s.lora_%c.weight", before, prefix, module, part);
    else
        err_no_memory(e, "adapters", room);
    return name;
}

/* The tensors of adapter i: A and B of each of its modules, which have rows of their own of both. */
static bool list_tensors(const lora *l, size_t i, const float *const *values, file_tensor *list, size_t *n, err *e)
{
    lora_module parts[LOW_RANK_PARTS];
    const low_rank *k = &l->list[i];
    int64_t in = l->of[i]->shape[1], rank = l->rank;
    for (int m = 0; m < lora_modules(l->d, l->of[i], false, parts); m++)
        for (int b = 0; b < 2; b++) {
            file_tensor *t = &list[(*n)++];
            char *name = tensor_name(l->d, parts[m].name, "AB"[b], e);
            if (!name)
                return false;
            *t = (file_tensor){.name = name,
                               .type = DTYPE_F32,
                               .nd = 2,
                               .shape = {b ? k->outputs[m] : rank, b ? rank : in},
                               .data = values[2 * i + (size_t)b] + (b ? parts[m].first * rank : m * rank * in)};
        }
    return true;
}

bool lora_write(const lora *l, const float *const *values, const char *path, const char *base_model, err *e)
{
    const char *name = file_base_name(path);
    char *folder = strndup(path, (size_t)(name - path));
    file_tensor *list = calloc(2 * LOW_RANK_PARTS * l->n, sizeof *list);
    size_t n = 0;
    bool ok = list && folder ? true : err_no_memory(e, "adapters", 2 * LOW_RANK_PARTS * l->n * sizeof *list);
    for (size_t i = 0; ok && i < l->n; i++)
        ok = list_tensors(l, i, values, list, &n, e);
    ok = ok && (l->d->latents || write_config(l, folder, base_model, e)) && safetensors_write(path, list, n, e);
    for (size_t i = 0; list && i < n; i++)
        free((char *)list[i].name);
    free(list);
    free(folder);
    return ok;
}
