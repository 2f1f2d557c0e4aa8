/* Models in folders, as they are published and as people keep them: what is their model is found by what the files
 * hold. Shards, indices of them, HuggingFace's cache; two models are a question.  Then models by their checkpoint's
 * name:
 * --convert, and the cache of what it made. */
#include "checks.h"
#include "cli_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "golden_checkpoint.h"
#include "support.h"

#define GOLDEN TEST_DATA "/golden"

static void shell(const char *line)
{
    if (cli_shell(line) != 0)
        fail_msg("%s", line);
}

/* The folder as it is published, beside what limn makes of its files by their names. */
static void published_folders_are_models(void **state)
{
    (void)state;
    static const struct {
        const char *make, *files, *set;
    } rows[] = {
        {"cp " GOLDEN "/min_dalle/*.pt " GOLDEN "/min_dalle/vocab.json " GOLDEN "/min_dalle/merges.txt f/",
         "f/encoder.pt|f/decoder.pt|f/detoker.pt|f/vocab.json|f/merges.txt", "|--set|heads=6"},
        {"cp -r " GOLDEN "/minDALL-E/*.ckpt " GOLDEN "/minDALL-E/tokenizer f/",
         "f/stage1_last.ckpt|f/stage2_last.ckpt|--tokenizer|f/tokenizer", "|--set|heads=2"},
        {"cp " GOLDEN "/rudalle/pytorch_model_v3.bin f/pytorch_model.bin; cp " GOLDEN
         "/rudalle/vqgan_gumbel.ckpt f/; cp " TEST_DATA "/gpt/yttm/bpe.model f/; echo '{}' >f/config.json",
         "f/pytorch_model.bin|f/vqgan_gumbel.ckpt|--tokenizer|f/bpe.model", "|--set|heads=3"},
        {"mkdir f/vae; cp " GOLDEN "/rudalle/pytorch_model_v3.bin f/pytorch_model.bin; cp " GOLDEN
         "/rudalle/vqgan_gumbel.ckpt f/vae/",
         "f/pytorch_model.bin|f/vae/vqgan_gumbel.ckpt", "|--set|heads=3"},
        {"cp " GOLDEN "/openai_dvae/*.pkl f/", "f/encoder.pkl|f/decoder.pkl", "|--set|image_size=32"},
        {"cp " TEST_DATA "/clip/huggingface/* f/", "f/model.safetensors|f/config.json|f/merges.txt", ""},
        {"cp " TEST_DATA "/clip/ru/* f/; cp " TEST_DATA "/gpt/yttm/bpe.model f/", "f/pytorch_model.bin|f/bpe.model",
         ""},
        {"cp " GOLDEN "/dalle_pytorch/dalle_full.pt " GOLDEN "/dalle_pytorch/vae.pt f/; cp " TEST_DATA
         "/dallepy/tokenizer.json f/",
         "f/dalle_full.pt|f/tokenizer.json", ""},
        {"cp " GOLDEN "/rudalle/vqgan_dwt.safetensors f/; touch f/optimizer.pt f/training_args.bin f/rng_state.pth",
         "f/vqgan_dwt.safetensors", "|--set|image_size=32"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char line[1024];
        shell("rm -rf f a.gguf b.gguf; mkdir f; echo Readme >f/README.md");
        shell(rows[i].make);
        snprintf(line, sizeof line, "convert|%s%s|-o|a.gguf", rows[i].files, rows[i].set);
        cli_good(line);
        snprintf(line, sizeof line, "convert|f%s|-o|b.gguf", rows[i].set);
        cli_good(line);
        if (!support_same_files("a.gguf", "b.gguf"))
            fail_msg("%s: another model", rows[i].make);
        snprintf(line, sizeof line, "convert|./f/%s|-o|b.gguf", rows[i].set);
        cli_good(line);
        assert_true(support_same_files("a.gguf", "b.gguf"));
    }
}

#define SIMPLEAR(files) "convert|" files "|--set|image_size=48|-o|b.gguf"

/* SimpleAR's codec is another repository's: in a folder beside, first or last, or as the one file of both its networks.
 */
static void a_codec_lies_in_a_folder_of_its_own(void **state)
{
    (void)state;
    saved_list s = {0};
    size_t kept = 0;
    shell("rm -rf f g; mkdir g; cp -r " GOLDEN "/simplear f; mv f/*.jit g/; echo '{}' >g/config.json");
    cli_good(SIMPLEAR(GOLDEN "/simplear"));
    shell("mv b.gguf a.gguf");
    cli_good(SIMPLEAR("f|g"));
    assert_true(support_same_files("a.gguf", "b.gguf"));
    cli_good(SIMPLEAR("g|f"));
    assert_true(support_same_files("a.gguf", "b.gguf"));
    saved_load(&s, "g/decoder.jit", "");
    saved_load(&s, "g/encoder.jit", "");
    for (size_t i = 0; i < s.n; i++) { /* that of the decoder has the codebook under another name */
        saved_tensor one = s.list[i];
        s.list[i] = s.list[kept];
        one.type = DTYPE_BF16;
        s.list[kept] = one;
        kept += strncmp(one.name, "inv_quant.", 10) != 0;
    }
    saved_write_safetensors("g/autoencoder.safetensors", &s, 0, kept);
    saved_free(&s);
    cli_result r = cli_good(SIMPLEAR("f|g"));
    cli_has(r.err, "reads autoencoder.safetensors, not encoder.jit");
    assert_true(support_same_files("a.gguf", "b.gguf"));
    shell("rm g/autoencoder.safetensors g/encoder.jit");
    r = cli_good(SIMPLEAR("f|g"));
    cli_has(r.err, "without the Cosmos tokenizer's encoder.jit the model can't read pictures");
}

static saved_list vae(void)
{
    saved_list s = {0};
    saved_load(&s, GOLDEN "/dalle_pytorch/vae.pt", "");
    return s;
}

static void make_plain(void)
{
    saved_list s = vae();
    shell("rm -rf f; mkdir f");
    saved_write("plain.pt", &s);
    cli_good("convert|plain.pt|-o|plain.gguf");
    saved_free(&s);
}

static void safetensors_are_preferred_to_the_same_in_pickles(void **state)
{
    (void)state;
    make_plain();
    saved_list s = vae();
    saved_write("f/pytorch_model.bin", &s);
    saved_write("f/model.safetensors", &s);
    for (size_t i = 0; i < s.n; i++)
        s.list[i].type = DTYPE_F16;
    saved_write("f/model.fp16.safetensors", &s);
    saved_free(&s);
    cli_result r = cli_good("convert|f|-o|out.gguf");
    cli_has(r.err, "reads model.safetensors, not pytorch_model.bin: they hold the same weights");
    cli_has(r.err, "reads model.safetensors, not model.fp16.safetensors");
    assert_true(support_same_files("out.gguf", "plain.gguf"));
}

static void two_models_are_a_question(void **state)
{
    (void)state;
    make_plain();
    saved_list s = vae();
    saved_write("f/epoch_10.pt", &s);
    for (size_t i = 0; i < s.n; i++)
        s.list[i].values[0] += 1;
    saved_write("f/epoch_20.pt", &s);
    saved_free(&s);
    cli_bad("convert|f|-o|out.gguf", 1, "f: it holds more than one model: epoch_10.pt (a DiscreteVAE), epoch_20.pt");
    shell("rm f/*; cp " GOLDEN "/rudalle/vqgan_gumbel.ckpt " TEST_DATA "/clip/openai.pt f/");
    cli_bad("convert|f|-o|out.gguf", 1, "openai.pt (a CLIP), vqgan_gumbel.ckpt (a VQGAN)");
    cli_bad("convert|f/openai.pt|f/vqgan_gumbel.ckpt|-o|out.gguf", 1, "more than one model");
    cli_good("convert|f/openai.pt|f/vqgan_gumbel.ckpt|--family|clip|-o|out.gguf");
    cli_bad("convert|" GOLDEN "/dalle_pytorch|-o|out.gguf", 1, "more than one model");
}

static void averaged_files_are_preferred(void **state)
{
    (void)state;
    make_plain();
    saved_list s = vae();
    saved_write("f/model_ema.pt", &s);
    for (size_t i = 0; i < s.n; i++)
        s.list[i].values[0] += 1;
    saved_write("f/model.pt", &s);
    saved_free(&s);
    cli_result r = cli_good("convert|f|-o|out.gguf");
    cli_has(r.err, "reads model_ema.pt, not model.pt: averaged weights (EMA) are preferred");
    assert_true(support_same_files("out.gguf", "plain.gguf"));
    /* those beside which others are called so, however near they are */
    shell("rm f/*");
    s = vae();
    saved_write("f/model.pt", &s);
    for (size_t i = 0; i < s.n; i++)
        s.list[i].values[0] *= 1.001f;
    saved_write("f/model.non_ema.pt", &s);
    saved_free(&s);
    r = cli_good("convert|f|-o|out.gguf");
    cli_has(r.err, "reads model.pt, not model.non_ema.pt: averaged weights (EMA) are preferred");
    assert_true(support_same_files("out.gguf", "plain.gguf"));
}

/* ---- shards ----------------------------------------------------------------------------------------------------- */

/* Two shards, and their index, behind a prefix. */
static void make_shards(const char *stem, const char *ending)
{
    saved_list s = {0};
    char path[128], other[128];
    json_t *map = json_object();
    shell("rm -rf f; mkdir f");
    saved_load(&s, GOLDEN "/dalle_pytorch/vae.pt", "module.");
    snprintf(path, sizeof path, "f/%s-00001-of-00002%s", stem, ending);
    snprintf(other, sizeof other, "f/%s-00002-of-00002%s", stem, ending);
    if (!strcmp(ending, ".bin")) {
        saved_write_torch(path, &s, 0, s.n / 2);
        saved_write_torch(other, &s, s.n / 2, s.n);
    } else {
        saved_write_safetensors(path, &s, 0, s.n / 2);
        saved_write_safetensors(other, &s, s.n / 2, s.n);
    }
    for (size_t i = 0; i < s.n; i++)
        json_object_set_new(map, s.list[i].name, json_string((i < s.n / 2 ? path : other) + 2));
    snprintf(path, sizeof path, "f/%s%s.index.json", stem, ending);
    json_t *root = json_pack("{s:o}", "weight_map", map);
    assert_int_equal(json_dump_file(root, path, 0), 0);
    json_decref(root);
    saved_free(&s);
}

static void shards_are_one_model(void **state)
{
    (void)state;
    static const char *const stems[] = {"model", "pytorch_model"}, *const endings[] = {".safetensors", ".bin"};
    make_plain();
    for (size_t i = 0; i < 2; i++) {
        char line[512], part[128];
        const char *stem = stems[i], *ending = endings[i];
        make_shards(stem, ending);
        const char *forms[] = {"convert|f/%s%s.index.json|-o|out.gguf", "convert|f|-o|out.gguf",
                               "convert|f/%s-00001-of-00002%s|-o|out.gguf"};
        for (int k = 0; k < 3; k++) {
            snprintf(line, sizeof line, forms[k], stem, ending);
            cli_good(line);
            assert_true(support_same_files("out.gguf", "plain.gguf"));
            unlink("out.gguf");
        }
        snprintf(line, sizeof line, "convert|f/%s-00002-of-00002%s|f/%s-00001-of-00002%s|-o|out.gguf", stem, ending,
                 stem, ending);
        cli_good(line);
        snprintf(line, sizeof line, "inspect|f/%s%s.index.json", stem, ending);
        cli_has(cli_good(line).out, "in shards");
        /* the index shows what is missing, and so do the names */
        snprintf(line, sizeof line, "rm f/%s-00002-of-00002%s", stem, ending);
        shell(line);
        snprintf(part, sizeof part, "f/%s-00002-of-00002%s: ", stem, ending);
        snprintf(line, sizeof line, "convert|f/%s%s.index.json|-o|no.gguf", stem, ending);
        cli_bad(line, 1, part);
        cli_bad("convert|f|-o|no.gguf", 1, part);
        snprintf(line, sizeof line, "convert|f/%s-00001-of-00002%s|-o|no.gguf", stem, ending);
        cli_bad(line, 1, "this shard is missing: the model has 2");
        shell("rm f/*.index.json");
        cli_bad("convert|f|-o|no.gguf", 1, "");
        assert_false(cli_exists("no.gguf"));
    }
}

static void snapshots_of_huggingface_are_folders(void **state)
{
    (void)state;
    shell("rm -rf h; mkdir -p h/models--a--b/blobs h/models--a--b/refs h/models--a--b/snapshots/0123 "
          "h/models--a--b/snapshots/4567; printf 0123 >h/models--a--b/refs/main; cd h/models--a--b; cp " TEST_DATA
          "/clip/huggingface/model.safetensors blobs/w; cp " TEST_DATA
          "/clip/huggingface/config.json blobs/c; cp " TEST_DATA
          "/clip/huggingface/merges.txt blobs/m; cd snapshots/0123; ln -s ../../blobs/w model.safetensors; "
          "ln -s ../../blobs/c config.json; ln -s ../../blobs/m merges.txt");
    cli_good("convert|" TEST_DATA "/clip/huggingface|-o|a.gguf");
    cli_good("convert|h/models--a--b/snapshots/0123|-o|b.gguf");
    assert_true(support_same_files("a.gguf", "b.gguf"));
    cli_good("convert|h/models--a--b|-o|b.gguf");
    assert_true(support_same_files("a.gguf", "b.gguf"));
    shell("rm h/models--a--b/refs/main");
    cli_bad("convert|h/models--a--b|-o|b.gguf", 1, "it has 2 revisions");
    shell("rm h/models--a--b/blobs/w"); /* a link to nothing: the download was cut */
    cli_bad("convert|h/models--a--b/snapshots/0123|-o|no.gguf", 1, "model.safetensors: cannot open");
}

/* What is read isn't written over, by whatever name. */
static void no_file_that_is_read_is_the_output(void **state)
{
    (void)state;
    make_shards("model", ".safetensors");
    shell("ln -s model-00002-of-00002.safetensors f/link.gguf; ln f/model-00001-of-00002.safetensors f/hard.gguf; "
          "ln f/model.safetensors.index.json f/index.gguf");
    cli_bad("convert|f/model.safetensors.index.json|-o|f/link.gguf", 2, "is also what is read");
    cli_bad("convert|f/model.safetensors.index.json|-o|f/hard.gguf", 2, "is also what is read");
    cli_bad("convert|f|-o|f/index.gguf", 2, "is also what is read");
    shell("cp -r " TEST_DATA "/clip/huggingface h2; ln h2/merges.txt h2/m.gguf; ln h2/config.json h2/c.gguf");
    cli_bad("convert|h2/model.safetensors|-o|h2/m.gguf", 2, "is also what is read");
    cli_bad("convert|h2|-o|h2/c.gguf", 2, "is also what is read");
    cli_bad("convert|h2/model.safetensors|--tokenizer|h2/merges.txt|-o|h2/m.gguf", 2, "--tokenizer");
    cli_good("convert|h2|-o|h2/model.gguf");
    cli_good("convert|h2|-o|h2/model.gguf"); /* its own result may be made again */
    shell("cp plain.pt mine.pt; ln -s mine.pt mine.gguf; ln mine.pt hard.gguf");
    cli_bad("convert|mine.pt|-o|mine.pt", 2, "mine.pt");
    cli_bad("convert|mine.pt|-o|mine.gguf", 2, "mine.gguf");
    cli_bad("convert|mine.pt|-o|hard.gguf", 2, "hard.gguf");
    shell("cmp plain.pt mine.pt");
    static const char *const names[] = {"out.safetensors", "photo.png", "model", "model.gguf.part"};
    for (size_t i = 0; i < COUNT(names); i++) {
        char line[128];
        snprintf(line, sizeof line, "convert|h2|-o|%s", names[i]);
        cli_bad(line, 2, "does not end in .gguf");
        assert_false(cli_exists(names[i]));
    }
}

/* ---- models by their checkpoint --------------------------------------------------------------------------------- */

static void checkpoints_are_models_by_way_of_the_cache(void **state)
{
    (void)state;
    setenv("LIMN_CACHE_DIR", "cache", 1);
    shell("rm -rf cache c; cp -r " TEST_DATA "/clip/huggingface c");
    cli_bad(
        "tokenize|a red cat|-m|c/model.safetensors", 1,
        "c/model.safetensors: a safetensors file of the family clip, no GGUF file (limn convert c/model.safetensors -o "
        "model.gguf makes a model of it, or add --convert)");
    cli_bad("tokenize|a red cat|-m|c", 1, "c: a folder with a model of the family clip");
    cli_result r = cli_good("tokenize|a red cat|-m|c|--convert");
    cli_has(r.err, "wrote cache/models/c-");
    char *first = strdup(r.out);
    r = cli_good("tokenize|a red cat|-m|c|--convert|-v");
    cli_has(r.err, "was converted before: cache/models/c-");
    assert_string_equal(r.out, first);
    cli_good("convert|c|-o|made.gguf");
    assert_string_equal(cli_good("tokenize|a red cat|-m|made.gguf").out, first);
    assert_string_equal(cli_good("tokenize|a red cat|-m|made.gguf|--convert").out, first); /* a model already */
    shell("test $(ls cache/models | wc -l) = 1");
    /* other files, other models */
    shell("touch -d '2001-02-03' c/merges.txt");
    cli_has(cli_good("tokenize|a red cat|-m|c|--convert").err, "wrote ");
    shell("touch -d '2001-02-03' c/model.safetensors");
    cli_has(cli_good("tokenize|a red cat|-m|c/model.safetensors|--convert").err, "wrote cache/models/model-");
    shell("test $(ls cache/models | wc -l) = 3; test -z \"$(ls -A cache/models | grep -v gguf$)\"");
    free(first);
    /* what can't be converted leaves nothing */
    saved_list s = vae();
    s.list[3].values[0] = 0.0f / 0.0f;
    saved_write("nan.pt", &s);
    saved_free(&s);
    cli_bad("tokenize|a|-m|nan.pt|--convert", 1, "no numbers (NaN)");
    shell("test $(ls -A cache/models | wc -l) = 3");
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_folders_are_models),
        cmocka_unit_test(a_codec_lies_in_a_folder_of_its_own),
        cmocka_unit_test(safetensors_are_preferred_to_the_same_in_pickles),
        cmocka_unit_test(two_models_are_a_question),
        cmocka_unit_test(averaged_files_are_preferred),
        cmocka_unit_test(shards_are_one_model),
        cmocka_unit_test(snapshots_of_huggingface_are_folders),
        cmocka_unit_test(no_file_that_is_read_is_the_output),
        cmocka_unit_test(checkpoints_are_models_by_way_of_the_cache),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    if (!cli_enter())
        return 1;
    int failed = cmocka_run_group_tests_name("import_folder", tests, NULL, NULL);
    cli_leave();
    return failed != 0;
}
