/* OpenAI's Images API: generations, edits and variations; beyond its fields seed, guidance, temperature, top_k, top_p
 * and negative_prompt. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "serve/fields.h"

enum { PICTURES_MOST = 64, PROMPT_MOST = 32000, SIDE_MOST = 4096 };

static const char *const formats[] = {"png", "jpeg", "webp", NULL}, *const types[] = {"image/png", "image/jpeg",
                                                                                      "image/webp"};

/* What the answer needs beside the job. */
typedef struct asked {
    server *s;
    bool url, stream;
    int format;        /* of `formats` */
    const char *event; /* "image_generation" */
    char host[256];    /* that urls begin with */
} asked;

/* ---- answers ---------------------------------------------------------------------------------------------------- */

static bool put_usage(text_buffer *b, const job *j)
{
    int codes = j->all_codes;
    return text_format(b,
                       "\"usage\":{\"total_tokens\":%d,\"input_tokens\":%d,\"output_tokens\":%d,"
                       "\"input_tokens_details\":{\"text_tokens\":%d,\"image_tokens\":0}}",
                       codes + j->text_tokens, j->text_tokens, codes, j->text_tokens);
}

static bool put_about(text_buffer *b, const job *j)
{
    const asked *q = j->own;
    return text_format(b,
                       "\"seed\":%" PRIu64 ",\"size\":\"%dx%d\",\"output_format\":\"%s\",\"quality\":\"auto\","
                       "\"background\":\"opaque\",",
                       j->seed, j->width ? j->width : j->drawn_width, j->height ? j->height : j->drawn_height,
                       formats[q->format]);
}

static bool put_picture(text_buffer *b, const job *j, const job_picture *p)
{
    const asked *q = j->own;
    char name[STORE_NAME];
    if (!q->url)
        return text_format(b, "\"b64_json\":\"") && text_base64(b, p->file, p->size) && text_format(b, "\"");
    return store_put(q->s->store, p->file, p->size, types[q->format], name) &&
           text_format(b, "\"url\":\"http://%s/pictures/%s.%s\"", q->host, name, formats[q->format]);
}

static void fail_memory(exchange *x)
{
    api_error a;
    api_fail(&a, 500, "", NULL, "the server's memory is short");
    api_answer_error(x, &a);
}

static void answer_all(job *j)
{
    text_buffer b = {0};
    bool ok = text_format(&b, "{\"created\":%lld,", (long long)j->created) && put_about(&b, j) &&
              text_format(&b, "\"data\":[");
    for (int i = 0; ok && i < j->count; i++)
        ok = text_format(&b, "%s{", i ? "," : "") && put_picture(&b, j, &j->pictures[i]) && text_format(&b, "}");
    ok = ok && text_format(&b, "],") && put_usage(&b, j) && text_format(&b, "}");
    if (ok)
        exchange_answer(j->x, 200, "application/json", b.text, b.size);
    else
        fail_memory(j->x);
    text_release(&b);
}

/* ---- streams ---------------------------------------------------------------------------------------------------- */

static void send_event(job *j, const char *kind, const text_buffer *data)
{
    text_buffer b = {0};
    const asked *q = j->own;
    exchange_stream(j->x, "text/event-stream"); /* the first time */
    if (text_format(&b, "event: %s.%s\ndata: {\"type\":\"%s.%s\",\"created_at\":%lld,", q->event, kind, q->event, kind,
                    (long long)j->created) &&
        text_put(&b, data->text, data->size) && text_format(&b, "}\n\n"))
        exchange_send(j->x, b.text, b.size);
    text_release(&b);
}

static void on_preview(job *j, int picture, int index, const uint8_t *file, size_t size)
{
    text_buffer b = {0};
    if (put_about(&b, j) &&
        text_format(&b, "\"index\":%d,\"partial_image_index\":%d,\"b64_json\":\"", picture, index) &&
        text_base64(&b, file, size) && text_format(&b, "\""))
        send_event(j, "partial_image", &b);
    text_release(&b);
}

static void on_picture(job *j, int picture)
{
    const job_picture *p = &j->pictures[picture];
    text_buffer b = {0};
    if (put_about(&b, j) && text_format(&b, "\"index\":%d,\"b64_json\":\"", picture) &&
        text_base64(&b, p->file, p->size) && text_format(&b, "\",") && put_usage(&b, j))
        send_event(j, "completed", &b);
    text_release(&b);
}

static void end_stream(job *j)
{
    exchange_end(j->x);
}

static void on_failed(job *j, const limn_error *e)
{
    asked *q = j->own;
    api_error a;
    api_from(&a, e);
    if (!q->stream || !exchange_streams(j->x)) {
        api_answer_error(j->x, &a);
        return;
    }
    json_t *text = json_pack("{s:s, s:{s:s, s:s, s:n, s:n}}", "type", "error", "error", "message", a.message, "type",
                             a.type, "param", "code");
    char *line = json_dumps(text, JSON_COMPACT);
    text_buffer b = {0};
    if (line && text_format(&b, "event: error\ndata: %s\n\n", line))
        exchange_send(j->x, b.text, b.size);
    text_release(&b);
    free(line);
    json_decref(text);
    exchange_end(j->x);
}

static const job_answers whole = {NULL, NULL, answer_all, on_failed},
                         streamed = {on_preview, on_picture, end_stream, on_failed};

/* ---- requests --------------------------------------------------------------------------------------------------- */

/* "auto" or WIDTHxHEIGHT. */
static bool read_size(const fields *p, job *j, api_error *a)
{
    const char *text = NULL;
    int end = 0, width = 0, height = 0;
    if (!fields_text(p, "size", &text, a) || !text || !*text || !strcmp(text, "auto"))
        return !a->status;
    if (sscanf(text, "%5d%*1[xX]%5d%n", &width, &height, &end) != 2 || text[end] || width < 1 || height < 1)
        return api_fail(a, 400, "size", NULL, "size: \"%.40s\" is not WIDTHxHEIGHT, such as 512x512", text);
    if (width > SIDE_MOST || height > SIDE_MOST)
        return api_fail(a, 400, "size", NULL, "size: %dx%d is more than %d pixels", width, height, SIDE_MOST);
    j->width = width;
    j->height = height;
    return true;
}

static bool read_sampling(const fields *p, job *j, api_error *a)
{
    bool given = false;
    bool ok = fields_seed(p, "seed", &j->seed, &given, a) && fields_number(p, "guidance", 0, 1000, &j->guidance, a) &&
              fields_number(p, "temperature", 0, 100, &j->temperature, a) &&
              fields_integer(p, "top_k", 0, 1000000000, &j->top_k, a) &&
              fields_number(p, "top_p", 0, 1, &j->top_p, a) && fields_integer(p, "steps", 1, 10000, &j->steps, a);
    if (ok && !given && getrandom(&j->seed, sizeof j->seed, 0) == sizeof j->seed)
        j->seed >>= 11; /* a number that JavaScript has exactly */
    return ok;
}

static bool read_output(const fields *p, job *j, asked *q, api_error *a)
{
    static const char *const forms[] = {"url", "b64_json", NULL};
    int form = 0, compression = 100, previews = 0;
    bool ok = fields_word(p, "response_format", forms, &form, a) &&
              fields_word(p, "output_format", formats, &q->format, a) &&
              fields_integer(p, "output_compression", 0, 100, &compression, a) &&
              fields_bool(p, "stream", &q->stream, a) && fields_integer(p, "partial_images", 0, 3, &previews, a) &&
              fields_integer(p, "n", 1, PICTURES_MOST, &j->count, a);
    q->url = form == 0;
    j->format = q->format == 0 ? IMAGE_PNG : q->format == 1 ? IMAGE_JPEG : IMAGE_WEBP;
    j->quality = compression > 0 ? compression : 1;
    j->previews = q->stream ? previews : 0;
    if (q->stream)
        j->answers = &streamed;
    err e = {0};
    return ok && (image_can_write(j->format, formats[q->format], &e) ||
                  api_fail(a, 400, "output_format", NULL, "%.600s", e.text));
}

static bool read_prompt(const fields *p, job *j, bool required, api_error *a)
{
    const char *prompt = NULL, *negative = NULL, *user = NULL;
    if (!fields_text(p, "prompt", &prompt, a) || !fields_text(p, "negative_prompt", &negative, a) ||
        !fields_text(p, "user", &user, a))
        return false;
    if (required && !prompt)
        return api_fail(a, 400, "prompt", "missing_required_parameter", "prompt: it is missing");
    if (prompt && strlen(prompt) > PROMPT_MOST)
        return api_fail(a, 400, "prompt", "string_above_max_length", "prompt: longer than %d bytes", PROMPT_MOST);
    j->prompt = strdup(prompt ? prompt : "");
    j->negative = negative ? strdup(negative) : NULL;
    j->user = user ? strdup(user) : NULL;
    return (j->prompt && (j->negative || !negative) && (j->user || !user)) ||
           api_fail(a, 500, "", NULL, "the server's memory is short");
}

static bool copy_file(const http_part *from, uint8_t **file, size_t *size)
{
    *size = from->size;
    *file = malloc(from->size ? from->size : 1);
    if (*file)
        memcpy(*file, from->text, from->size);
    return *file;
}

static bool read_pictures(const fields *p, job *j, bool mask, api_error *a)
{
    const http_part *picture = fields_file(p, "image"), *over = mask ? fields_file(p, "mask") : NULL;
    if (p->root)
        return api_fail(a, 400, "", NULL, "a form with the picture is wanted (multipart/form-data)");
    if (!picture)
        return api_fail(a, 400, "image", "missing_required_parameter", "image: it is missing");
    if (image_recognise(picture->text, picture->size) == IMAGE_NONE)
        return api_fail(a, 400, "image", NULL, "image: neither PNG nor JPEG nor WebP");
    if (over && image_recognise(over->text, over->size) == IMAGE_NONE)
        return api_fail(a, 400, "mask", NULL, "mask: neither PNG nor JPEG nor WebP");
    return (copy_file(picture, &j->picture, &j->picture_size) && (!over || copy_file(over, &j->mask, &j->mask_size))) ||
           api_fail(a, 500, "", NULL, "the server's memory is short");
}

typedef enum endpoint { GENERATE, EDIT, VARY } endpoint;

static bool read_job(server *s, const fields *p, endpoint of, job *j, api_error *a)
{
    asked *q = j->own = calloc(1, sizeof *q);
    const char *model = NULL, *host = exchange_header(p->x, "Host");
    if (!q || !store_random_name(j->id))
        return api_fail(a, 500, "", NULL, "the server's memory is short");
    *q = (asked){.s = s, .event = of == EDIT ? "image_edit" : "image_generation"};
    snprintf(q->host, sizeof q->host, "%s", host ? host : "");
    j->strict_size = s->o.strict_size;
    j->variation = of == VARY;
    return fields_text(p, "model", &model, a) && (j->model = server_model(s, model, a)) &&
           read_prompt(p, j, of != VARY, a) && read_output(p, j, q, a) && read_size(p, j, a) &&
           read_sampling(p, j, a) && (of == GENERATE || read_pictures(p, j, of == EDIT, a));
}

static void handle(server *s, exchange *x, endpoint of)
{
    api_error a = {0};
    fields p = {0};
    job *j = job_new(x, &whole);
    bool ok = j ? fields_read(&p, x, &a) && read_job(s, &p, of, j, &a)
                : api_fail(&a, 500, "", NULL, "the server's memory is short");
    if (ok && !worker_is_ready(s->worker))
        ok = api_fail(&a, 503, "", NULL, "the device is being opened again: try again in a moment");
    if (ok && !worker_add(s->worker, j))
        ok = api_fail(&a, 429, "", "rate_limit_exceeded", "too many requests wait: try again later");
    fields_release(&p);
    if (!ok)
        api_answer_error(x, &a);
    job_release(j);
}

void openai_generate(server *s, exchange *x)
{
    handle(s, x, GENERATE);
}

void openai_edit(server *s, exchange *x)
{
    handle(s, x, EDIT);
}

void openai_vary(server *s, exchange *x)
{
    handle(s, x, VARY);
}
