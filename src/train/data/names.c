/* Names of files: what kind of data they are, and names with braces. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "io/image.h"
#include "train/data/internal.h"

/* ---- endings ------------------------------------------------------------------------------------------------- */

const char *extension_of(const char *name)
{
    const char *base = file_base_name(name), *dot = strrchr(base, '.');
    return dot && dot > base ? dot + 1 : base + strlen(base);
}

static bool among(const char *extension, const char *const *list)
{
    while (*list && strcasecmp(extension, *list) != 0)
        list++;
    return *list != NULL;
}

static bool ends_with(const char *name, const char *ending)
{
    size_t n = strlen(name), m = strlen(ending);
    return n > m && !strcasecmp(name + n - m, ending);
}

bool is_picture_name(const char *name)
{
    return image_is_picture_name(name);
}

bool is_foreign_picture_name(const char *name)
{
    static const char *const extensions[] = {"gif",
                                             "bmp",
                                             "tif",
                                             "tiff",
                                             "avif",
                                             "heic",
                                             "heif",
                                             "jxl",
                                             "jp2",
                                             "dng",
                                             "cr2",
                                             "cr3",
                                             "nef",
                                             "arw",
                                             "raf",
                                             "orf",
                                             "rw2",
                                             /* where limn was built without their library */ "jpg",
                                             "jpeg",
                                             "webp",
                                             NULL};
    return among(extension_of(name), extensions);
}

bool is_picture(const uint8_t *data, size_t bytes, const char *name, err *e)
{
    image im = {0};
    if (image_recognise(data, bytes) != IMAGE_NONE)
        return true;
    (void)image_read_memory(&im, data, bytes, name, e); /* it knows what it is */
    image_release(&im);
    return false;
}

bool is_compressed_name(const char *name)
{
    static const char *const extensions[] = {"gz", "bz2", "xz", "zst", "lz4", NULL};
    return among(extension_of(name), extensions);
}

/* The extension, of "a.tar.gz" that before the last one. */
static bool is_kind(const char *name, const char *const *extensions)
{
    const char *last = extension_of(name);
    if (!is_compressed_name(name))
        return among(last, extensions);
    char *inner = strndup(name, (size_t)(last - 1 - name));
    bool is = inner && among(extension_of(inner), extensions);
    free(inner);
    return is;
}

bool is_tar_name(const char *name)
{
    static const char *const extensions[] = {"tar", "tgz", "tbz", "tbz2", "txz", "tzst", NULL};
    return is_kind(name, extensions);
}

bool is_lines_name(const char *name)
{
    static const char *const extensions[] = {"jsonl", "ndjson", NULL};
    return is_kind(name, extensions);
}

bool is_list_name(const char *name)
{
    return is_lines_name(name) || !strcasecmp(name, "metadata.csv");
}

bool is_ignored_name(const char *name)
{
    static const char *const names[] = {"__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir", NULL};
    /* X.gguf.png: sample pictures of a training run */
    return *name == '.' || among(name, names) || ends_with(name, ".gguf.png");
}

#define RANGE_MOST 1000000000000000 /* differences don't overflow */

/* ---- braces -------------------------------------------------------------------------------------------------- */

enum { MOST_NAMES = 1000000, LONGEST_NAME = 4096, DEEPEST = 64 };

typedef struct expansion {
    names_callback *callback;
    void *context;
    const char *pattern;
    long names;
    int depth;
} expansion;

/* The brace that closes the one at p, or NULL. */
static const char *closing(const char *p)
{
    int depth = 0;
    for (; *p; p++) {
        depth += (*p == '{') - (*p == '}');
        if (depth == 0)
            return p;
    }
    return NULL;
}

/* The next comma of the brace's own level in [p, end), or end. */
static const char *part_end(const char *p, const char *end)
{
    int depth = 0;
    while (p < end && (depth || *p != ',')) {
        depth += (*p == '{') - (*p == '}');
        p++;
    }
    return p;
}

typedef struct range {
    int64_t from, to, step;
    int width; /* with zeros before it */
} range;

/* "000..012", "a..f", "1..9..2" in [p, end); letters is set for the second kind. */
static bool read_range(const char *p, const char *end, range *r, bool *letters)
{
    char text[64], *rest, *dots;
    size_t n = (size_t)(end - p);
    if (n > 32) /* of numbers that fit */
        return false;
    memcpy(text, p, n);
    text[n] = 0;
    *r = (range){.step = 1};
    *letters = n == 4 && text[1] == '.' && text[2] == '.' && strspn(text, "0123456789") == 0 && text[3] != '.';
    if (*letters) {
        r->from = (unsigned char)text[0];
        r->to = (unsigned char)text[3];
        return true;
    }
    dots = strstr(text, "..");
    if (!dots)
        return false;
    r->from = strtoll(text, &rest, 10);
    if (rest != dots || rest == text)
        return false;
    r->to = strtoll(dots + 2, &rest, 10);
    size_t second = (size_t)(rest - (dots + 2));
    if (!second || (*rest && strncmp(rest, "..", 2) != 0))
        return false;
    if (*rest) {
        r->step = strtoll(rest + 2, &dots, 10);
        if (*dots || r->step == 0 || r->step == INT64_MIN)
            return false;
        r->step = r->step < 0 ? -r->step : r->step;
        dots = strstr(text, "..");
    }
    const char *first = *text == '-' ? text + 1 : text, *last = dots[2] == '-' ? dots + 3 : dots + 2;
    if (r->from > RANGE_MOST || r->from < -RANGE_MOST || r->to > RANGE_MOST || r->to < -RANGE_MOST)
        return false;
    bool padded = (*first == '0' && dots - first > 1) || (*last == '0' && second > 1);
    if (padded)
        r->width = (int)((size_t)(dots - text) > second ? (size_t)(dots - text) : second);
    return true;
}

static bool expand(expansion *x, const char *done, const char *rest, err *e);

/* done + [from, end) + rest, expanded: what stands in braces may have further ones. */
static bool with_part(expansion *x, const char *done, const char *from, const char *end, const char *rest, err *e)
{
    size_t n = (size_t)(end - from) + strlen(rest) + 1;
    char *text = malloc(n);
    if (!text)
        return err_no_memory(e, x->pattern, n);
    snprintf(text, n, "%.*s%s", (int)(end - from), from, rest);
    x->depth++;
    bool ok = expand(x, done, text, e);
    x->depth--;
    free(text);
    return ok;
}

static bool with_range(expansion *x, const char *done, const range *r, bool letters, const char *rest, err *e)
{
    int64_t away = r->to < r->from ? r->from - r->to : r->to - r->from;
    bool ok = true;
    for (int64_t i = 0; ok && i <= away; i += r->step) {
        int64_t v = r->to < r->from ? r->from - i : r->from + i;
        char text[96];
        if (letters)
            snprintf(text, sizeof text, "%c", (char)v);
        else
            snprintf(text, sizeof text, "%0*" PRId64, r->width, v);
        ok = with_part(x, done, text, text + strlen(text), rest, e);
    }
    return ok;
}

static bool expand(expansion *x, const char *done, const char *rest, err *e)
{
    const char *open = strchr(rest, '{'), *close = open ? closing(open) : NULL;
    if (strlen(done) + strlen(rest) >= LONGEST_NAME || x->depth > DEEPEST)
        return err_set(e, ERR_USAGE, "%s: too long a name, or too many braces", x->pattern);
    char name[LONGEST_NAME];
    range r = {0};
    bool letters = false;
    while (open && close && part_end(open + 1, close) == close && !read_range(open + 1, close, &r, &letters)) {
        open = strchr(open + 1, '{'); /* braces that stand for themselves */
        close = open ? closing(open) : NULL;
    }
    if (!open || !close) {
        snprintf(name, sizeof name, "%s%s", done, rest);
        if (++x->names > MOST_NAMES)
            return err_set(e, ERR_USAGE, "%s: more than %d names", x->pattern, MOST_NAMES);
        return x->callback(x->context, name, e);
    }
    snprintf(name, sizeof name, "%s%.*s", done, (int)(open - rest), rest);
    if (part_end(open + 1, close) == close)
        return with_range(x, name, &r, letters, close + 1, e);
    for (const char *p = open + 1; p <= close;) {
        const char *end = part_end(p, close);
        if (!with_part(x, name, p, end, close + 1, e))
            return false;
        p = end + 1;
    }
    return true;
}

bool names_expand(const char *pattern, names_callback *callback, void *context, err *e)
{
    expansion x = {.callback = callback, .context = context, .pattern = pattern};
    return expand(&x, "", pattern, e);
}
