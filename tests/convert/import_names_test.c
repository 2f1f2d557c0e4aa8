/* Checkpoints as they lie around: behind prefixes and in dicts of dicts, with averaged weights, optimisers and losses
 * beside the model, of every family, as PyTorch's files and as safetensors.  What limn makes of them is, byte for byte,
 * what it makes of the bare model.  Then values that no model should have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "checks.h"
#include "convert/convert.h"
#include "golden_checkpoint.h"
#include "golden_tensors.h"
#include "support.h"

#define GOLDEN TEST_DATA "/golden/"

static char said[4096]; /* what was logged since it was emptied */

static void keep(void *context, log_level level, const char *line)
{
    (void)context;
    if (level <= LOG_WARNING)
        snprintf(said + strlen(said), sizeof said - strlen(said), "%s\n", line);
}

/* ---- the families ----------------------------------------------------------------------------------------------- */

/* limn's own twin has its sizes in config.json: import_test.c has that. */
static const struct model {
    const char *name, *files[3], *settings[4], *tokenizer, *config;
} models[] = {
    {"openai-dvae",
     {GOLDEN "openai_dvae/encoder.pkl", GOLDEN "openai_dvae/decoder.pkl"},
     {"image_size=32"},
     NULL,
     NULL},
    {"dalle-pytorch VAE", {GOLDEN "dalle_pytorch/vae.pt"}, {"image_size=32"}, NULL, NULL},
    {"dalle-pytorch DALLE", {GOLDEN "dalle_pytorch/dalle_full.pt"}, {"heads=2"}, NULL, NULL},
    {"dalle-pytorch CLIP", {GOLDEN "dalle_pytorch/clip.pt"}, {NULL}, NULL, NULL},
    {"dalle-mini",
     {GOLDEN "min_dalle/encoder.pt", GOLDEN "min_dalle/decoder.pt", GOLDEN "min_dalle/detoker.pt"},
     {"heads=6"},
     GOLDEN "min_dalle",
     NULL},
    {"mindalle",
     {GOLDEN "minDALL-E/stage1_last.ckpt", GOLDEN "minDALL-E/stage2_last.ckpt"},
     {"heads=2"},
     GOLDEN "minDALL-E/tokenizer",
     NULL},
    {"rudalle", {GOLDEN "rudalle/pytorch_model_v2.bin", GOLDEN "rudalle/vqgan_gumbel.ckpt"}, {"heads=3"}, NULL, NULL},
    {"taming", {GOLDEN "minDALL-E/stage1_last.ckpt"}, {"image_size=32"}, NULL, NULL},
    {"taming, wavelet", {GOLDEN "rudalle/vqgan_dwt.safetensors"}, {"image_size=32"}, NULL, NULL},
    {"clip, OpenAI", {TEST_DATA "/clip/openai.pt"}, {NULL}, NULL, NULL},
    {"clip, HuggingFace",
     {TEST_DATA "/clip/huggingface/model.safetensors"},
     {NULL},
     NULL,
     TEST_DATA "/clip/huggingface/config.json"},
    {"janus",
     {GOLDEN "janus_pro/pytorch_model.bin"},
     {"roles=pro"},
     GOLDEN "janus_pro",
     GOLDEN "janus_pro/config.json"},
    {"simplear",
     {GOLDEN "simplear/model.safetensors", GOLDEN "simplear/decoder.jit"},
     {"image_size=48"},
     GOLDEN "simplear",
     GOLDEN "simplear/config.json"},
};

static size_t count_files(const struct model *m)
{
    size_t n = 0;
    while (n < COUNT(m->files) && m->files[n])
        n++;
    return n;
}

/* The request for files of this process: FOLDER/0.pt and so on. */
static bool convert_files(const struct model *m, const char *const *files, const char *extra, const char *to, err *e)
{
    const char *settings[6];
    import_request q = {.inputs = files, .n_inputs = count_files(m), .output = to, .tokenizer = m->tokenizer};
    while (q.n_settings < COUNT(m->settings) && m->settings[q.n_settings]) {
        settings[q.n_settings] = m->settings[q.n_settings];
        q.n_settings++;
    }
    if (extra)
        settings[q.n_settings++] = extra;
    q.settings = settings;
    *said = 0;
    unlink(support_path("config.json"));
    if (m->config)
        assert_int_equal(symlink(m->config, support_path("config.json")), 0);
    return import_convert(&q, e);
}

static const char *file_path(size_t i, const char *ending)
{
    char name[64];
    snprintf(name, sizeof name, "part%zu%s", i, ending);
    return support_path(name);
}

/* What limn makes of the model's tensors under their bare names. */
static const char *make_plain(const struct model *m, const char *ending)
{
    const char *files[3] = {0}, *to = support_path("plain.gguf");
    err e = {0};
    for (size_t i = 0; i < count_files(m); i++) {
        saved_list s = {0};
        saved_load(&s, m->files[i], "");
        files[i] = file_path(i, ending);
        saved_write(files[i], &s);
        saved_free(&s);
    }
    if (!convert_files(m, files, NULL, to, &e))
        fail_msg("%s: %s", m->name, e.text);
    return to;
}

/* ---- prefixes and dicts ----------------------------------------------------------------------------------------- */

/* A tensor that an optimiser keeps for each parameter, and more that training leaves. */
static void add_training(saved_list *s, const saved_list *of)
{
    for (size_t i = 0; i < 3 && i < of->n; i++) {
        char name[64];
        snprintf(name, sizeof name, "%zu|exp_avg", i);
        saved_add(s, "optimizer|state|", name, of->list[i].nd, of->list[i].shape, NULL);
    }
    saved_add(s, "lr_schedulers|", "step", 1, (int64_t[]){1}, NULL);
}

static void check_wrapped(const struct model *m, const char *plain, const char *prefix, bool training,
                          const char *ending)
{
    const char *files[3] = {0}, *to = support_path("wrapped.gguf");
    err e = {0};
    for (size_t i = 0; i < count_files(m); i++) {
        saved_list s = {0}, bare = {0};
        saved_load(&bare, m->files[i], "");
        saved_load(&s, m->files[i], prefix);
        if (training)
            add_training(&s, &bare);
        files[i] = file_path(i, ending);
        saved_write(files[i], &s);
        saved_free(&s);
        saved_free(&bare);
    }
    if (!convert_files(m, files, NULL, to, &e))
        fail_msg("%s behind '%s', %s: %s", m->name, prefix, ending, e.text);
    if (!support_same_files(plain, to))
        fail_msg("%s behind '%s', %s: another model", m->name, prefix, ending);
    if (training &&
        (!strstr(said, "left out") || (!strstr(m->name, "wavelet") && !strstr(said, "optimizer.state.0.exp_avg"))))
        fail_msg("%s: %s", m->name, said);
}

static void prefixes_and_dicts_change_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *prefix;
        bool training;
    } wraps[] = {
        {"module.", false},
        {"_orig_mod.module.", false},
        {"net.", false},
        {"a.name.of.no.list.", false},
        {"state_dict|module.model.", false},
        {"checkpoint|model_state_dict|", true},
        {"params|generator|_orig_mod.", true},
        {"module|", true},
    };
    static const char *const endings[] = {".pt", ".safetensors"};
    for (size_t i = 0; i < COUNT(models); i++) {
        const char *plain = make_plain(&models[i], ".pt");
        for (size_t k = 0; k < COUNT(wraps); k++)
            check_wrapped(&models[i], plain, wraps[k].prefix, wraps[k].training, endings[(i + k) % 2]);
    }
}

/* extra: a setting more, or NULL. */
static bool convert_file(const char *from, const json_t *set, const char *extra, const char *to, err *e)
{
    const char *settings[8];
    import_request q = {.inputs = &from, .n_inputs = 1, .output = to, .settings = settings};
    for (size_t i = 0; i < json_array_size(set); i++)
        settings[q.n_settings++] = json_string_value(json_array_get(set, i));
    if (extra)
        settings[q.n_settings++] = extra;
    return import_convert(&q, e);
}

/* taming-transformers' and LlamaGen's GPTs, codecs of all layouts: those that tests make from a description. */
static void prefixes_change_nothing_of_described_models(void **state)
{
    (void)state;
    static const char *const lists[] = {TEST_DATA "/gpts.json", TEST_DATA "/codecs.json"}, *const prefixes[] = {
                                                                                               "module._orig_mod.",
                                                                                               "state_dict|net.",
                                                                                               "model|",
                                                                                               "params|module."};
    unlink(support_path("config.json"));
    for (size_t l = 0; l < COUNT(lists); l++) {
        json_t *list = json_load_file(lists[l], 0, NULL), *c;
        size_t i;
        assert_non_null(list);
        json_array_foreach(list, i, c)
        {
            const json_t *tensors = json_object_get(c, "tensors"), *set = json_object_get(c, "set");
            const char *name = json_string_value(json_object_get(c, "name")), *prefix = prefixes[i % COUNT(prefixes)];
            const char *from = file_path(0, ".safetensors"), *wrapped = file_path(1, i % 2 ? ".pt" : ".safetensors");
            const char *extra =
                l == 0 && strstr(name, "llamagen") ? "image_size=256" : NULL; /* its codec isn't there */
            saved_list s = {0};
            err e = {0};
            if (!tensors)
                continue;
            golden_write_tensors(from, tensors, NULL, NULL);
            if (!convert_file(from, set, extra, support_path("plain.gguf"), &e))
                fail_msg("%s: %s", name, e.text);
            saved_load(&s, from, prefix);
            saved_write(wrapped, &s);
            saved_free(&s);
            if (!convert_file(wrapped, set, extra, support_path("wrapped.gguf"), &e))
                fail_msg("%s behind %s: %s", name, prefix, e.text);
            if (!support_same_files(support_path("plain.gguf"), support_path("wrapped.gguf")))
                fail_msg("%s behind %s: another model", name, prefix);
        }
        json_decref(list);
    }
}

/* Compilers and sharders wrap layers, too. */
static void parts_of_names_that_wrappers_put_in_are_dropped(void **state)
{
    (void)state;
    const struct model *m = &models[2];
    const char *plain = make_plain(m, ".pt"), *to = support_path("wrapped.gguf");
    saved_list s = {0}, inner = {0};
    err e = {0};
    saved_load(&s, m->files[0], "");
    for (size_t i = 0; i < s.n; i++) {
        const char *name = s.list[i].name, *dot = strchr(name, '.');
        char wrapped[256];
        snprintf(wrapped, sizeof wrapped, "%.*s.%s%s", (int)(dot - name), name, i % 2 ? "_orig_mod." : "module.",
                 dot + 1);
        saved_add(&inner, "", wrapped, s.list[i].nd, s.list[i].shape, s.list[i].values);
    }
    const char *files[3] = {file_path(0, ".safetensors")};
    saved_write(files[0], &inner);
    if (!convert_files(m, files, NULL, to, &e))
        fail_msg("%s", e.text);
    assert_true(support_same_files(plain, to));
    saved_free(&s);
    saved_free(&inner);
}

/* Both networks of minDALL-E, and all three of DALL-E Mini, in one file with a prefix each. */
static void networks_of_one_file_have_prefixes_of_their_own(void **state)
{
    (void)state;
    static const char *const prefixes[] = {"first.module.", "second.", "third|_orig_mod."};
    for (size_t i = 4; i < 7; i++) {
        const char *plain = make_plain(&models[i], ".pt"), *to = support_path("wrapped.gguf");
        struct model one = models[i];
        saved_list s = {0};
        err e = {0};
        for (size_t k = 0; k < count_files(&models[i]); k++) {
            saved_load(&s, models[i].files[k], prefixes[k]);
            if (k)
                one.files[k] = NULL;
        }
        for (int torch = 0; torch < 2; torch++) {
            const char *files[3] = {file_path(0, torch ? ".pt" : ".safetensors")};
            saved_write(files[0], &s);
            if (!convert_files(&one, files, NULL, to, &e))
                fail_msg("%s: %s", one.name, e.text);
            assert_true(support_same_files(plain, to));
        }
        saved_free(&s);
    }
}

/* A LLaMA's layers are in "model.", and its head is beside. */
static void heads_beside_a_network_are_its_own(void **state)
{
    (void)state;
    const struct model *m = &models[COUNT(models) - 1];
    const char *plain = make_plain(m, ".safetensors"), *to = support_path("beside.gguf"),
               *table = "embed_tokens.weight";
    for (int i = 0; i < 4; i++) {
        static const char *const prefixes[] = {"", "module.", "state_dict|", "a.b."};
        const char *files[3] = {support_path("head.safetensors"), file_path(1, ".safetensors")};
        saved_list s = {0};
        err e = {0};
        saved_load(&s, m->files[0], prefixes[i]);
        for (size_t k = 0, n = s.n; k < n; k++)
            if (strstr(s.list[k].name, table)) {
                saved_tensor t = s.list[k]; /* the list moves */
                saved_add(&s, prefixes[i], "lm_head.weight", 2, t.shape, t.values);
            }
        saved_write(files[0], &s);
        saved_free(&s);
        if (!convert_files(m, files, NULL, to, &e))
            fail_msg("lm_head behind '%s': %s", prefixes[i], e.text);
        assert_true(support_same_files(plain, to));
    }
}

/* ---- averaged weights ------------------------------------------------------------------------------------------- */

/* raw.NAME holds other numbers than the model's, and average.NAME those of the model. */
static void save_averages(const char *path, const struct model *m, const char *raw, const char *average, bool no_dots)
{
    saved_list s = {0}, all = {0};
    saved_load(&s, m->files[0], "");
    for (size_t i = 0; i < s.n; i++)
        saved_add(&all, raw, s.list[i].name, s.list[i].nd, s.list[i].shape,
                  strstr(s.list[i].name, "pos_emb") ? s.list[i].values : NULL);
    for (size_t i = 0; i < s.n; i++) {
        char name[256];
        size_t n = 0;
        for (const char *p = s.list[i].name; *p; p++)
            if (!no_dots || *p != '.')
                name[n++] = *p;
        name[n] = 0;
        saved_add(&all, average, name, s.list[i].nd, s.list[i].shape, s.list[i].values);
    }
    saved_add(&all, average, "num_updates", 1, (int64_t[]){1}, NULL);
    saved_write(path, &all);
    saved_free(&s);
    saved_free(&all);
}

static void averaged_weights_are_preferred(void **state)
{
    (void)state;
    static const struct {
        const char *raw, *average;
        bool no_dots;
    } forms[] = {
        {"params|", "params_ema|", false},
        {"model|module.", "ema|module.", false},
        {"model|", "ema|shadow|", false},
        {"online_model.", "ema_model.", false},
        {"state_dict|model.", "state_dict|model_ema.", true},
        {"", "model_ema.", true},
        {"", "ema.", false},
        {"generator|", "generator_ema|", false},
    };
    static const size_t which[] = {1, 2, 7};
    for (size_t w = 0; w < COUNT(which); w++) {
        const struct model *m = &models[which[w]];
        const char *plain = make_plain(m, ".pt"), *to = support_path("averaged.gguf");
        for (size_t i = 0; i < COUNT(forms); i++)
            for (int torch = 0; torch < 2; torch++) {
                const char *files[3] = {file_path(0, torch ? ".pt" : ".safetensors")};
                err e = {0};
                save_averages(files[0], m, forms[i].raw, forms[i].average, forms[i].no_dots);
                if (!convert_files(m, files, NULL, to, &e))
                    fail_msg("%s, %s and %s: %s", m->name, forms[i].raw, forms[i].average, e.text);
                if (!support_same_files(plain, to) || !strstr(said, "averaged weights (EMA)"))
                    fail_msg("%s, %s and %s: not those (%s)", m->name, forms[i].raw, forms[i].average, said);
                if (!convert_files(m, files, "ema=0", to, &e))
                    fail_msg("%s", e.text);
                assert_false(support_same_files(plain, to));
                assert_null(strstr(said, "averaged"));
            }
    }
}

static void two_sets_of_weights_are_a_question(void **state)
{
    (void)state;
    const struct model *m = &models[1];
    const char *plain = make_plain(m, ".pt"), *to = support_path("two.gguf");
    const char *files[3] = {file_path(0, ".pt")};
    saved_list s = {0}, other = {0};
    err e = {0};
    saved_load(&s, m->files[0], "best|");
    saved_load(&other, m->files[0], "");
    for (size_t i = 0; i < other.n; i++)
        saved_add(&s, "last|", other.list[i].name, other.list[i].nd, other.list[i].shape, NULL);
    saved_free(&other);
    saved_write(files[0], &s);
    assert_false(convert_files(m, files, NULL, to, &e));
    if (!strstr(e.text, "'best.' and 'last.'") || !strstr(e.text, "`settings` part=best, or part=last"))
        fail_msg("%s", e.text);
    e = (err){0};
    if (!convert_files(m, files, "part=best", to, &e))
        fail_msg("%s", e.text);
    assert_true(support_same_files(plain, to));
    if (!convert_files(m, files, "part=last", to, &e))
        fail_msg("%s", e.text);
    assert_false(support_same_files(plain, to));
    assert_false(convert_files(m, files, "part=first", to, &e));
    if (!strstr(e.text, "`settings` part=first: no network is behind this prefix (there are: 'best.', 'last.')"))
        fail_msg("%s", e.text);
    saved_free(&s);
    /* of other sizes, too */
    e = (err){0};
    saved_load(&s, m->files[0], "student|");
    saved_load(&s, TEST_DATA "/codecs_vae.pt", "large|");
    saved_write(files[0], &s);
    saved_free(&s);
    assert_false(convert_files(m, files, NULL, to, &e));
    if (!strstr(e.text, "'large.' and 'student.'"))
        fail_msg("%s", e.text);
    e = (err){0};
    if (!convert_files(m, files, "part=student", to, &e))
        fail_msg("%s", e.text);
    assert_true(support_same_files(plain, to));
}

/* ---- what is beside the model ----------------------------------------------------------------------------------- */

static void leftovers_are_left_out_and_others_named(void **state)
{
    (void)state;
    static const char *const leftovers[] = {"num_batches_tracked",
                                            "encoder.1.num_batches_tracked",
                                            "position_ids",
                                            "rotary.inv_freq",
                                            "attn.mask",
                                            "optimizer.param_groups.0.lr",
                                            "loss.perceptual_loss.lin0",
                                            "discriminator.main.0.weight",
                                            "exp_avg_sq.3",
                                            "n_averaged"};
    static const char *const unknown[] = {"encoder.9.bias", "adapter.weight"};
    const struct model *m = &models[1];
    const char *plain = make_plain(m, ".pt"), *to = support_path("more.gguf");
    const char *files[3] = {file_path(0, ".safetensors")};
    for (size_t i = 0; i < COUNT(leftovers) + COUNT(unknown); i++) {
        bool left = i < COUNT(leftovers);
        const char *name = left ? leftovers[i] : unknown[i - COUNT(leftovers)];
        saved_list s = {0};
        err e = {0};
        char ignore[64];
        saved_load(&s, m->files[0], "");
        saved_add(&s, "", name, 1, (int64_t[]){3}, NULL);
        saved_write(files[0], &s);
        saved_free(&s);
        if (convert_files(m, files, NULL, to, &e) != left)
            fail_msg("%s: %s", name, e.text);
        if (!strstr(left ? said : e.text, name))
            fail_msg("%s is not in: %s", name, left ? said : e.text);
        snprintf(ignore, sizeof ignore, "ignore=%s", name);
        assert_true(left || strstr(e.text, ignore));
        e = (err){0};
        if (!left && !convert_files(m, files, ignore, to, &e))
            fail_msg("%s", e.text);
        assert_true(support_same_files(plain, to));
    }
}

static void factors_of_weights_are_not_left_out(void **state)
{
    (void)state;
    const struct model *m = &models[1];
    const char *files[3] = {file_path(0, ".safetensors")};
    saved_list s = {0};
    err e = {0};
    saved_load(&s, m->files[0], "");
    saved_add(&s, "", "decoder.0.weight_scale", 1, (int64_t[]){1}, NULL);
    saved_write(files[0], &s);
    saved_free(&s);
    assert_false(convert_files(m, files, NULL, support_path("scaled.gguf"), &e));
    if (!strstr(e.text, "decoder.0.weight_scale: weights with factors of their own"))
        fail_msg("%s", e.text);
}

static void unknown_tensors_are_shown(void **state)
{
    (void)state;
    const struct model none = {.name = "none", .files = {""}};
    const char *files[3] = {file_path(0, ".pt")};
    saved_list s = {0};
    err e = {0};
    saved_add(&s, "model|", "blocks.0.attention.weight", 2, (int64_t[]){2, 2}, NULL);
    saved_write(files[0], &s);
    saved_free(&s);
    assert_false(convert_files(&none, files, NULL, support_path("none.gguf"), &e));
    if (!strstr(e.text, "of no family") || !strstr(e.text, "model.blocks.0.attention.weight"))
        fail_msg("%s", e.text);
}

/* ---- values ----------------------------------------------------------------------------------------------------- */

static saved_tensor *find(saved_list *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (!strcmp(s->list[i].name, name))
            return &s->list[i];
    fail_msg("%s is none", name);
    return NULL;
}

static void values_that_are_no_numbers_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *tensor;
        float value;
        int n;
        dtype type;
        const char *part;
    } rows[] = {
        {"encoder.1.0.bias", NAN, 24, DTYPE_F32, "encoder.1.0.bias: 24 of 24 values are no numbers (NaN)"},
        {"codebook.weight", NAN, 3, DTYPE_F16, "codebook.weight: 3 of "},
        {"decoder.0.weight", INFINITY, 1, DTYPE_BF16, "decoder.0.weight: 1 of "},
        {"encoder.0.0.weight", -INFINITY, 2, DTYPE_F32, "values are infinite"},
    };
    static const dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_Q8_0};
    for (size_t i = 0; i < COUNT(rows); i++)
        for (size_t k = 0; k <= COUNT(types); k++) {
            const char *from = file_path(0, i % 2 ? ".pt" : ".safetensors"), *to = support_path("nan.gguf");
            saved_list s = {0};
            err e = {0};
            saved_load(&s, models[1].files[0], "");
            saved_tensor *t = find(&s, rows[i].tensor);
            t->type = rows[i].type;
            for (int j = 0; j < rows[i].n; j++)
                t->values[j] = rows[i].value;
            saved_write(from, &s);
            saved_free(&s);
            import_request q = {.inputs = &from, .n_inputs = 1, .output = to, .typed = k < COUNT(types)};
            if (q.typed)
                q.type = types[k];
            assert_false(import_convert(&q, &e));
            if (!strstr(e.text, rows[i].part))
                fail_msg("'%s' is not in: %s", rows[i].part, e.text);
            assert_int_not_equal(access(to, F_OK), 0);
        }
}

/* A weight beyond what a half holds keeps its tensor in F32, and all vanishing ones do. */
static void types_too_narrow_are_not_taken(void **state)
{
    (void)state;
    static const struct {
        float value;
        int all; /* or one value alone */
        dtype from, asked, want;
    } rows[] = {
        {1e5f, 0, DTYPE_BF16, DTYPE_OTHER, DTYPE_F32}, {1e5f, 0, DTYPE_F32, DTYPE_F16, DTYPE_F32},
        {65504, 0, DTYPE_F32, DTYPE_F16, DTYPE_F16},   {1e7f, 0, DTYPE_F32, DTYPE_Q8_0, DTYPE_F32},
        {1e6f, 0, DTYPE_F32, DTYPE_Q4_0, DTYPE_F32},   {1e6f, 0, DTYPE_F32, DTYPE_Q8_0, DTYPE_Q8_0},
        {1e-9f, 1, DTYPE_F32, DTYPE_F16, DTYPE_F32},   {1e-9f, 0, DTYPE_F32, DTYPE_F16, DTYPE_F16},
        {1e-7f, 1, DTYPE_F32, DTYPE_Q8_0, DTYPE_F32},  {1e5f, 0, DTYPE_F32, DTYPE_OTHER, DTYPE_F32},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *from[] = {file_path(0, ".safetensors"), GOLDEN "minDALL-E/stage1_last.ckpt"};
        const char *to = support_path("narrow.gguf"), *set[] = {"heads=2"};
        saved_list s = {0};
        err e = {0};
        saved_load(&s, GOLDEN "minDALL-E/stage2_last.ckpt", "");
        saved_tensor *t = find(&s, "blocks.0.mlp.2.weight");
        t->type = rows[i].from;
        for (int64_t k = 0; k < (rows[i].all ? t->shape[0] * t->shape[1] : 1); k++)
            t->values[k] = rows[i].value;
        saved_write(from[0], &s);
        saved_free(&s);
        import_request q = {.inputs = from, .n_inputs = 2, .output = to, .settings = set, .n_settings = 1};
        q.typed = rows[i].asked != DTYPE_OTHER;
        q.type = q.typed ? rows[i].asked : DTYPE_F32;
        *said = 0;
        if (!import_convert(&q, &e))
            fail_msg("%s", e.text);
        file_map map;
        assert_true(file_map_open(&map, to, &e));
        gguf *g = gguf_open(map.data, map.size, to, &e);
        const file_tensor *u = gguf_find(g, "transformer.block.0.down.weight"),
                          *v = gguf_find(g, "transformer.block.1.down.weight");
        if (u->type != rows[i].want)
            fail_msg("row %zu: type %d", i, u->type);
        assert_int_equal(v->type, q.typed ? rows[i].asked : DTYPE_F32);
        float block[32];
        file_tensor_read(u, 0, u->type == DTYPE_F32 || u->type == DTYPE_F16 ? 1 : 32, block);
        assert_true(fabsf(block[0] - rows[i].value) <= 0.01f * rows[i].value || rows[i].want != DTYPE_F32);
        bool stays = rows[i].want == DTYPE_F32 && (q.typed || rows[i].from == DTYPE_BF16);
        if (stays != (strstr(said, "F32, since") != NULL))
            fail_msg("row %zu: %s", i, said);
        gguf_free(g);
        file_map_release(&map);
    }
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        TEST(prefixes_and_dicts_change_nothing),
        TEST(prefixes_change_nothing_of_described_models),
        TEST(parts_of_names_that_wrappers_put_in_are_dropped),
        TEST(networks_of_one_file_have_prefixes_of_their_own),
        TEST(heads_beside_a_network_are_its_own),
        TEST(averaged_weights_are_preferred),
        TEST(two_sets_of_weights_are_a_question),
        TEST(leftovers_are_left_out_and_others_named),
        TEST(factors_of_weights_are_not_left_out),
        TEST(unknown_tensors_are_shown),
        TEST(values_that_are_no_numbers_are_refused),
        TEST(types_too_narrow_are_not_taken),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    log_set_sink(keep, NULL);
    return cmocka_run_group_tests_name("import_names", tests, NULL, NULL) != 0;
}
