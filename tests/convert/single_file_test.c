/* Stable Diffusion's single files: the published lists of tensors, every one of which is used; averaged weights,
 * halves, what lies beside the model, parts in files of their own; and what is guessed, and said. What the models
 * compute: models/diffusion_test.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "checks.h"
#include "convert/convert_internal.h"
#include "convert/names.h"
#include "golden_checkpoint.h"
#include "golden_npz.h"
#include "models/diffusion/schedule.h"
#include "support.h"

#define FOLDER TEST_DATA "/golden/diffusion/"
#define SD15   FOLDER "sd15_single/sd15_single.safetensors"
#define SD21   FOLDER "sd21_single/sd21_single.ckpt"
#define UNET   "model.diffusion_model."

static char said[4096]; /* what was logged since it was emptied */

static void keep(void *context, log_level level, const char *line)
{
    (void)context;
    if (level <= LOG_WARNING)
        snprintf(said + strlen(said), sizeof said - strlen(said), "%s\n", line);
}

/* ---- the published lists ---------------------------------------------------------------------------------------- */

/* How a list is changed: the channels that the U-Net reads, another prefix of the text tower, its averages besides. */
typedef struct variant {
    const char *list;
    int channels;
    const char *text;
    bool averages, no_schedule;
} variant;

typedef struct sparse {
    FILE *header;
    char *text;
    size_t size;
    uint64_t at, kept; /* where alphas_cumprod is */
    size_t n;
} sparse;

static void add_entry(sparse *s, const char *name, const char *type, const char *shape, uint64_t bytes)
{
    fprintf(s->header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%llu,%llu]}", s->n++ ? "," : "", name,
            type, shape, (unsigned long long)s->at, (unsigned long long)(s->at + bytes));
    if (!strcmp(name, "alphas_cumprod"))
        s->kept = s->at;
    s->at += bytes;
}

/* "NAME\tfloat32\t[320, 4, 3, 3]", and its average. */
static void add_line(sparse *s, const variant *v, const char *line)
{
    char name[256], type[16], shape[64], whole[300], bare[256] = "";
    static const char text[] = "cond_stage_model.model.";
    assert_int_equal(sscanf(line, "%255[^\t]\t%15[^\t]\t%63[^\n]", name, type, shape), 3);
    bool first = !strcmp(name, UNET "input_blocks.0.0.weight");
    if (first && v->channels)
        snprintf(shape, sizeof shape, "[320, %d, 3, 3]", v->channels);
    if (v->no_schedule && !strchr(name, '.'))
        return;
    uint64_t count = 1;
    for (const char *c = shape; *c; c++)
        if (*c >= '0' && *c <= '9') {
            count *= strtoull(c, (char **)&c, 10);
            c--;
        }
    snprintf(whole, sizeof whole, "%s%s", v->text && !strncmp(name, text, strlen(text)) ? v->text : "",
             v->text && !strncmp(name, text, strlen(text)) ? name + strlen(text) : name);
    const bool ids = !strcmp(type, "int64");
    add_entry(s, whole, ids ? "I64" : "F32", shape, count * (ids ? 8 : 4));
    if (!v->averages || strncmp(name, UNET, strlen(UNET)) != 0)
        return;
    for (char *to = bare, *c = name + strlen("model."); *c; c++)
        if (*c != '.')
            *to++ = *c;
    snprintf(whole, sizeof whole, "model_ema.%s", bare);
    add_entry(s, whole, "F32", shape, count * 4);
}

/* A file of the list's size whose tensors take no room, for they are holes. */
static const char *write_sparse(const variant *v, const char *file)
{
    golden_npz f;
    size_t at, size;
    const uint8_t *data;
    err e = {0};
    char entry[64];
    sparse s = {0};
    s.header = open_memstream(&s.text, &s.size);
    golden_npz_open(&f, FOLDER "layouts.zip");
    snprintf(entry, sizeof entry, "%s.txt", v->list);
    assert_true(zip_find(f.z, entry, &at));
    good(zip_data(f.z, at, &data, &size, &e), &e);
    fputc('{', s.header);
    for (size_t i = 0; i < size;) {
        size_t n = 0;
        char line[512];
        while (i + n < size && data[i + n] != '\n')
            n++;
        snprintf(line, sizeof line, "%.*s", (int)n, (const char *)data + i);
        add_line(&s, v, line);
        i += n + 1;
    }
    if (v->averages)
        add_entry(&s, "model_ema.decay", "F32", "[]", 4);
    fputc('}', s.header);
    fclose(s.header);
    golden_npz_release(&f);
    const char *path = support_path(file);
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    uint64_t length = s.size;
    fwrite(&length, sizeof length, 1, out);
    fwrite(s.text, 1, s.size, out);
    if (s.kept) {
        double kept[SCHEDULE_TIMES];
        schedule_kept(&(schedule){.times = 1000, .beta_start = 0.00085f, .beta_end = 0.012f}, kept);
        fseek(out, (long)(8 + s.size + s.kept), SEEK_SET);
        for (int i = 0; i < 1000; i++)
            fwrite(&(float){(float)kept[i]}, sizeof(float), 1, out);
    }
    fclose(out);
    assert_int_equal(truncate(path, (off_t)(8 + s.size + s.at)), 0);
    free(s.text);
    return path;
}

/* All but the writing. */
static void check_list(const variant *v, size_t outputs)
{
    err e = {0};
    source s = {0};
    const char *path = write_sparse(v, "published.safetensors"), *set = "prediction=v";
    const import_request q = {.inputs = &path, .n_inputs = 1, .settings = &set, .n_settings = 1};
    struct import im = {.from = &s, .to = gguf_writer_new("none.gguf"), .settings = &set, .n_settings = 1};
    *said = 0;
    good(source_open(&s, &q, &e) && import_names_resolve(&s, &(name_choice){.ema = true}, &e), &e);
    const family *f = family_choose(&s, &q, &e);
    good(f != NULL, &e);
    assert_string_equal(family_name(f), "stable-diffusion");
    good(f->run(&im, &im.error) && !im.error.code, &im.error);
    for (size_t i = 0; i < s.n_all; i++)
        if (!s.tensors[i].used)
            fail_msg("%s: %s isn't used", v->list, s.tensors[i].own.name);
    good(import_check_used(&im, &e) && import_check_asked(&im, &e), &e);
    assert_int_equal(im.n_outputs, outputs);
    assert_true(v->averages == (strstr(said, "of 686 tensors 686 are taken from the averaged weights") != NULL));
    import_release(&im);
    source_close(&s);
    unlink(path);
}

static void every_published_tensor_is_used(void **state)
{
    (void)state;
    static const variant variants[] = {{.list = "sd15_single"},
                                       {.list = "sd15_single", .channels = 9, .no_schedule = true},
                                       {.list = "sd15_single", .averages = true},
                                       {.list = "sd21_single"},
                                       {.list = "sd21_single", .text = "conditioner.embedders.0.model."}};
    for (size_t i = 0; i < COUNT(variants); i++) {
        const bool newer = !strcmp(variants[i].list, "sd21_single");
        /* of three projections of attention one is made, and of two another one; OpenCLIP's are one already */
        const size_t unet = 686 - 16 * 3, vae = 248, text = newer ? 2 + 23 * 12 + 2 : 2 + 12 * 12 + 2;
        check_list(&variants[i], unet + vae + text);
    }
}

/* ---- small ones ------------------------------------------------------------------------------------------------- */

typedef struct request {
    const char *files[4], *settings[4];
    bool newer;
} request;

static bool convert_to(const char *to, const request *r, err *e)
{
    import_request q = {.inputs = r->files,
                        .output = to,
                        .tokenizer = r->newer ? FOLDER "sd21/tokenizer" : FOLDER "sd15/tokenizer",
                        .settings = r->settings};
    while (q.n_inputs < COUNT(r->files) && r->files[q.n_inputs])
        q.n_inputs++;
    while (q.n_settings < COUNT(r->settings) && r->settings[q.n_settings])
        q.n_settings++;
    *said = 0;
    *e = (err){0};
    unlink(to);
    return import_convert(&q, e);
}

/* The files make the model of `plain`. */
static void same_model(const char *plain, const request *r)
{
    err e = {0};
    const char *to = support_path("same.gguf");
    if (!convert_to(to, r, &e))
        fail_msg("%s: %s", r->files[0], e.text);
    if (!support_same_files(plain, to))
        fail_msg("%s: another model", r->files[0]);
}

static void refused(const request *r, const char *part)
{
    err e = {0};
    const char *to = support_path("refused.gguf");
    refused_with(convert_to(to, r, &e), &e, part, part, to);
}

static const char *make_plain(const char *from, bool newer)
{
    err e = {0};
    const char *to = support_path(newer ? "plain21.gguf" : "plain15.gguf");
    good(convert_to(to, &(request){.files = {from}, .newer = newer}, &e), &e);
    return to;
}

static bool begins(const char *name, const char *prefix)
{
    return !strncmp(name, prefix, strlen(prefix));
}

/* sd15's tensors whose names begin so (or, with `but`, don't), in the type that they have. */
static saved_list load(const char *from, const char *prefix, bool but)
{
    saved_list all = {0}, s = {0};
    saved_load(&all, from, "");
    for (size_t i = 0; i < all.n; i++)
        if (begins(all.list[i].name, prefix) != but) {
            saved_tensor *t =
                saved_add(&s, "", all.list[i].name, all.list[i].nd, all.list[i].shape, all.list[i].values);
            t->type = strchr(t->name, '.') && !strstr(t->name, "position_ids") ? DTYPE_F16 : DTYPE_F32;
        }
    saved_free(&all);
    return s;
}

static const char *save(saved_list *s, const char *file)
{
    const char *path = support_path(file);
    saved_write(path, s);
    saved_free(s);
    return path;
}

static void the_schedule_may_be_missing(void **state)
{
    (void)state;
    const char *plain = make_plain(SD15, false);
    saved_list s = load(SD15, "alphas_cumprod", true);
    same_model(plain, &(request){.files = {save(&s, "no_alphas.safetensors")}});
    saved_list all = load(SD15, "", false), bare = {0};
    for (size_t i = 0; i < all.n; i++)
        if (strchr(all.list[i].name, '.') && !strstr(all.list[i].name, "position_ids"))
            saved_add(&bare, "state_dict|", all.list[i].name, all.list[i].nd, all.list[i].shape, all.list[i].values)
                ->type = DTYPE_F16;
    saved_free(&all);
    same_model(plain, &(request){.files = {save(&bare, "bare.ckpt")}});
}

/* Text towers without "text_model." in their names, and linear layers in the autoencoder's attention. */
static void other_programs_layouts(void **state)
{
    (void)state;
    const char *plain = make_plain(SD15, false);
    saved_list all = load(SD15, "", false), s = {0};
    for (size_t i = 0; i < all.n; i++) {
        const saved_tensor *t = &all.list[i];
        const char *inner = strstr(t->name, "text_model.");
        const bool attention = strstr(t->name, "mid.attn_1.") && t->nd == 4;
        char name[256];
        snprintf(name, sizeof name, "%.*s%s", inner ? (int)(inner - t->name) : 200, t->name,
                 inner ? inner + strlen("text_model.") : "");
        saved_add(&s, "state_dict|", name, attention ? 2 : t->nd, t->shape, t->values)->type = t->type;
    }
    saved_free(&all);
    same_model(plain, &(request){.files = {save(&s, "layouts.ckpt")}});
}

static void what_lies_beside_is_left_out_and_said(void **state)
{
    (void)state;
    const char *plain = make_plain(SD15, false);
    saved_list s = load(SD15, "", false);
    saved_add(&s, "", "lora_unet_mid_block_attentions_0_proj_in.alpha", 1, (int64_t[]){1}, NULL);
    saved_add(&s, "", "embedding_manager.embedder.weight", 2, (int64_t[]){2, 3}, NULL);
    saved_add(&s, "", "first_stage_model.loss.logvar", 1, (int64_t[]){1}, NULL);
    same_model(plain, &(request){.files = {save(&s, "beside.safetensors")}});
    has(said, "left out 3 tensors");
    has(said, "embedding_manager.embedder.weight");
    saved_list adapter = {0};
    saved_add(&adapter, "lora_unet_x", ".lora_down.weight", 2, (int64_t[]){2, 4}, NULL);
    const char *file = save(&adapter, "adapter.safetensors");
    refused(&(request){.files = {file}}, "it changes a model, and is none");
    refused(&(request){.files = {SD15, file}}, "none of its tensors is a part of the model");
    s = load(SD15, "", false);
    saved_add(&s, "", UNET "input_blocks.1.2.adapter.weight", 1, (int64_t[]){4}, NULL);
    refused(&(request){.files = {save(&s, "inside.safetensors")}}, "input_blocks.1.2.adapter.weight");
    s = load(SD15, UNET "out.2.weight", true);
    refused(&(request){.files = {save(&s, "cut.safetensors")}}, UNET "out.2.weight");
}

static void averages_are_preferred(void **state)
{
    (void)state;
    const char *plain = make_plain(SD15, false), *files[2];
    for (int dots = 0; dots < 2; dots++) {
        saved_list all = load(SD15, "", false), s = {0};
        for (size_t i = 0; i < all.n; i++) {
            const saved_tensor *t = &all.list[i];
            char name[256] = "model_ema.", *to = name + strlen(name);
            const bool averaged = begins(t->name, UNET);
            saved_add(&s, "", t->name, t->nd, t->shape, averaged ? NULL : t->values)->type = t->type;
            for (const char *c = t->name + strlen("model."); averaged && *c; c++)
                if (dots || *c != '.')
                    *to++ = *c;
            *to = 0;
            if (averaged)
                saved_add(&s, "", name, t->nd, t->shape, t->values)->type = t->type;
        }
        saved_add(&s, "", "model_ema.decay", 0, NULL, NULL);
        saved_free(&all);
        files[dots] = save(&s, dots ? "dots.safetensors" : "ema.safetensors");
        same_model(plain, &(request){.files = {files[dots]}});
        has(said, "(EMA)");
    }
    err e = {0};
    const char *to = support_path("raw.gguf");
    good(convert_to(to, &(request){.files = {files[0]}, .settings = {"ema=0"}}, &e), &e);
    assert_false(support_same_files(plain, to));
    has(said, "left out");
}

static void parts_may_be_files_of_their_own(void **state)
{
    (void)state;
    const char *plain = make_plain(SD15, false);
    saved_list unet = load(SD15, UNET, false), vae = load(SD15, "first_stage_model.", false),
               text = load(SD15, "cond_stage_model.", false), bare = {0};
    for (size_t i = 0; i < vae.n; i++)
        saved_add(&bare, "", vae.list[i].name + strlen("first_stage_model."), vae.list[i].nd, vae.list[i].shape,
                  vae.list[i].values)
            ->type = DTYPE_F16;
    saved_free(&vae);
    const char *files[] = {save(&unet, "unet.safetensors"), save(&bare, "vae.pt"), save(&text, "text.safetensors")};
    same_model(plain, &(request){.files = {files[0], files[1], files[2]}});
    same_model(plain, &(request){.files = {files[2], files[0], files[1]}});
    refused(&(request){.files = {files[0]}}, "without text tower");
    refused(&(request){.files = {files[0], files[1]}}, "without text tower");
    refused(&(request){.files = {files[2]}}, "no U-Net");
    err e = {0};
    const char *to = support_path("vae.gguf");
    good(convert_to(to, &(request){.files = {files[1]}, .settings = {"image_size=16"}}, &e), &e);
    model_file *m = model_file_open(to, &e);
    good(m != NULL, &e);
    assert_true(gguf_has(model_file_gguf(m), "limn.codec.kind"));
    assert_false(gguf_has(model_file_gguf(m), "limn.transformer.kind"));
    model_file_free(m);
    /* another autoencoder takes the place of the file's own */
    saved_list other = load(SD15, "", false), values = {0};
    for (size_t i = 0; i < other.n; i++)
        saved_add(&values, "", other.list[i].name, other.list[i].nd, other.list[i].shape,
                  begins(other.list[i].name, "first_stage_model.") ? NULL : other.list[i].values)
            ->type = other.list[i].type;
    saved_free(&other);
    const char *all = save(&values, "other.safetensors");
    same_model(plain, &(request){.files = {all, files[1]}});
    has(said, "vae.pt is taken");
    same_model(plain, &(request){.files = {files[1], all}});
    saved_list xl = load(SD15, "", false);
    saved_add(&xl, "", UNET "label_emb.0.0.weight", 2, (int64_t[]){4, 4}, NULL);
    refused(&(request){.files = {save(&xl, "xl.safetensors")}}, "Stable Diffusion XL");
    xl = load(SD15, "", false);
    saved_add(&xl, "", UNET "label_emb.weight", 2, (int64_t[]){4, 4}, NULL); /* Stability's that enlarges */
    refused(&(request){.files = {save(&xl, "xl.safetensors")}}, "one that enlarges");
}

/* The entries of sd15's folder, and the autoencoder of sd21's in place of its own. */
static const char *mixed_folder(void)
{
    static const char *const entries[] = {"model_index.json", "scheduler", "text_encoder", "tokenizer", "unet", "vae"};
    const char *folder = support_path("mixed");
    char from[600], to[600];
    assert_true(mkdir(folder, 0700) == 0 || access(folder, F_OK) == 0);
    for (size_t i = 0; i < COUNT(entries); i++) {
        snprintf(from, sizeof from, FOLDER "%s/%s", !strcmp(entries[i], "vae") ? "sd21" : "sd15", entries[i]);
        snprintf(to, sizeof to, "%s/%s", folder, entries[i]);
        assert_true(symlink(from, to) == 0 || access(to, F_OK) == 0);
    }
    return folder;
}

/* An autoencoder that is named beside a folder takes the place of the folder's own. */
static void folders_take_another_autoencoder(void **state)
{
    (void)state;
    const char *vae = FOLDER "sd15/vae/diffusion_pytorch_model.safetensors", *folder = mixed_folder(),
               *other = support_path("other.gguf"), *plain = make_plain(FOLDER "sd15", false);
    err e = {0};
    good(convert_to(other, &(request){.files = {folder}}, &e), &e);
    assert_false(support_same_files(plain, other));
    same_model(plain, &(request){.files = {folder, vae}});
    has(said, "in place of that of");
    has(said, "/mixed/vae/diffusion_pytorch_model.safetensors");
    same_model(plain, &(request){.files = {vae, folder}});
    same_model(plain, &(request){.files = {folder, FOLDER "sd15/vae"}});
    refused(&(request){.files = {folder, vae, FOLDER "sd21/vae"}}, "give one of them");
}

/* ---- what is guessed -------------------------------------------------------------------------------------------- */

/* The model of a file of that name, of Stable Diffusion 2. */
static void check_guess(const char *name, const char *setting, const char *predicts, int size, const char *sampler,
                        const char *words)
{
    err e = {0};
    const char *to = support_path("guess.gguf"), *file = support_path(name);
    int64_t width;
    const char *predicted, *with;
    if (access(file, F_OK) != 0)
        assert_int_equal(symlink(SD21, file), 0);
    good(convert_to(to, &(request){.files = {file}, .settings = {setting}, .newer = true}, &e), &e);
    model_file *m = model_file_open(to, &e);
    good(m != NULL, &e);
    const gguf *g = model_file_gguf(m);
    good(gguf_get_int(g, "limn.image.width", 1, 10000, &width, &e) &&
             gguf_get_string(g, "limn.scheduler.prediction", &predicted, &e) &&
             gguf_get_string(g, "limn.scheduler.sampler", &with, &e),
         &e);
    assert_string_equal(predicted, predicts);
    assert_string_equal(with, sampler);
    assert_int_equal(width, size);
    if (words)
        has(said, words);
    else
        assert_null(strstr(said, "guess"));
    model_file_free(m);
}

static void guesses_are_said(void **state)
{
    (void)state;
    check_guess("other.ckpt", NULL, "v", 768, "ddim", "a guess: v, as Stable Diffusion 2 and 2.1 do");
    check_guess("other.ckpt", "prediction=v", "v", 768, "ddim", NULL);
    check_guess("other.ckpt", "prediction=epsilon", "epsilon", 512, "pndm", NULL);
    check_guess("v2-1_768-ema.ckpt", NULL, "v", 768, "ddim", "by its name");
    check_guess("v2-1_512-ema.ckpt", NULL, "epsilon", 512, "pndm", "by its name");
    check_guess("sd_turbo.ckpt", NULL, "epsilon", 512, "euler", "1 step without guidance");
    refused(&(request){.files = {SD21}, .settings = {"prediction=x0"}, .newer = true}, "it is epsilon or v");
    saved_list s = load(SD21, "", false);
    saved_add(&s, "", "v_pred", 1, (int64_t[]){1}, NULL);
    const char *to = support_path("told.gguf");
    err e = {0};
    good(convert_to(to, &(request){.files = {save(&s, "base.safetensors")}, .newer = true}, &e), &e);
    has(said, "its tensor v_pred says so");
}

static void noise_is_checked(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        saved_list s = load(SD15, "", false);
        for (size_t k = 0; k < s.n; k++)
            if (!strcmp(s.list[k].name, "alphas_cumprod"))
                s.list[k].values[i == 2 ? 500 : 999] = i == 0 ? 0 : i == 1 ? NAN : 0.5f;
        const char *file = save(&s, "noise.safetensors"), *to = support_path("noise.gguf");
        err e = {0};
        if (i == 0) /* at the end there is little left, but not nothing */
            refused(&(request){.files = {file}}, "a schedule of noise");
        else
            refused(&(request){.files = {file}}, "alphas_cumprod");
        good(convert_to(to, &(request){.files = {file}, .settings = {"ignore=alphas_cumprod"}}, &e), &e);
    }
    saved_list s = load(SD15, "", false);
    saved_add(&s, "", "ztsnr", 1, (int64_t[]){1}, NULL);
    const char *file = save(&s, "zero.safetensors"), *to = support_path("zero.gguf");
    refused(&(request){.files = {file}, .settings = {"ignore=alphas_cumprod"}}, "zero_snr");
    err e = {0};
    const request v = {.files = {file}, .settings = {"prediction=v", "ignore=alphas_cumprod"}};
    bool zero = false;
    good(convert_to(to, &v, &e), &e);
    model_file *m = model_file_open(to, &e);
    good(m && gguf_get_bool(model_file_gguf(m), "limn.scheduler.zero_snr", &zero, &e), &e);
    assert_true(zero);
    model_file_free(m);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(every_published_tensor_is_used),
        TEST(the_schedule_may_be_missing),
        TEST(other_programs_layouts),
        TEST(what_lies_beside_is_left_out_and_said),
        TEST(averages_are_preferred),
        TEST(parts_may_be_files_of_their_own),
        TEST(folders_take_another_autoencoder),
        TEST(guesses_are_said),
        TEST(noise_is_checked),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    log_set_sink(keep, NULL);
    return cmocka_run_group_tests_name("single files", tests, NULL, NULL);
}
