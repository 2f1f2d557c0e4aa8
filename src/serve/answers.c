/* Errors as OpenAI's API has them; jobs and counts. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "serve/request.h"

/* What is cut within a letter, or comes from a path, may be no UTF-8, as JSON must be: such bytes become question
 * marks. */
static void mend(char *text)
{
    utf8proc_int32_t c;
    for (utf8proc_ssize_t n; *text; text += n)
        if ((n = utf8proc_iterate((const utf8proc_uint8_t *)text, -1, &c)) < 1) {
            *text = '?';
            n = 1;
        }
}

bool api_fail(api_error *a, int status, const char *param, const char *code, const char *message, ...)
{
    va_list list;
    *a = (api_error){.status = status, .code = code};
    a->type = status == 401   ? "authentication_error"
              : status == 429 ? "rate_limit_error"
              : status >= 500 ? "server_error"
                              : "invalid_request_error";
    snprintf(a->param, sizeof a->param, "%s", param);
    va_start(list, message);
    vsnprintf(a->message, sizeof a->message, message, list);
    va_end(list);
    mend(a->message);
    return false;
}

/* The field of a request that a text is about: its first word, or the first of its settings in backticks. */
static const char *field_of(const char *text)
{
    static const char *const names[] = {
        "image", "keep",  "mask",     "n",           "prompt",          "seed",    "size",   "steps", "strength",
        "top_k", "top_p", "guidance", "temperature", "negative_prompt", "sampler", "spacing"};
    const char *tick = strchr(text, '`'), *at = tick ? tick + 1 : text;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t n = strlen(names[i]);
        if (!strncmp(at, names[i], n) && at[n] == (tick ? '`' : ':'))
            return names[i];
    }
    return "";
}

void api_from(api_error *a, const limn_error *e)
{
    int status = e->code == LIMN_USAGE                  ? 400
                 : e->cause == LIMN_CAUSE_DEVICE_LOST   ? 503
                 : e->cause == LIMN_CAUSE_BUSY          ? 503
                 : e->cause == LIMN_CAUSE_DEVICE_MEMORY ? 503
                 : e->code == LIMN_NO_DEVICE            ? 503
                 : e->cause == LIMN_CAUSE_INTERRUPTED   ? 409
                                                        : 500;
    api_fail(a, status, status == 400 ? field_of(e->text) : "", NULL, "%s", e->text);
}

static bool put_error(text_buffer *b, const api_error *a)
{
    json_t *root = json_pack("{s:{s:s, s:s, s:s?, s:s?}}", "error", "message", a->message, "type", a->type, "param",
                             *a->param ? a->param : NULL, "code", a->code);
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    const char *otherwise =
        "{\"error\":{\"message\":\"failed\",\"type\":\"server_error\",\"param\":null,\"code\":null}}";
    bool ok = text_format(b, "%s", text ? text : otherwise);
    free(text);
    json_decref(root);
    return ok;
}

void api_answer_error(exchange *x, const api_error *a)
{
    text_buffer b = {0};
    if (a->status == 429 || a->status == 503)
        exchange_put_header(x, "Retry-After", "2");
    put_error(&b, a);
    exchange_answer(x, a->status, "application/json", b.text ? b.text : "", b.size);
    text_release(&b);
}

void api_describe(int status, const char *why, text_buffer *body)
{
    api_error a;
    api_fail(&a, status, "", NULL, "%s", why);
    put_error(body, &a);
}

/* ---- jobs ------------------------------------------------------------------------------------------------------- */

static void list_job(void *context, const job *j)
{
    json_array_append_new(context,
                          json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:f, s:s?, s:s?}", "id", j->id, "object",
                                    "job", "status", job_state_names[j->state], "model", j->model->id, "n", j->count,
                                    "codes", j->codes, "codes_total", j->all_codes, "created", j->created, "error",
                                    *j->error ? j->error : NULL, "user", j->user));
}

void answer_json(exchange *x, json_t *root)
{
    char *text = root ? json_dumps(root, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    exchange_answer(x, text ? 200 : 500, "application/json", text ? text : "{}", text ? strlen(text) : 2);
    free(text);
    json_decref(root);
}

void jobs_list(server *s, exchange *x)
{
    json_t *list = json_array();
    worker_each(s->worker, list_job, list);
    answer_json(x, json_pack("{s:s, s:o}", "object", "list", "data", list));
}

void jobs_delete(server *s, exchange *x, const char *id)
{
    api_error a;
    if (worker_cancel(s->worker, id)) {
        answer_json(x, json_pack("{s:s, s:s, s:b}", "id", id, "object", "job", "deleted", 1));
        return;
    }
    api_fail(&a, 404, "id", "not_found", "no job %.64s waits or works", id);
    api_answer_error(x, &a);
}

/* ---- counts ----------------------------------------------------------------------------------------------------- */

void metrics_get(server *s, exchange *x)
{
    worker_counts c;
    text_buffer b = {0};
    worker_count(s->worker, &c);
    bool ok = text_format(&b,
                          "# TYPE limn_jobs gauge\nlimn_jobs{state=\"waiting\"} %" PRIu64
                          "\nlimn_jobs{state=\"working\"} %" PRIu64 "\n# TYPE limn_jobs_total counter\n",
                          c.jobs[JOB_WAITING], c.jobs[JOB_WORKING]);
    for (int i = JOB_DONE; ok && i <= JOB_CANCELLED; i++)
        ok = text_format(&b, "limn_jobs_total{state=\"%s\"} %" PRIu64 "\n", job_state_names[i], c.jobs[i]);
    ok = ok && text_format(&b,
                           "# TYPE limn_pictures_total counter\nlimn_pictures_total %" PRIu64
                           "\n# TYPE limn_codes_total counter\nlimn_codes_total %" PRIu64
                           "\n# TYPE limn_busy_seconds_total counter\nlimn_busy_seconds_total %.3f\n"
                           "# TYPE limn_ready gauge\nlimn_ready %d\n",
                           c.pictures, c.codes, c.busy, worker_is_ready(s->worker));
    exchange_answer(x, ok ? 200 : 500, "text/plain; version=0.0.4", b.text ? b.text : "", b.size);
    text_release(&b);
}
