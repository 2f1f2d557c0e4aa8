/* What limn generate is asked for: its options, prompts and files, checked before the work. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/os.h"
#include "base/ranks.h"
#include "cli/generate.h"
#include "cli/model_input.h"

enum { MOST_PICTURES = 10000000 };

void request_release(request *q)
{
    for (int i = 0; i < q->n_sources; i++)
        free(q->sources[i].ids_text);
    free(q->sources);
    free(q->shown);
    free(q->out);
    free(q->rank_own);
    free(q->adapters);
    prompts_release(&q->prompts);
    npy_release(&q->ids);
    parameters_release(&q->like);
    *q = (request){0};
}

/* ---- seeds ---------------------------------------------------------------------------------------------------- */

static uint64_t random_seed(void)
{
    /* 32 bits: what other programs' seed fields hold, and short enough to type */
    uint32_t seed = 0;
    if (!os_random(&seed, sizeof seed)) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        seed = (uint32_t)t.tv_nsec * 2654435761u ^ (uint32_t)t.tv_sec ^ (uint32_t)getpid() << 16;
    }
    return seed;
}

static void choose_seed(request *q)
{
    q->seed_given = options_given(q->o, "seed") && !options_random(q->o, "seed");
    if (q->seed_given)
        q->seed = options_unsigned(q->o, "seed", 0);
    else if (q->like.has & PARAMETERS_SEED && !options_given(q->o, "seed"))
        q->seed = q->like.seed;
    else
        q->seed = random_seed();
    ranks_broadcast(&q->seed, sizeof q->seed, 0);
}

/* ---- what pictures are drawn of ------------------------------------------------------------------------------- */

/* Several words without quotes are several prompts, which is rarely meant. */
static void warn_of_words(const options *o)
{
    bool words = o->n_operands > 1 && ranks_rank() == 0;
    for (int i = 0; i < o->n_operands; i++)
        words = words && !strchr(o->operands[i], ' ');
    if (words)
        say(LOG_WARNING, "%d prompts of one word each: \"%s\", \"%s\"%s (put a prompt of several words in quotes)",
            o->n_operands, o->operands[0], o->operands[1], o->n_operands > 2 ? ", ..." : "");
}

static bool read_prompts(request *q, err *e)
{
    const options *o = q->o;
    bool ok = true;
    int inputs = 0;
    const char *path;
    for (int i = 0; i < o->n_operands; i++)
        inputs += !strcmp(o->operands[i], "-");
    for (int i = 0; (path = options_list(o, "prompts", i)); i++)
        inputs += !strcmp(path, "-");
    if (inputs > 1)
        return err_set(e, ERR_USAGE, "limn generate: standard input can be read once, and - is there %d times", inputs);
    for (int i = 0; ok && i < o->n_operands; i++)
        ok = strcmp(o->operands[i], "-") == 0 ? prompts_read(&q->prompts, "-", e)
                                              : ranks_rank() > 0 || prompts_add(&q->prompts, o->operands[i], e);
    for (int i = 0; ok && (path = options_list(o, "prompts", i)); i++)
        ok = prompts_read(&q->prompts, path, e);
    if (ok)
        warn_of_words(o);
    return ok && prompts_share(&q->prompts, e);
}

/* "5 7 9" of a row of ids, a new string. */
static char *ids_text(const int32_t *ids, size_t n)
{
    os_text text;
    bool ok = os_text_open(&text);
    for (size_t i = 0; ok && i < n; i++)
        fprintf(text.stream, "%s%d", i ? " " : "", (int)ids[i]);
    return os_text_close(&text);
}

static bool new_sources(request *q, int n, err *e)
{
    q->sources = array_new((size_t)n, sizeof *q->sources, "prompts", e);
    q->n_sources = q->sources ? n : 0;
    return q->sources != NULL;
}

/* The request's sources where ids were read from a file: one for each of its rows. */
static bool sources_of_rows(request *q, int rows, const char *path, err *e)
{
    if (!new_sources(q, rows, e))
        return false;
    size_t n = (size_t)(q->ids.count / rows), size = 1;
    for (int i = 0; i < rows; i++) {
        source *s = &q->sources[i];
        s->ids = (int32_t *)q->ids.data + (size_t)i * n;
        s->n_ids = n;
        s->ids_text = ids_text(s->ids, n);
        if (!s->ids_text)
            return err_no_memory(e, path, 12 * n);
        size += sizeof "token ids " + strlen(s->ids_text);
    }
    q->shown = array_new(size, 1, path, e);
    for (int i = 0, at = 0; q->shown && i < rows; i++) {
        q->sources[i].shown = q->shown + at;
        at += sprintf(q->shown + at, "token ids %s", q->sources[i].ids_text) + 1;
    }
    return q->shown != NULL;
}

static bool sources_of_ids(request *q, const char *path, err *e)
{
    int rows;
    return text_ids_read(&q->ids, &rows, path, e) && sources_of_rows(q, rows, path, e);
}

static bool sources_of_class(request *q, err *e)
{
    q->shown = array_new(32, 1, "class", e);
    if (!q->shown || !new_sources(q, 1, e))
        return false;
    sprintf(q->shown, "class %d", (int)q->class);
    q->sources[0] = (source){.ids = &q->class, .n_ids = 1, .shown = q->shown};
    return true;
}

static bool sources_of_prompts(request *q, err *e)
{
    if (!new_sources(q, q->prompts.n, e))
        return false;
    for (int i = 0; i < q->n_sources; i++)
        q->sources[i] = (source){.prompt = q->prompts.texts[i], .shown = q->prompts.texts[i]};
    return true;
}

/* The lines of a grid's prompt are its prompts. */
static bool like_prompts(request *q, err *e)
{
    char *text = strdup(q->like.prompt), *rest = text;
    bool ok = text ? true : err_no_memory(e, "prompts", strlen(q->like.prompt));
    for (char *line; ok && rest;) {
        line = rest;
        rest = q->like.has & PARAMETERS_PICTURE && q->like.picture == 0 ? strchr(line, '\n') : NULL;
        if (rest)
            *rest++ = '\0';
        ok = prompts_add(&q->prompts, line, e);
    }
    free(text);
    return ok && ends_like(q, e) && sources_of_prompts(q, e);
}

static bool sources_of_like(request *q, err *e)
{
    const parameters *p = &q->like;
    size_t n;
    if (p->has & PARAMETERS_CLASS) {
        q->class = p->class;
        return sources_of_class(q, e);
    }
    if (!p->text_ids)
        return like_prompts(q, e);
    q->ids = (npy){.type = DTYPE_I32, .nd = 1};
    int32_t *ids = NULL;
    bool ok = like_ids(q, &ids, &n, e);
    q->ids.data = ids;
    if (!ok)
        return false;
    q->ids.shape[0] = q->ids.count = (int64_t)n;
    return sources_of_rows(q, 1, "--like", e);
}

static bool read_sources(request *q, err *e)
{
    const options *o = q->o;
    const char *ids = options_text(o, "text-ids", NULL);
    bool prompted = o->n_operands > 0 || options_given(o, "prompts");
    q->class = (int32_t)options_integer(o, "class", -1);
    int given = prompted + (ids != NULL) + (q->class >= 0);
    bool like = given == 0 && options_given(o, "like");
    bool pictured = given == 0 && (options_given(o, "variations") || options_given(o, "interpolate"));
    if (given != 1 && !like && !pictured)
        return err_set(e, ERR_USAGE,
                       "limn generate: %s (give a prompt in quotes, --prompts FILE, --text-ids FILE.npy or --class N)",
                       given ? "more than one of a prompt, --text-ids and --class is there" : "the prompt is missing");
    if (q->rank && !prompted && !(like && !q->like.text_ids && !(q->like.has & PARAMETERS_CLASS)))
        return err_set(e, ERR_USAGE,
                       "--rank: a CLIP reads words, not the ids of --text-ids or a class (give a prompt)");
    if (q->negative && q->class >= 0)
        return err_set(e, ERR_USAGE, "--negative: a model that draws classes reads no words (leave it out)");
    if ((ids || q->class >= 0) && (options_given(o, "variations") || options_given(o, "interpolate")))
        return err_set(e, ERR_USAGE, "--%s: its ends are prompts and pictures (leave out %s)",
                       options_given(o, "variations") ? "variations" : "interpolate", ids ? "--text-ids" : "--class");
    if (like && !pictured)
        return sources_of_like(q, e);
    return ids             ? sources_of_ids(q, ids, e)
           : q->class >= 0 ? sources_of_class(q, e)
                           : read_prompts(q, e) && ends_read(q, e) && sources_of_prompts(q, e);
}

/* ---- numbers and names ---------------------------------------------------------------------------------------- */

int request_source(const request *q, int t, int *picture)
{
    int number = q->first - 1 + t;
    *picture = q->n_sources > 1 ? number % q->each : number;
    return q->n_sources > 1 ? number / q->each : 0;
}

char *request_file(const request *q, int t)
{
    return q->numbered ? numbered_path(q->out, q->first + t, q->first - 1 + q->total) : strdup(q->out);
}

static bool count_pictures(request *q, err *e)
{
    const options *o = q->o;
    q->first = (int)options_integer(o, "first", like_first(q));
    q->each = q->variations                                   ? q->variations
              : q->between && options_given(o, "interpolate") ? q->between - (q->first - 1)
                                                              : (int)options_integer(o, "count", like_count(q));
    q->grid = options_given(o, "grid") || like_grid(q);
    int64_t total = q->each;
    if (q->n_sources > 1)
        total = total * q->n_sources - (q->first - 1);
    if (total < 1)
        return err_set(e, ERR_USAGE, "--first: there is no picture %d (%d prompts with %d each have %" PRId64 ")",
                       q->first, q->n_sources, q->each, (int64_t)q->each * q->n_sources);
    if (total > MOST_PICTURES)
        return err_set(e, ERR_USAGE, "--count: %" PRId64 " pictures are more than %d (go on with --first)", total,
                       MOST_PICTURES);
    if (q->first - 1 + total > INT32_MAX) /* a number that --like's picture says */
        return err_set(e, ERR_USAGE, "--first: picture %d is too far on (give a smaller number)", q->first);
    q->total = (int)total;
    q->numbered = !q->grid && (total > 1 || options_given(o, "first"));
    return true;
}

/* ---- files ---------------------------------------------------------------------------------------------------- */

static bool is_free(const request *q, err *e)
{
    bool is = true;
    struct stat st;
    for (int t = 0; is && t < (q->numbered ? q->total : 1); t++) {
        char *name = request_file(q, t);
        if (!name)
            return err_no_memory(e, "file name", 32);
        is = os_lstat(name, &st) != 0 && errno == ENOENT;
        free(name);
    }
    return is;
}

bool request_choose_file(request *q, err *e)
{
    for (int k = 1; k < MOST_PICTURES && !e->code; k++) {
        char name[32] = "limn.png";
        if (k > 1)
            snprintf(name, sizeof name, "limn-%d.png", k);
        free(q->out);
        q->out = strdup(name);
        if (!q->out)
            return err_no_memory(e, "file name", sizeof name);
        if (!is_free(q, e))
            continue;
        char *first = request_file(q, 0);
        if (k > 1)
            say(LOG_WARNING, "what is there stays: the next free name is %s (-o names another)", first ? first : name);
        free(first);
        return true;
    }
    return err_set(e, ERR_FAILED, "limn.png: there is no free name (give one with -o)");
}

static bool check_outputs(request *q, file_set *files, err *e)
{
    if (q->out && picture_is_stream(q->out) && q->total == 1)
        q->numbered = false; /* with --first: a pipe has no name to number */
    bool json = q->out && picture_is_stdout(q->out) && options_given(q->o, "json");
    if (q->out && picture_is_stream(q->out) && (q->numbered || json))
        return err_set(e, ERR_USAGE, "--output: %s takes one picture and nothing else (%s)",
                       picture_is_stdout(q->out) ? "standard output" : q->out,
                       q->numbered ? "add --grid, or name a file" : "name a file for the picture, or leave out --json");
    if (q->preview && picture_is_stream(q->preview))
        return err_set(e, ERR_USAGE, "--preview: %s can't be written again and again (name a file)", q->preview);
    bool ok = output_check("codes-out", q->codes_out, ".npy", e) &&
              output_check("latents-out", q->latents_out, ".npy", e) && picture_check("preview", q->preview, e);
    if (ok && !q->out && ranks_rank() == 0)
        ok = q->out_free = request_choose_file(q, e);
    ok = ok && picture_check("output", q->out, e);
    q->quality = ok ? picture_quality(q->o, q->out) : 0;
    for (int t = 0; ok && q->out && t < (q->numbered ? q->total : 1); t++) {
        char *name = request_file(q, t);
        ok = name ? picture_check("output", name, e) : err_no_memory(e, "file name", strlen(q->out));
        files_write(files, "--output", name);
        free(name);
    }
    files_write(files, "--codes-out", q->codes_out);
    files_write(files, "--latents-out", q->latents_out);
    files_write(files, "--preview", q->preview);
    return ok;
}

static bool check_inputs(request *q, file_set *files, err *e)
{
    const options *o = q->o;
    const char *mask = q->image_prompt && q->keep.kind == KEEP_MASK ? q->keep.text : NULL, *path;
    const char *clip = q->rank && strcmp(q->rank, "own") != 0 ? q->rank : NULL;
    files_read(files, "--model", options_text(o, "model", NULL));
    files_read(files, "--like", options_text(o, "like", NULL));
    files_read(files, "--image-prompt", q->image_prompt);
    files_read(files, "--image-prompt", q->image_to);
    files_read(files, "--keep", mask);
    files_read(files, "--mask", q->mask);
    files_read(files, "--rank", clip);
    files_read(files, "--text-ids", options_text(o, "text-ids", NULL));
    files_read(files, "--noise", options_text(o, "noise", NULL));
    for (int i = 0; (path = options_list(o, "prompts", i)); i++)
        files_read(files, "--prompts", path);
    if ((mask && !input_check(mask, e)) || (q->mask && !input_check(q->mask, e)) ||
        (q->image_prompt && !input_check(q->image_prompt, e)) || (clip && !model_input(o, clip, &q->rank_own, e)))
        return false;
    q->rank = q->rank_own ? q->rank_own : q->rank;
    return true;
}

static bool check_files(request *q, err *e)
{
    file_set files = {0};
    bool ok = check_outputs(q, &files, e) && check_inputs(q, &files, e);
    return files_check(&files, e) && ok;
}

bool request_read(request *q, const options *o, err *e)
{
    const char *region = options_text(o, "keep", NULL), *out = options_text(o, "output", NULL);
    *q = (request){.o = o,
                   .began = clock_seconds(),
                   .class = -1,
                   .out = out ? strdup(out) : NULL,
                   .codes_out = options_text(o, "codes-out", NULL),
                   .latents_out = options_text(o, "latents-out", NULL),
                   .preview = options_text(o, "preview", NULL),
                   .image_prompt = options_text(o, "image-prompt", NULL),
                   .mask = options_text(o, "mask", NULL),
                   .rank = options_text(o, "rank", NULL),
                   .negative = options_text(o, "negative", NULL)};
    if (out && !q->out)
        return err_no_memory(e, "file name", strlen(out));
    if (!command_adapters(o, &q->adapters, e) || !like_read(q, e))
        return false;
    if (region && !q->image_prompt)
        return err_set(e, ERR_USAGE, "--keep: there is no picture to keep a part of (add --image-prompt IMG)");
    if (!region && q->image_prompt && q->like.keep)
        region = q->like.keep;
    if (q->mask && (!q->image_prompt || region))
        return err_set(e, ERR_USAGE, "--mask: %s",
                       region ? "--keep says already what stays (leave one of them out)"
                              : "there is no picture to paint in (add --image-prompt IMG)");
    if (options_given(o, "strength") && !q->image_prompt)
        return err_set(e, ERR_USAGE, "--strength: there is no picture to change (add --image-prompt IMG)");
    choose_seed(q);
    if (!keep_parse(&q->keep, region, e) || !read_sources(q, e))
        return false;
    ends_choose(q);
    return count_pictures(q, e) && check_files(q, e);
}
