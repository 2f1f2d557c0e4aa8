/* OpenAI's Images API: generations, edits and variations; beyond its fields seed, guidance, temperature, top_k, top_p,
 * steps, sampler, spacing, negative_prompt, and of edits keep and strength. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "serve/request.h"

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
    request_short(&a);
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

/* A number of pixels, of which the text loses its digits. */
static bool take_side(const char **text, int *side)
{
    size_t n = strspn(*text, "0123456789");
    *side = n > 0 && n < 9 ? atoi(*text) : 0;
    *text += n;
    return *side > 0;
}

/* "auto" or WIDTHxHEIGHT. */
static bool read_size(const fields *p, job *j, api_error *a)
{
    const char *text = NULL;
    if (!fields_text(p, "size", &text, a) || !text || !*text || !strcmp(text, "auto"))
        return !a->status;
    const char *at = text;
    if (!take_side(&at, &j->width) || (*at != 'x' && *at != 'X') || (at++, !take_side(&at, &j->height)) || *at)
        return api_fail(a, 400, "size", "invalid_value", "size: \"%.40s\" is not WIDTHxHEIGHT, such as 512x512", text);
    if (j->width > SIDE_MOST || j->height > SIDE_MOST)
        return api_fail(a, 400, "size", "invalid_value", "size: %.40s is more than %d pixels a side", text, SIDE_MOST);
    return true;
}

static bool read_output(const fields *p, job *j, asked *q, api_error *a)
{
    static const char *const forms[] = {"url", "b64_json", NULL};
    int form = 0, compression = 100, previews = 0;
    static const char *const texts[] = {"quality", "style", "background", "moderation", NULL}, *ignored;
    for (int i = 0; texts[i]; i++)
        if (!fields_text(p, texts[i], &ignored, a))
            return false;
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

/* Half of a variation's cells stay. */
static bool read_pictures(const fields *p, job *j, bool edit, api_error *a)
{
    text_buffer kept = {0};
    if (!fields_picture(p, "image", &j->picture, a))
        return false;
    if (j->picture.size == 0 && !fields_picture(p, "images", &j->picture, a))
        return false;
    if (j->picture.size == 0)
        return api_fail(a, 400, "image", "missing_required_parameter", "image: it is missing");
    j->vary = edit ? 0 : 0.5f;
    if (!edit)
        return true;
    bool ok = fields_picture(p, "mask", &j->mask, a) && fields_keep(p, "keep", &kept, &j->region, a) &&
              fields_number(p, "strength", 0.001, 1, &j->strength, a);
    if (ok && j->mask.size > 0 && (kept.size > 0 || j->region))
        ok = api_fail(a, 400, "keep", NULL, "keep: a mask is there too");
    if (ok && kept.size > 0) {
        j->mask = kept;
        j->mask_is = STAYS_CELLS;
        return true;
    }
    text_release(&kept);
    return ok;
}

static bool refuse_kept(const fields *p, api_error *a)
{
    return !fields_has(p, "keep") ||
           api_fail(a, 400, "keep", NULL, "keep: there is no picture to keep a part of (/v1/images/edits takes one)");
}

typedef enum endpoint { GENERATE, EDIT, VARY } endpoint;

static bool read_job(server *s, const fields *p, endpoint of, job *j, api_error *a)
{
    asked *q = j->own = calloc(1, sizeof *q);
    const char *model = NULL, *host = exchange_header(p->x, "Host");
    if (!q)
        return request_short(a);
    *q = (asked){.s = s, .event = of == EDIT ? "image_edit" : "image_generation"};
    if (host)
        snprintf(q->host, sizeof q->host, "%s", host);
    else /* HTTP/1.0 */
        snprintf(q->host, sizeof q->host, "%.200s:%d", s->o.host, s->http ? http_port(s->http) : s->o.port);
    j->strict_size = s->o.strict_size;
    return fields_text(p, "model", &model, a) && (j->model = server_model(s, model, a)) &&
           request_prompt(p, j, of != VARY, a) && read_output(p, j, q, a) && read_size(p, j, a) &&
           request_sampling(p, j, "guidance", a) && request_sampler(p, j, a) &&
           (of == GENERATE ? refuse_kept(p, a) : read_pictures(p, j, of == EDIT, a));
}

static void handle(server *s, exchange *x, endpoint of)
{
    api_error a = {0};
    fields p = {0};
    job *j = job_new(x, &whole);
    bool ok = j ? fields_read(&p, x, &a) && read_job(s, &p, of, j, &a) : request_short(&a);
    fields_release(&p);
    request_submit(s, x, j, ok, &a);
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
