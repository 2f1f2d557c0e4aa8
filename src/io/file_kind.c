/* Tells kinds of files by their first bytes, and archives by what is in them. */
#include "io/file_kind.h"

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <utf8proc.h>

#include "base/file.h"
#include "io/torch.h"
#include "io/zip.h"

enum { TEXT_BYTES = 4096, SMALL = 1 << 16 };

static const char *const again = "download it again, and look at its size";

static file_kind kind(file_format format, const char *what, const char *remedy)
{
    file_kind k = {.format = format};
    snprintf(k.what, sizeof k.what, "%s", what);
    snprintf(k.remedy, sizeof k.remedy, "%s", remedy);
    return k;
}

static bool ends_in(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n > m && !strcasecmp(text + n - m, end);
}

/* ---- by magic numbers ------------------------------------------------------------------------------------------- */

typedef struct magic {
    size_t at;
    const char *bytes;
    size_t n;
    const char *what, *remedy;
    file_format format;
} magic;

#define AT(at, text)  at, text, sizeof(text) - 1
#define OTHER_WEIGHTS "convert it to safetensors or a PyTorch checkpoint with the program that it comes from"
#define UNPACK        "unpack it, and give the files in it"
#define A_PICTURE     "give the model's own files"

static const magic magics[] = {
    {AT(0, "GGUF"), "a GGUF file", "", FILE_GGUF},
    {AT(0, "\x93NUMPY"), "a NumPy array, no model", "give safetensors or a PyTorch checkpoint", FILE_NPY},
    {AT(0, "\x89PNG\r\n\x1a\n"), "a PNG picture, no model", A_PICTURE, FILE_PNG},
    {AT(0, "\xff\xd8\xff"), "a JPEG picture, no model", A_PICTURE, FILE_JPEG},
    {AT(0, "GIF8"), "a GIF picture, no model", A_PICTURE, FILE_UNKNOWN},
    {AT(0, "II*\0"), "a TIFF picture, no model", A_PICTURE, FILE_UNKNOWN},
    {AT(0, "MM\0*"), "a TIFF picture, no model", A_PICTURE, FILE_UNKNOWN},
    {AT(8, "WEBP"), "a WebP picture, no model", A_PICTURE, FILE_WEBP},
    {AT(4, "ftyp"), "a video or a picture (MP4, HEIC, AVIF), no model", A_PICTURE, FILE_UNKNOWN},
    {AT(0, "\x89HDF\r\n\x1a\n"), "an HDF5 file (Keras or TensorFlow weights)", OTHER_WEIGHTS, FILE_UNKNOWN},
    {AT(257, "ustar"), "a tar archive", UNPACK, FILE_UNKNOWN},
    {AT(0, "\x1f\x8b"), "compressed by gzip", "unpack it: gunzip, or tar -xzf", FILE_UNKNOWN},
    {AT(0, "\x28\xb5\x2f\xfd"), "compressed by zstd", "unpack it: unzstd", FILE_UNKNOWN},
    {AT(0, "\xfd\x37zXZ\0"), "compressed by xz", "unpack it: unxz, or tar -xJf", FILE_UNKNOWN},
    {AT(0, "BZh"), "compressed by bzip2", "unpack it: bunzip2, or tar -xjf", FILE_UNKNOWN},
    {AT(0, "\x04\x22\x4d\x18"), "compressed by lz4", "unpack it: unlz4", FILE_UNKNOWN},
    {AT(0, "7z\xbc\xaf\x27\x1c"), "a 7z archive", "unpack it: 7z x", FILE_UNKNOWN},
    {AT(0, "Rar!\x1a\x07"), "a RAR archive", "unpack it: unrar x", FILE_UNKNOWN},
    {AT(0, "PAR1"), "a Parquet table, no model", "give the model's own files", FILE_UNKNOWN},
    {AT(0, "%PDF"), "a PDF document, no model", "give the model's own files", FILE_UNKNOWN},
    {AT(0, "\x7f"
           "ELF"),
     "a program or a library (ELF), no model", "give the model's own files", FILE_UNKNOWN},
    {AT(0, "lmgg"), "a model of ggml's first format, which was before GGUF", OTHER_WEIGHTS, FILE_UNKNOWN},
    {AT(0, "fmgg"), "a model of ggml's second format, which was before GGUF", OTHER_WEIGHTS, FILE_UNKNOWN},
    {AT(0, "tjgg"), "a model of ggml's third format, which was before GGUF", OTHER_WEIGHTS, FILE_UNKNOWN},
    {AT(0, "algg"), "a LoRA of ggml's old format", OTHER_WEIGHTS, FILE_UNKNOWN},
    {AT(4, "TFL3"), "a TensorFlow Lite model", OTHER_WEIGHTS, FILE_UNKNOWN},
    {AT(0, "SQLite format 3"), "an SQLite database, no model", "give the model's own files", FILE_UNKNOWN},
};

static bool has_magic(const magic *m, const uint8_t *d, size_t size)
{
    return size >= m->at + m->n && !memcmp(d + m->at, m->bytes, m->n);
}

static bool find_magic(const uint8_t *d, size_t size, file_kind *k)
{
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++)
        if (has_magic(&magics[i], d, size) && (magics[i].format != FILE_WEBP || !memcmp(d, "RIFF", 4))) {
            *k = kind(magics[i].format, magics[i].what, magics[i].remedy);
            return true;
        }
    uint64_t length = 0; /* of the bitmap, in its header */
    if (size >= 26 && !memcmp(d, "BM", 2))
        for (int i = 3; i >= 0; i--)
            length = length << 8 | d[2 + i];
    if (length && length == size)
        *k = kind(FILE_UNKNOWN, "a BMP picture, no model", A_PICTURE);
    return length && length == size;
}

/* Tar archives before POSIX have only the sum of their header's bytes. */
static bool is_old_tar(const uint8_t *d, size_t size)
{
    unsigned long sum = 0, stated;
    char text[9] = "";
    if (size < 512 || !d[0])
        return false;
    memcpy(text, d + 148, 8);
    char *end;
    stated = strtoul(text, &end, 8);
    for (size_t i = 0; i < 512; i++)
        sum += i >= 148 && i < 156 ? ' ' : d[i];
    return end > text && stated == sum;
}

/* PyTorch's first container was a tar archive of these. */
static bool is_torch_tar(const uint8_t *d, size_t size)
{
    static const char *const names[] = {"sys_info", "pickle", "storages", "tensors"};
    for (size_t i = 0; i < sizeof names / sizeof *names && size >= 512; i++)
        if (!memcmp(d, names[i], strlen(names[i]) + 1)) /* the name that a header begins with, and its end */
            return true;
    return false;
}

/* ---- archives --------------------------------------------------------------------------------------------------- */

/* The kind of a zip archive, by the names in it. */
static file_kind zip_kind(const uint8_t *d, size_t size, const char *path)
{
    static const char *const picture_ends[] = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"};
    static const char *const model_ends[] = {".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".pkl", ".gguf"};
    size_t pictures = 0, arrays = 0, models = 0, n;
    const char *model = NULL;
    bool torch = false, keras = false, office = false;
    zip *z = zip_open(d, size, path, NULL);
    if (!z)
        return kind(FILE_TORCH, "a broken zip archive", again);
    n = zip_count(z);
    for (size_t i = 0; i < n; i++) {
        const char *name = zip_name(z, i), *slash = strchr(name, '/');
        torch |= !strcmp(slash ? slash + 1 : name, "data.pkl");
        keras |= ends_in(name, ".weights.h5");
        office |= !strcmp(name, "[Content_Types].xml");
        arrays += ends_in(name, ".npy");
        for (size_t k = 0; k < sizeof picture_ends / sizeof *picture_ends; k++)
            pictures += ends_in(name, picture_ends[k]);
        for (size_t k = 0; k < sizeof model_ends / sizeof *model_ends; k++)
            if (ends_in(name, model_ends[k]) && models++ == 0)
                model = file_base_name(name);
    }
    file_kind k = kind(FILE_UNKNOWN, "", "unpack it, and give the model's own files");
    if (torch)
        k = kind(FILE_TORCH, "a PyTorch checkpoint", "");
    else if (keras)
        k = kind(FILE_UNKNOWN, "a Keras model", OTHER_WEIGHTS);
    else if (arrays && arrays == n)
        k = kind(FILE_UNKNOWN, "a NumPy archive (.npz), no PyTorch checkpoint",
                 "write its arrays as safetensors: safetensors.numpy.save_file(dict(numpy.load(…)), …)");
    else if (office)
        k = kind(FILE_UNKNOWN, "a document of an office program, no model", "give the model's own files");
    else if (models)
        snprintf(k.what, sizeof k.what, "a zip archive with %.60s in it, no PyTorch checkpoint itself", model);
    else if (pictures)
        snprintf(k.what, sizeof k.what, "a zip archive of %zu pictures, no model", pictures);
    else
        snprintf(k.what, sizeof k.what,
                 "a zip archive of %zu files, no PyTorch checkpoint (there is no data.pkl in it)", n);
    zip_free(z);
    return k;
}

/* ---- texts ------------------------------------------------------------------------------------------------------ */

/* The bytes of UTF-8 without control characters that text begins with, whole characters, at most n. */
static size_t text_bytes(const char *text, size_t n)
{
    size_t at = 0;
    while (text[at] && at < n) {
        utf8proc_int32_t c;
        utf8proc_ssize_t k = utf8proc_iterate((const uint8_t *)text + at, -1, &c);
        if (k < 1 || at + (size_t)k > n || (c < 0x20 && !strchr("\t\n\v\f\r\x1b", c)) || c == 0x7f)
            break;
        at += (size_t)k;
    }
    return at;
}

static bool is_text(const char *text)
{
    size_t n = strlen(text), whole = text_bytes(text, n);
    return n && (whole == n || (n + 4 > TEXT_BYTES && whole + 4 > n)); /* the last one may be cut */
}

/* strstr, whatever the case. */
static const char *find_text(const char *text, const char *part)
{
    size_t n = strlen(part);
    while (*text && strncasecmp(text, part, n) != 0)
        text++;
    return *text ? text : NULL;
}

/* What stands between the tags, on one line of at most 80 characters; "" where they aren't there. */
static void tagged(const char *text, const char *open, const char *close, char out[88])
{
    size_t n = 0;
    const char *at = find_text(text, open), *end;
    *out = 0;
    if (!at || !(at = strchr(at, '>')))
        return;
    end = strstr(++at, close);
    for (; *at && at != end && n < 80; at++)
        if (!isspace((unsigned char)*at) || (n && out[n - 1] != ' '))
            out[n++] = (char)(isspace((unsigned char)*at) ? ' ' : *at);
    while (n && (out[n - 1] == ' ' || (signed char)out[n - 1] < 0))
        n--; /* whole characters alone */
    out[n] = 0;
}

static file_kind page_kind(const char *text)
{
    char title[88], code[88];
    tagged(text, "<title", "<", title);
    tagged(text, "<code", "<", code);
    bool html = find_text(text, "<html") || find_text(text, "<!doctype html") || find_text(text, "<head");
    file_kind k = kind(FILE_UNKNOWN, "",
                       "the download failed, or wants a login: open the address in a browser, or use the site's own "
                       "download program");
    snprintf(k.what, sizeof k.what, "%s%s%s%s, not the file", html ? "an HTML page" : "an XML text",
             *title || *code ? ", \"" : "", *title ? title : code, *title || *code ? "\"" : "");
    return k;
}

/* Sizes as LFS pointers give them. */
static void pointer_size(const char *text, char out[48])
{
    const char *at = strstr(text, "\nsize ");
    double bytes = at ? strtod(at + 6, NULL) : 0;
    *out = 0;
    if (bytes >= 1 << 30)
        snprintf(out, 48, ", %.2f GiB", bytes / (1 << 30));
    else if (bytes > 0)
        snprintf(out, 48, ", %.2f MiB", bytes / (1 << 20));
}

static const char *json_error_of(const json_t *root)
{
    static const char *const keys[] = {"error", "message", "detail", "error_description", "errors"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *v = json_object_get(root, keys[i]);
        if (json_is_array(v))
            v = json_array_get(v, 0);
        if (json_is_object(v) && json_object_get(v, "message"))
            v = json_object_get(v, "message");
        if (json_is_string(v))
            return json_string_value(v);
    }
    return NULL;
}

static file_kind json_kind(const uint8_t *d, size_t size, const char *path)
{
    file_kind k = kind(FILE_UNKNOWN, "a JSON text, no weights", "give safetensors or a PyTorch checkpoint");
    json_t *root = size <= SMALL ? json_loadb((const char *)d, size, 0, NULL) : NULL;
    const char *error = json_error_of(root);
    if (json_object_get(root, "weight_map")) {
        k = kind(FILE_UNKNOWN, "an index of shards under another name", "let its name end in .index.json");
    } else if (error) {
        k = kind(FILE_UNKNOWN, "", "the download failed: look at the address, and whether it wants a login or a token");
        snprintf(k.what, sizeof k.what, "a server's error message, not the file: \"%.80s\"", error);
    } else if (json_object_get(root, "model_type") || json_object_get(root, "architectures") ||
               !strcmp(file_base_name(path), "config.json")) {
        k = kind(FILE_UNKNOWN, "a model's configuration, no weights",
                 "give the folder that it is in, or the weights beside it");
    }
    json_decref(root);
    return k;
}

/* text: how the file begins, NUL-terminated. */
static bool text_kind(const uint8_t *d, size_t size, const char *text, const char *path, file_kind *k)
{
    char length[48];
    if (!strncmp(text, "\xef\xbb\xbf", 3))
        text += 3;
    text += strspn(text, " \t\r\n");
    if (!strncmp(text, "version https://git-lfs", 23) || !strncmp(text, "version https://hawser", 22)) {
        pointer_size(text, length);
        *k = kind(FILE_UNKNOWN, "a Git LFS pointer, not the file", "");
        snprintf(k->remedy, sizeof k->remedy, "git lfs pull gets the file itself%s; or download it again from its page",
                 length);
    } else if (strstr(text, "/annex/objects/") && size < 1024) {
        *k = kind(FILE_UNKNOWN, "a git-annex pointer, not the file", "get the file itself by: git annex get");
    } else if (*text == '<') {
        *k = page_kind(text);
    } else if (*text == '{' || *text == '[') {
        *k = json_kind(d, size, path);
    } else if (is_text(text)) {
        const char *line = strpbrk(text, "\r\n");
        size_t n = line ? (size_t)(line - text) : strlen(text);
        *k = kind(FILE_UNKNOWN, "", "give the model's own files");
        snprintf(k->what, sizeof k->what, "a text, no model: it begins \"%.*s\"",
                 (int)text_bytes(text, n < 60 ? n : 60), text);
    } else {
        return false;
    }
    return true;
}

/* ---- the rest --------------------------------------------------------------------------------------------------- */

static bool is_zeros(const uint8_t *d, size_t size)
{
    size_t n = size < TEXT_BYTES ? size : TEXT_BYTES;
    for (size_t i = 0; i < n; i++)
        if (d[i])
            return false;
    return true;
}

/* The header's length, then its '{'. */
static bool is_safetensors(const uint8_t *d, size_t size)
{
    uint64_t n = 0;
    for (int i = 7; i >= 0 && size >= 8; i--)
        n = n << 8 | d[i];
    return size >= 9 && d[8] == '{' && n < UINT64_C(1) << 32;
}

static bool has_bytes(const uint8_t *d, size_t size, const char *text)
{
    size_t n = strlen(text), most = size < TEXT_BYTES ? size : TEXT_BYTES;
    for (size_t i = 0; i + n <= most; i++)
        if (!memcmp(d + i, text, n))
            return true;
    return false;
}

/* Formats without a magic number. */
static file_kind guess(const uint8_t *d, size_t size, const char *path)
{
    static const uint8_t table_end[] = {0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb};
    const char *name = file_base_name(path);
    if (ends_in(path, ".onnx") ||
        (size > 4 && d[0] == 8 && d[1] && d[1] < 32 && d[2] == 0x12 && d[3] && d[3] < 64 &&
         has_bytes(d, size, "onnx")) ||
        (size > 4 && d[0] == 8 && d[1] && d[1] < 32 && d[2] == 0x12 && has_bytes(d, size, "pytorch")))
        return kind(FILE_UNKNOWN, "an ONNX model",
                    "limn reads safetensors and PyTorch checkpoints: take the weights that it was exported from");
    if (strstr(name, ".data-0000") || ends_in(name, ".meta") ||
        (size > 48 && !memcmp(d + size - sizeof table_end, table_end, sizeof table_end)))
        return kind(FILE_UNKNOWN, "a part of a TensorFlow checkpoint", OTHER_WEIGHTS);
    if (ends_in(path, ".pb"))
        return kind(FILE_UNKNOWN, "a TensorFlow graph", OTHER_WEIGHTS);
    if (ends_in(path, ".msgpack") ||
        (size > 8 && (d[0] & 0xf0) == 0x80 && (d[0] & 15) && (d[1] & 0xe0) == 0xa0 && has_bytes(d, size, "params")))
        return kind(FILE_UNKNOWN, "Flax weights (msgpack)",
                    "convert them to safetensors or PyTorch: of DALL-E Mini, min-dalle has published these");
    if (size > 2 && d[0] == 0x80 && d[1] >= 2 && d[1] <= 5)
        return kind(FILE_UNKNOWN,
                    has_bytes(d, size, "numpy") ? "a Python pickle of NumPy arrays, no PyTorch checkpoint"
                                                : "a Python pickle, but none that torch.save wrote",
                    "save the weights by torch.save or as safetensors");
    if (is_zeros(d, size))
        return kind(FILE_UNKNOWN, "nothing but zeros where it begins: the download isn't complete, or the disk lost it",
                    again);
    return kind(FILE_UNKNOWN, "", "");
}

file_kind file_kind_of(const void *data, size_t size, const char *path)
{
    const uint8_t *d = data;
    file_kind k;
    char text[TEXT_BYTES + 1];
    if (size == 0)
        return kind(FILE_UNKNOWN, "an empty file", again);
    if (size >= 4 && (!memcmp(d, "PK\3\4", 4) || !memcmp(d, "PK\5\6", 4)))
        return zip_kind(d, size, path);
    if (torch_recognise(d, size))
        return kind(FILE_TORCH, "a PyTorch checkpoint", "");
    if (find_magic(d, size, &k)) {
        if (!strncmp(k.what, "a tar", 5) && is_torch_tar(d, size))
            k = kind(FILE_UNKNOWN, "a checkpoint of PyTorch's first releases (a tar archive)",
                     "load it with PyTorch, and save it again");
        return k;
    }
    if (is_torch_tar(d, size) && is_old_tar(d, size))
        return kind(FILE_UNKNOWN, "a checkpoint of PyTorch's first releases (a tar archive)",
                    "load it with PyTorch, and save it again");
    if (is_old_tar(d, size))
        return kind(FILE_UNKNOWN, "a tar archive", UNPACK);
    if (is_safetensors(d, size))
        return kind(FILE_SAFETENSORS, "a safetensors file", "");
    size_t n = size < TEXT_BYTES ? size : TEXT_BYTES;
    memcpy(text, d, n);
    text[n] = 0;
    if (strlen(text) == n && text_kind(d, size, text, path, &k))
        return k;
    return guess(d, size, path);
}

bool file_kind_refuse(const file_kind *k, const char *path, const char *readable, err *e)
{
    bool text = !strncmp(k->what, "a text", 6);
    if (*k->what && !text)
        return err_set(e, ERR_FAILED, "%s: %s (%s)", path, k->what, k->remedy);
    return err_set(e, ERR_FAILED, "%s: the content is none that limn knows%s%s (it reads %s)", path, text ? ": " : "",
                   k->what, readable);
}

bool file_kind_is_partial(const char *path)
{
    static const char *const ends[] = {".part",     ".partial", ".incomplete", ".crdownload",
                                       ".download", ".aria2",   ".!qb"};
    char beside[4200];
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (ends_in(path, ends[i]))
            return true;
    for (size_t i = 0; i < 2; i++) {
        snprintf(beside, sizeof beside, "%s%s", path, i ? ".part" : ".aria2");
        if (access(beside, F_OK) == 0)
            return true;
    }
    return false;
}
