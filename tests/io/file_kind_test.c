/* What people give for a model by mistake is named as what it is, with what to do, by its content: to convert, as a
 * model, to inspect.  Nothing is written. */
#include "checks.h"
#include "cli_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file_kind.h"

/* A tar header of one entry; posix: with its magic. */
static size_t make_tar(uint8_t out[1024], const char *name, bool posix)
{
    unsigned sum = 0;
    memset(out, 0, 1024);
    snprintf((char *)out, 100, "%s", name);
    memcpy(out + 100, "0000644", 8);
    memcpy(out + 124, "00000000000", 12);
    memcpy(out + 136, "00000000000", 12);
    memset(out + 148, ' ', 8);
    out[156] = '0';
    if (posix)
        memcpy(out + 257, "ustar\00000", 8);
    for (int i = 0; i < 512; i++)
        sum += out[i];
    snprintf((char *)out + 148, 8, "%06o", sum);
    return 1024;
}

/* A zip archive of empty entries, stored. */
static size_t make_zip(uint8_t *out, const char *const *names, size_t n)
{
    size_t at = 0, starts[8], first;
    for (size_t i = 0; i < n; i++) {
        uint8_t head[30] = {'P', 'K', 3, 4, 20};
        starts[i] = at;
        head[26] = (uint8_t)strlen(names[i]);
        memcpy(out + at, head, 30);
        memcpy(out + at + 30, names[i], strlen(names[i]));
        at += 30 + strlen(names[i]);
    }
    first = at;
    for (size_t i = 0; i < n; i++) {
        uint8_t head[46] = {'P', 'K', 1, 2, 20, 0, 20};
        head[28] = (uint8_t)strlen(names[i]);
        head[42] = (uint8_t)starts[i];
        head[43] = (uint8_t)(starts[i] >> 8);
        memcpy(out + at, head, 46);
        memcpy(out + at + 46, names[i], strlen(names[i]));
        at += 46 + strlen(names[i]);
    }
    uint8_t end[22] = {'P', 'K', 5, 6, 0, 0, 0, 0, (uint8_t)n, 0, (uint8_t)n};
    size_t size = at - first;
    end[12] = (uint8_t)size;
    end[13] = (uint8_t)(size >> 8);
    end[16] = (uint8_t)first;
    end[17] = (uint8_t)(first >> 8);
    memcpy(out + at, end, 22);
    return at + 22;
}

#define BYTES(text) text, sizeof(text) - 1

static const struct row {
    const char *name, *bytes;
    size_t n;
    const char *what, *remedy;
} rows[] = {
    {"lfs.pt", BYTES("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 1234567890\n"),
     "a Git LFS pointer", "git lfs pull gets the file itself, 1.15 GiB"},
    {"lfs.safetensors",
     BYTES("\xef\xbb\xbfversion https://git-lfs.github.com/spec/v1\r\noid sha256:abc\r\nsize 123456\r\n"),
     "a Git LFS pointer", "0.12 MiB"},
    {"annex.bin", BYTES("../../.git/annex/objects/xx/SHA256E-s12--abc/SHA256E-s12--abc"), "a git-annex pointer",
     "git annex get"},
    {"page.pt", BYTES("<!DOCTYPE html>\n<html><head><title>Sign in\n - Drive</title></head></html>"),
     "an HTML page, \"Sign in - Drive\", not the file", "the download failed"},
    {"page2.ckpt", BYTES("\n\n  <html lang=en><body>404 Not Found</body></html>"), "an HTML page", "login"},
    {"denied.bin", BYTES("<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>"),
     "an XML text, \"AccessDenied\"", "the download failed"},
    {"error.pt", BYTES("{\"error\": \"Invalid username or password.\"}"),
     "a server's error message, not the file: \"Invalid username", "token"},
    {"error2.pt", BYTES("{\"error\": {\"code\": 403, \"message\": \"Forbidden\"}}"), "\"Forbidden\"", "token"},
    {"config.json", BYTES("{\"architectures\": [\"CLIPModel\"]}"), "a model's configuration", "the folder"},
    {"list.json", BYTES("[1, 2]"), "a JSON text", ""},
    {"notes.txt", BYTES("The weights are on the other disk.\n"), "a text, no model: it begins \"The weights are", ""},
    {"empty.pt", BYTES(""), "an empty file", "download it again"},
    {"zeros.pt", BYTES("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), "nothing but zeros", "download"},
    {"a.npy", BYTES("\x93NUMPY\1\0v\0{'descr'"), "a NumPy array", ""},
    {"a.png", BYTES("\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), "a PNG picture", ""},
    {"a.jpg", BYTES("\xff\xd8\xff\xe0\0\x10JFIF"), "a JPEG picture", ""},
    {"a.gif", BYTES("GIF89a\1\0\1\0"), "a GIF picture", ""},
    {"a.webp", BYTES("RIFF\x24\0\0\0WEBPVP8 "), "a WebP picture", ""},
    {"a.h5", BYTES("\x89HDF\r\n\x1a\n\0\0"), "an HDF5 file", "safetensors"},
    {"a.gz", BYTES("\x1f\x8b\x08\0\0\0\0\0"), "compressed by gzip", "gunzip"},
    {"a.zst", BYTES("\x28\xb5\x2f\xfd\0\0\0\0"), "compressed by zstd", "unzstd"},
    {"a.xz", BYTES("\xfd\x37zXZ\0\0\0"), "compressed by xz", "unxz"},
    {"a.bz2", BYTES("BZh91AY&SY"), "compressed by bzip2", "bunzip2"},
    {"a.7z", BYTES("7z\xbc\xaf\x27\x1c\0\4"), "a 7z archive", "7z x"},
    {"a.rar", BYTES("Rar!\x1a\x07\1\0"), "a RAR archive", "unrar"},
    {"a.onnx",
     BYTES("\x08\x07\x12\x07pytorch\x1a\x05"
           "2.1.0"),
     "an ONNX model", "exported from"},
    {"b.onnx", BYTES("\x08\x04\x32\x10xxxxxxxxxxxx"), "an ONNX model", ""},
    {"model.ckpt.data-00000-of-00001", BYTES("\x01\x02\x03\x04\xff\xfe"), "a part of a TensorFlow checkpoint",
     "safetensors"},
    {"saved_model.pb", BYTES("\x08\x01\xff\xff"), "a TensorFlow graph", ""},
    {"a.tflite", BYTES("\x1c\0\0\0TFL3\x14\0"), "a TensorFlow Lite model", ""},
    {"flax_model.msgpack", BYTES("\x81\xa6params\x81\xa1x"), "Flax weights", "PyTorch"},
    {"weights", BYTES("\x82\xa6params\x81\xa1x\xff\xfe"), "Flax weights", ""},
    {"a.pkl", BYTES("\x80\4\x95\x10\0\0\0\0\0\0\0}\x94."), "a Python pickle", "torch.save"},
    {"b.pkl", BYTES("\x80\4\x95\x40\0\0\0\0\0\0\0\x8c\x15numpy.core.multiarray\x94."),
     "a Python pickle of NumPy arrays", ""},
    {"old.bin", BYTES("lmgg\x10\0\0\0"), "a model of ggml's first format", ""},
    {"old2.bin", BYTES("tjgg\3\0\0\0"), "a model of ggml's third format", ""},
    {"a.parquet", BYTES("PAR1\x15\0"), "a Parquet table", ""},
    {"a.pdf", BYTES("%PDF-1.7\n"), "a PDF document", ""},
    {"a.mp4",
     BYTES("\0\0\0\x18"
           "ftypmp42"),
     "a video or a picture", ""},
};

static void check_convert(const char *name, const char *what, const char *remedy)
{
    char line[256];
    cli_result r;
    snprintf(line, sizeof line, "convert|%s|-o|out.gguf", name);
    r = cli_run(line);
    if (r.code != 1 || !strstr(r.err, name) || !strstr(r.err, what) || !strstr(r.err, remedy) || cli_exists("out.gguf"))
        fail_msg("convert %s: %d, %s", name, r.code, r.err);
}

static void check(const char *name, const char *what, const char *remedy)
{
    char line[256];
    cli_result r;
    check_convert(name, what, remedy);
    snprintf(line, sizeof line, "tokenize|x|-m|%s", name);
    r = cli_run(line);
    if (r.code != 1 || !strstr(r.err, what))
        fail_msg("-m %s: %d, %s", name, r.code, r.err);
}

static void files_of_other_kinds_are_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        cli_write(rows[i].name, rows[i].bytes, rows[i].n);
        check(rows[i].name, rows[i].what, rows[i].remedy);
        if (rows[i].n && (uint8_t)*rows[i].bytes == 0x93)
            continue; /* inspect reads arrays and pictures */
        char line[256];
        snprintf(line, sizeof line, "inspect|%s", rows[i].name);
        cli_result r = cli_run(line);
        if (r.code != 1 || (!strstr(r.err, rows[i].what) && !strstr(rows[i].what, "picture")))
            fail_msg("inspect %s: %d, %s", rows[i].name, r.code, r.err);
    }
}

static void archives_are_named_by_what_is_in_them(void **state)
{
    (void)state;
    static const struct {
        const char *names[4], *what, *remedy;
    } zips[] = {
        {{"a.png", "b.JPG", "c.txt"}, "a zip archive of 2 pictures", "unpack it"},
        {{"arr_0.npy", "w.npy"}, "a NumPy archive", "save_file"},
        {{"config.json", "model.weights.h5"}, "a Keras model", "safetensors"},
        {{"x/model.safetensors", "x/config.json"}, "a zip archive with model.safetensors in it", "unpack it"},
        {{"[Content_Types].xml", "word/document.xml"}, "a document of an office program", ""},
        {{"a", "b", "c"}, "a zip archive of 3 files", "unpack it"},
    };
    uint8_t bytes[2048];
    for (size_t i = 0; i < COUNT(zips); i++) {
        size_t n = 0;
        while (n < 4 && zips[i].names[n])
            n++;
        cli_write("a.pt", bytes, make_zip(bytes, zips[i].names, n));
        check("a.pt", zips[i].what, zips[i].remedy);
    }
    cli_write("t.pt", bytes, make_tar(bytes, "data/picture.png", true));
    check("t.pt", "a tar archive", "unpack it");
    cli_write("t.pt", bytes, make_tar(bytes, "data/picture.png", false));
    check("t.pt", "a tar archive", "unpack it");
    cli_write("t.pt", bytes, make_tar(bytes, "sys_info", false));
    check("t.pt", "a checkpoint of PyTorch's first releases", "save it again");
}

static void files_that_are_not_complete_are_named(void **state)
{
    (void)state;
    static const char header[] =
        "\x60\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}                 ";
    cli_write("cut.safetensors", header, 60);
    check("cut.safetensors", "incomplete", "");
    cli_write("cut.pt", "PK\3\4\x14\0\0\0", 8);
    check("cut.pt", "is the file incomplete?", "");
    static const char *const names[] = {"m.safetensors.part", "m.pt.incomplete", "m.crdownload"};
    for (size_t i = 0; i < COUNT(names); i++) {
        cli_write(names[i], header, 60);
        check(names[i], "a download that isn't complete", "let it end");
    }
    cli_write("m.safetensors", "\0\0\0\0\0\0\0\0\0", 9);
    cli_write("m.safetensors.aria2", "", 0);
    check("m.safetensors", "a download that isn't complete", "let it end");
}

/* As llama.cpp writes them: other architectures, and types of weights that limn doesn't have. */
static void gguf_files_of_other_programs_are_named(void **state)
{
    (void)state;
    static const char file[] =
        "GGUF\3\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\x14\0\0\0\0\0\0\0general.architecture\x08\0\0\0"
        "\5\0\0\0\0\0\0\0llama\1\0\0\0\0\0\0\0w\1\0\0\0\0\1\0\0\0\0\0\0\x0c\0\0\0\0\0\0\0\0\0\0\0";
    uint8_t bytes[512] = {0};
    size_t head = (sizeof file - 1 + 31) / 32 * 32;
    memcpy(bytes, file, sizeof file - 1);
    cli_write("llama.gguf", bytes, head + 160);
    check_convert("llama.gguf", "\"llama\": a GGUF file of another program", "safetensors");
    cli_result r = cli_good("inspect|llama.gguf");
    cli_has(r.out, "q4_k");
    bytes[4] = 0;
    bytes[7] = 3;
    cli_write("big.gguf", bytes, head + 160);
    check("big.gguf", "big-endian", "");
    bytes[4] = 1;
    bytes[7] = 0;
    cli_write("one.gguf", bytes, head + 160);
    check("one.gguf", "version: 1 is not supported", "");
}

static void folders_are_named(void **state)
{
    (void)state;
    cli_shell("mkdir -p none graph; touch graph/saved_model.pb none/readme.md");
    check("none", "the folder has no weights", "");
    check("graph", "a TensorFlow model", "");
    cli_bad("inspect|none", 1, "none: is a directory, and not a model's: the folder has no weights");
    cli_has(cli_good("inspect|" TEST_DATA "/clip/huggingface").out, "family: clip");
    cli_has(cli_good("inspect|" TEST_DATA "/clip/openai.pt").out, "family: clip (limn convert makes a model of it)");
    json_t *j = cli_parse(cli_good("inspect|" TEST_DATA "/clip/ru/pytorch_model.bin|--json").out);
    assert_string_equal(json_string_value(json_object_get(j, "family")), "clip");
    json_decref(j);
    cli_has(cli_good("inspect|" TEST_DATA "/torch/types.pt").out, "family: none that limn knows");
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_of_other_kinds_are_named),
        cmocka_unit_test(archives_are_named_by_what_is_in_them),
        cmocka_unit_test(files_that_are_not_complete_are_named),
        cmocka_unit_test(gguf_files_of_other_programs_are_named),
        cmocka_unit_test(folders_are_named),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    if (!cli_enter())
        return 1;
    int failed = cmocka_run_group_tests_name("file_kind", tests, NULL, NULL);
    cli_leave();
    return failed != 0;
}
