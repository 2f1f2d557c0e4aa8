/* Model files with a key or tensor that is missing, wrong or left over: none opens, and the message names it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checks.h"
#include "models/model.h"
#include "support.h"

static device *dev;

/* A model with that one edit must not open; the message names the file and `part`. */
static void refuse(const tiny_config *c, const char *part)
{
    err e = {0};
    const char *path = support_path("damaged.gguf");
    good(tiny_model_write(path, c, &e), &e);
    model *m = limn_model_open(dev, path, &e);
    if (m)
        fail_msg("%s, edit %d, number %g: it opens", c->edit.name, c->edit.what, c->edit.number);
    assert_int_equal(e.code, ERR_FAILED);
    has(e.text, path);
    has(e.text, part);
    assert_int_equal(dev->memory_used, 0);
}

static void refuse_edit(const char *name, int what, double number, const char *text, const char *part)
{
    tiny_config c = {.layers = 1, .edit = {.name = name, .number = number, .text = text}};
    c.edit.what = what;
    refuse(&c, part);
}

static void sizes_that_are_missing_or_wrong_name_their_key(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        double below, above;
    } sizes[] = {
        {"limn.image.width", 0, 16385},
        {"limn.image.height", 0, 16385},
        {"limn.codec.codes", 1, (1 << 20) + 1},
        {"limn.codec.code_dim", 0, 65537},
        {"limn.codec.block_width", 0, 65537},
        {"limn.codec.encoder_blocks", -1, 17},
        {"limn.codec.decoder_blocks", -1, 17},
        {"limn.transformer.layers", 0, 1025},
        {"limn.transformer.dim", 0, 65537},
        {"limn.transformer.heads", 0, 17},
        {"limn.transformer.mlp", 0, (1 << 20) + 1},
        {"limn.transformer.text_length", 0, 65537},
        {"limn.transformer.text_vocabulary", 1, (1 << 24) + 1},
        {"limn.transformer.grid_width", 0, 1025},
        {"limn.transformer.grid_height", 0, 1025},
        {"limn.transformer.codes", 1, (1 << 20) + 1},
        {"limn.transformer.pad_id", -1, TINY_TOKENS},
        {"limn.transformer.image_id", -1, TINY_TOKENS},
    };
    for (size_t i = 0; i < COUNT(sizes); i++) {
        const char *key = sizes[i].key, *last = strrchr(key, '.') + 1;
        refuse_edit(key, TINY_REMOVE, 0, NULL, key);
        refuse_edit(key, TINY_STRING, 0, "8", key);
        refuse_edit(key, TINY_FLOAT, 8, NULL, key);
        refuse_edit(key, TINY_INTS, 8, NULL, key);
        refuse_edit(key, TINY_INT, sizes[i].below, NULL, key);
        refuse_edit(key, TINY_INT, sizes[i].above, NULL, last);
        refuse_edit(key, TINY_INT, 9e15, NULL, key);
    }
}

static void other_keys_that_are_missing_or_wrong_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        int what;
        double number;
        const char *text, *part;
    } edits[] = {
        {"general.architecture", TINY_REMOVE, 0, NULL, NULL},
        {"general.architecture", TINY_INT, 3, NULL, NULL},
        {"general.architecture", TINY_STRING, 0, "llama", "limn convert"},
        {"general.name", TINY_INT, 3, NULL, NULL},
        {"limn.codec.kind", TINY_REMOVE, 0, NULL, NULL},
        {"limn.codec.kind", TINY_INT, 3, NULL, NULL},
        {"limn.codec.kind", TINY_STRING, 0, "vhs", "vhs"},
        {"limn.codec.encoder_channels", TINY_REMOVE, 0, NULL, NULL},
        {"limn.codec.encoder_channels", TINY_INT, 6, NULL, NULL},
        {"limn.codec.encoder_channels", TINY_INTS, 0, NULL, NULL},
        {"limn.codec.encoder_channels", TINY_INTS, 65537, NULL, NULL},
        {"limn.codec.encoder_channels", TINY_STRINGS, 0, "6", NULL},
        {"limn.codec.decoder_channels", TINY_REMOVE, 0, NULL, NULL},
        {"limn.codec.decoder_channels", TINY_INTS, -1, NULL, NULL},
        {"limn.codec.activation", TINY_REMOVE, 0, NULL, NULL},
        {"limn.codec.activation", TINY_STRING, 0, "swoosh", "gelu_erf"},
        {"limn.image.width", TINY_INT, 7, NULL, "7 x 8"},
        {"limn.image.height", TINY_INT, 10, NULL, "4 x 5 cells"},
        {"limn.transformer.activation", TINY_REMOVE, 0, NULL, NULL},
        {"limn.transformer.activation", TINY_STRING, 0, "swoosh", "gelu_erf"},
        {"limn.transformer.norm_eps", TINY_REMOVE, 0, NULL, NULL},
        {"limn.transformer.norm_eps", TINY_FLOAT, -1, NULL, NULL},
        {"limn.transformer.norm_eps", TINY_FLOAT, NAN, NULL, NULL},
        {"limn.transformer.norm_eps", TINY_STRING, 0, "1e-5", NULL},
        {"limn.transformer.heads", TINY_INT, 3, NULL, "do not divide"},
        {"limn.transformer.attention", TINY_STRINGS, 0, "diagonal", "diagonal"},
        {"limn.transformer.attention", TINY_STRINGS, 0, NULL, "empty"},
        {"limn.transformer.attention", TINY_STRING, 0, "full", NULL},
        {"limn.transformer.conv_kernel", TINY_INT, 4, NULL, "even"},
        {"limn.transformer.conv_kernel", TINY_INT, 0, NULL, NULL},
        {"limn.transformer.conv_kernel", TINY_STRING, 0, "3", NULL},
        {"limn.transformer.pad_per_position", TINY_INT, 1, NULL, NULL},
        {"limn.transformer.pad_per_position", TINY_BOOL, 1, NULL, "transformer.text_embedding.weight"},
        {"limn.sampling.temperature", TINY_FLOAT, -1, NULL, NULL},
        {"limn.sampling.temperature", TINY_FLOAT, INFINITY, NULL, NULL},
        {"limn.sampling.temperature", TINY_INT, 1, NULL, NULL},
        {"limn.sampling.top_k", TINY_INT, -1, NULL, NULL},
        {"limn.sampling.top_p", TINY_FLOAT, 1.5, NULL, NULL},
        {"limn.sampling.guidance", TINY_FLOAT, NAN, NULL, NULL},
        {"tokenizer.ggml.model", TINY_STRING, 0, "llama", NULL},
        {"tokenizer.ggml.tokens", TINY_REMOVE, 0, NULL, NULL},
        {"tokenizer.ggml.tokens", TINY_INT, 1, NULL, NULL},
        {"tokenizer.ggml.tokens", TINY_STRINGS, 0, "a", "token"},
        {"tokenizer.ggml.merges", TINY_REMOVE, 0, NULL, NULL},
        {"tokenizer.ggml.merges", TINY_STRINGS, 0, "a", "merge"},
        {"limn.tokenizer.lowercase", TINY_INT, 1, NULL, NULL},
    };
    for (size_t i = 0; i < COUNT(edits); i++)
        refuse_edit(edits[i].key, edits[i].what, edits[i].number, edits[i].text,
                    edits[i].part ? edits[i].part : edits[i].key);
}

static void parts_that_disagree_are_refused(void **state)
{
    (void)state;
    refuse_edit("limn.transformer.grid_width", TINY_INT, 5, NULL, "the transformer 5 x 4");
    refuse_edit("limn.transformer.grid_height", TINY_INT, 3, NULL, "the transformer 4 x 3");
    refuse_edit("limn.transformer.codes", TINY_INT, 9, NULL, "the transformer 4 x 4 of 9");
    refuse_edit("limn.transformer.layers", TINY_INT, 2, NULL, "tensor transformer.block.1.norm1.weight is missing");
    refuse(&(tiny_config){.layers = 2, .edit = {"limn.transformer.layers", TINY_INT, .number = 1}},
           "tensor transformer.block.1.norm1.weight belongs to nothing");
    refuse(&(tiny_config){.no_codec = true, .no_transformer = true, .no_tokenizer = true}, "neither codec nor");
}

static void tensors_that_are_missing_extra_or_misshapen_are_named(void **state)
{
    (void)state;
    err e = {0};
    const char *path = support_path("tiny.gguf");
    good(tiny_model_write(path, &(tiny_config){.layers = 1}, &e), &e);
    file_map file;
    good(file_map_open(&file, path, &e), &e);
    gguf *g = gguf_open(file.data, file.size, path, &e);
    good(g, &e);
    for (size_t i = 0; i < gguf_tensor_count(g); i++) {
        const char *name = gguf_tensor(g, i)->name;
        refuse_edit(name, TINY_REMOVE, 0, NULL, name);
        refuse_edit(name, TINY_RESHAPE, 0, NULL, name);
        refuse_edit(name, TINY_RANK, 0, NULL, name);
    }
    gguf_free(g);
    file_map_release(&file);
    refuse_edit("transformer.block.0.gate.weight", TINY_ADD, 0, NULL, "transformer.block.0.gate.weight");
}

static void files_that_are_no_model_are_refused(void **state)
{
    (void)state;
    err e = {0};
    assert_null(limn_model_open(dev, support_path("none.gguf"), &e));
    has(e.text, "none.gguf");
    e = (err){0};
    assert_null(limn_model_open(dev, TEST_DATA "/emoji_prompts.json", &e));
    has(e.text, "not a GGUF file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_that_are_missing_or_wrong_name_their_key),
        cmocka_unit_test(other_keys_that_are_missing_or_wrong_are_named),
        cmocka_unit_test(parts_that_disagree_are_refused),
        cmocka_unit_test(tensors_that_are_missing_extra_or_misshapen_are_named),
        cmocka_unit_test(files_that_are_no_model_are_refused),
    };
    dev = support_device();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    device_free(dev);
    return failed != 0;
}
