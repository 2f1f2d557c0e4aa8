/* Golden instances: tiny models with random weights, made with the authors' own classes and saved as these are
 * published (data/golden/README.md), through limn convert, then encode, decode, score, greedy generation and tokenize.
 * With the device's own kernels, and with those for GPUs: the codes are the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/convert.h"
#include "golden_checks.h"
#include "support.h"
#include "text/bpe_split.h"

#define CLIP_MERGES "bpe_simple_vocab_16e6.txt"

typedef struct instance {
    const char *files[4];    /* below GOLDEN */
    const char *settings[3]; /* --set */
    const char *tokenizer;   /* below GOLDEN, or CLIP_MERGES */
    const char *name;        /* the first file's, where that is NULL */
    golden_check checks[8];
    bool large; /* left out where LIMN_TEST_BRIEF is set */
    bool both;  /* with kernels for GPUs too; where LIMN_TEST_WHOLE is set all are */
} instance;

#define IMAGE "image_u8_nchw"

/* What all DALLEs of DALLE-pytorch have. */
#define DALLE(variant)                                                                                                 \
    {                                                                                                                  \
        .files = {"dalle_pytorch/dalle_" variant ".pt"}, .checks = {                                                   \
            {golden_score, "dalle_pytorch/dalle_" variant "_io.npz", "text", "codes", "logits", .first = 16},          \
            {golden_score, "dalle_pytorch/dalle_" variant "_io.npz", "text", "codes", "logits_prefix20", .first = 16}, \
            {golden_score, "dalle_pytorch/dalle_" variant "_io.npz", NULL, "codes", "logits_null", .first = 16},       \
            {golden_greedy, "dalle_pytorch/dalle_" variant "_io.npz", "text", .want = "greedy"},                       \
            {golden_decode, "dalle_pytorch/dalle_" variant "_io.npz", "greedy", .want = "greedy_image", .raw = true},  \
        }                                                                                                              \
    }

static const instance instances[] = {
    {{"openai_dvae/encoder.pkl", "openai_dvae/decoder.pkl"},
     {"image_size=32"},
     .checks = {{golden_encode, "openai_dvae/io.npz", IMAGE, "enc_logits", "codes"},
                {golden_decode, "openai_dvae/io.npz", "codes", .want = "recon_of_codes"}}},
    {{"openai_dvae/decoder.pkl", "openai_dvae/encoder.pkl"},
     {"image_size=64"},
     .name = "openai_dvae, 64 x 64",
     .checks = {{golden_decode, "openai_dvae/io.npz", "rand_codes", .want = "image_rand"}}},
    {{"dalle_pytorch/vae.pt"},
     .checks = {{golden_encode, "dalle_pytorch/vae_io.npz", IMAGE, "enc_logits", "codes"},
                {golden_decode, "dalle_pytorch/vae_io.npz", "codes", .want = "decoded", .raw = true},
                {golden_decode, "dalle_pytorch/vae_io.npz", "rand_codes", .want = "rand_decoded", .raw = true}}},
    DALLE("full"),
    DALLE("mix"),
    DALLE("stable_abs"),
    DALLE("reversible"),
    DALLE("shared"),
    {{"dalle_pytorch/dalle_full.pt"},
     .tokenizer = CLIP_MERGES,
     .name = "dalle_pytorch, tokenizer",
     .checks = {{golden_tokens, "dalle_pytorch/tokenizer_cases.json"}}},
    {{"dalle_pytorch/clip.pt"},
     .checks = {{golden_clip, "dalle_pytorch/clip_io.npz", "text", IMAGE, "score_unmasked"}}},
    {{"minDALL-E/stage1_last.ckpt", "minDALL-E/stage2_last.ckpt"},
     {"heads=2"},
     "minDALL-E/tokenizer",
     .checks = {{golden_tokens, "minDALL-E/tokenizer_cases.json", .first = 1},
                {golden_encode, "minDALL-E/io.npz", IMAGE, .want = "enc_codes"},
                {golden_decode, "minDALL-E/io.npz", "rand_codes", .want = "decoded_pixels"},
                {golden_score, "minDALL-E/io.npz", "text", "codes", "logits_img", "logits_txt"},
                {golden_score, "minDALL-E/io.npz", "text", "greedy_cached", "greedy_logits", "logits_txt"},
                {golden_greedy, "minDALL-E/io.npz", "text", .want = "greedy_cached"}},
     .both = true},
    {{"minDALL-E/igpt_cls.safetensors", "minDALL-E/stage1_last.ckpt"},
     {"heads=2"},
     .checks = {{golden_score, "minDALL-E/igpt_io.npz", "labels", "codes", "logits"},
                {golden_decode, "minDALL-E/io.npz", "rand_codes", .want = "decoded_pixels"}}},
    {{"min_dalle/encoder.pt", "min_dalle/decoder.pt", "min_dalle/detoker.pt"},
     {"heads=6"},
     .checks = {{golden_tokens, "min_dalle/tokenizer_cases.json"},
                {golden_steps, "min_dalle/bart_io.npz", "text_tokens", "greedy_sf16", "logits_uncond_cond"},
                {golden_steps, "min_dalle/bart_io.npz", "text_tokens", "forced3", "logits3_first16"},
                {golden_greedy, "min_dalle/bart_io.npz", "text_tokens", .want = "greedy_sf16", .guidance = 16},
                {golden_first, "min_dalle/detoker_io.npz", "tokens", .want = "image_1_sub2"}}},
    {{"min_dalle/bart.safetensors", "min_dalle/detoker.pt"},
     {"heads=6"},
     .checks = {{golden_steps, "min_dalle/bart_io.npz", "text_tokens", "forced3", "logits3_first16"}}},
    {{"min_dalle/detoker.pt"},
     {"image_size=512"},
     .checks = {{golden_seamless, "min_dalle/detoker_io.npz", "tokens", .want = "seamless_2x2_sub4"}},
     .large = true},
    {{"rudalle/pytorch_model_v2.bin", "rudalle/vqgan_gumbel.ckpt"},
     {"heads=3"},
     .checks = {{golden_score, "rudalle/dalle_v2_io.npz", "text", "codes", "logits", .first = 16},
                {golden_greedy, "rudalle/dalle_v2_io.npz", "text", .want = "greedy"},
                {golden_encode, "rudalle/vqgan_gumbel_io.npz", IMAGE, "enc_logits", "codes"},
                {golden_decode, "rudalle/vqgan_gumbel_io.npz", "codes", .want = "decoded_of_codes"}}},
    {{"rudalle/pytorch_model_v3.bin", "rudalle/vqgan_dwt.safetensors"},
     {"heads=3"},
     .checks = {{golden_score, "rudalle/dalle_v3_io.npz", "text", "codes", "logits", .first = 15},
                {golden_greedy, "rudalle/dalle_v3_io.npz", "text", .want = "greedy"},
                {golden_encode, "rudalle/vqgan_dwt_io.npz", IMAGE, "enc_logits", "codes"},
                {golden_decode, "rudalle/vqgan_dwt_io.npz", "codes", .want = "decoded_of_codes"}}},
    {{"rudalle/vqgan_gumbel.ckpt"},
     {"image_size=16"},
     .checks = {{golden_decode, "rudalle/vqgan_gumbel_io.npz", "rand_codes", .want = "decoded"}}},
    {{"rudalle/vqgan_dwt.safetensors"},
     {"image_size=16"},
     .checks = {{golden_decode, "rudalle/vqgan_dwt_io.npz", "rand_codes", .want = "decoded"}}},
};
enum { INSTANCES = sizeof instances / sizeof *instances };

static device *dev;

/* CLIP's merges as far as the cases need them (tools/make_golden_vocabulary.py).  The others join what no case has. */
static const char *write_clip_merges(void)
{
    const char *path = support_path(CLIP_MERGES);
    json_t *root = json_load_file(GOLDEN "dalle_pytorch/tokenizer_merges.json", 0, NULL);
    const json_t *merges = json_object_get(root, "merges");
    const char *spare = json_string_value(json_object_get(root, "spare"));
    long count = (long)json_integer_value(json_object_get(root, "count"));
    FILE *f = fopen(path, "w");
    assert_true(f && spare && fputs("#version: 0.2\n", f) >= 0);
    for (long rank = 0, filler = 0; rank < count; rank++) {
        char key[24];
        snprintf(key, sizeof key, "%ld", rank);
        const char *merge = json_string_value(json_object_get(merges, key));
        if (merge) {
            fprintf(f, "%s\n", merge);
            continue;
        }
        char second[8] = "";
        int32_t c = bpe_byte_to_char((uint8_t)(filler % 256)); /* below 0x800 */
        const char *end = filler / 256 % 2 ? "</w>" : "", *first = spare + filler / 512 * 2;
        snprintf(second, sizeof second, c < 0x80 ? "%c" : "%c%c", (int)(c < 0x80 ? c : 0xC0 | c >> 6),
                 (int)(0x80 | (c & 63)));
        assert_true(filler / 512 * 2 < (long)strlen(spare));
        fprintf(f, "%.2s %s%s\n", first, second, end);
        filler++;
    }
    assert_int_equal(fclose(f), 0);
    json_decref(root);
    return path;
}

static void test_instance(void **state)
{
    const instance *t = *state;
    err e = {0};
    char paths[4][300], words[300];
    const char *inputs[4];
    import_request q = {.inputs = inputs, .output = support_path("model.gguf"), .settings = t->settings};
    for (; q.n_inputs < 4 && t->files[q.n_inputs]; q.n_inputs++) {
        snprintf(paths[q.n_inputs], sizeof *paths, GOLDEN "%s", t->files[q.n_inputs]);
        inputs[q.n_inputs] = paths[q.n_inputs];
    }
    while (q.n_settings < 3 && t->settings[q.n_settings])
        q.n_settings++;
    if (t->tokenizer) {
        snprintf(words, sizeof words, GOLDEN "%s", t->tokenizer);
        q.tokenizer = strcmp(t->tokenizer, CLIP_MERGES) ? words : write_clip_merges();
    }
    if (!import_convert(&q, &e))
        fail_msg("%s", e.text);
    model *m = limn_model_open(dev, q.output, &e);
    if (!m || !model_load(m, ~0u, &e))
        fail_msg("%s", e.text);
    for (int i = 0; i < 8 && t->checks[i].run; i++)
        t->checks[i].run(m, &t->checks[i]);
    limn_model_free(&m);
}

/* Those of one style; how many. */
static size_t list_tests(struct CMUnitTest tests[INSTANCES], bool own_kernels)
{
    size_t n = 0;
    for (size_t i = 0; i < INSTANCES; i++) {
        const instance *t = &instances[i];
        if ((t->large && getenv("LIMN_TEST_BRIEF")) || !(own_kernels || t->both || getenv("LIMN_TEST_WHOLE")))
            continue;
        tests[n++] = (struct CMUnitTest){
            .name = t->name ? t->name : t->files[0], .test_func = test_instance, .initial_state = (void *)(uintptr_t)t};
    }
    return n;
}

int main(int argc, char **argv)
{
    struct CMUnitTest tests[INSTANCES];
    int failed = 0;
    const char *style;
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    for (size_t i = 0; (style = support_styled(&dev, i)); i++) {
        char name[32];
        snprintf(name, sizeof name, "golden, %s kernels", style);
        failed += _cmocka_run_group_tests(name, tests, list_tests(tests, i == 0), NULL, NULL);
    }
    device_free(dev);
    return failed;
}
