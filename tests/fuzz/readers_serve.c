/* What clients of limn serve send: heads of requests and bodies in chunks, as a whole and byte by byte; base64; fields
 * of requests in JSON. */
#include <stdlib.h>
#include <string.h>

#include "readers.h"
#ifdef LIMN_SERVE
#include "serve/http_head.h"
#include "serve/request.h"
#include "serve/text.h"

static http_found read_head(http_head *h, const char *text, size_t size, size_t step)
{
    http_found found = HTTP_MORE;
    for (size_t n = 0; found == HTTP_MORE && n < size;) {
        n = size - n < step ? size : n + step;
        found = http_head_read(h, text, n);
    }
    return found;
}

static http_found read_chunks(text_buffer *body, const char *text, size_t size, size_t step, size_t *at)
{
    http_chunks c = {0};
    http_found found = HTTP_MORE;
    for (*at = 0; found == HTTP_MORE && *at < size;) {
        size_t n = size - *at < step ? size - *at : step, used, some;
        const char *data = NULL;
        found = http_chunks_read(&c, text + *at, n, &used, &data, &some);
        CHECK(used > 0 && used <= n && some <= used &&
              (some == 0 || (data >= text + *at && data + some <= text + *at + used)));
        CHECK(text_put(body, data ? data : "", some));
        *at += used;
    }
    CHECK(found == HTTP_BAD || body->size == c.total);
    return found;
}

void read_http(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    size = size < HTTP_HEAD_MOST ? size : HTTP_HEAD_MOST;
    http_head whole = {0}, slow = {0};
    http_found found = read_head(&whole, text, size, size ? size : 1);
    CHECK(read_head(&slow, text, size, 1) == found);
    if (found == HTTP_BAD)
        CHECK(whole.status >= 400 && whole.why && slow.status >= 400);
    if (found == HTTP_WHOLE) {
        CHECK(whole.size == slow.size && whole.begin == slow.begin && whole.length == slow.length);
        CHECK(whole.size <= size && !memcmp(text + whole.size - 4, "\r\n\r\n", 4));
        CHECK((whole.framing == HTTP_LENGTH) == (whole.length > 0));
        text += whole.size;
        size -= whole.size;
    }
    text_buffer body = {0}, drops = {0}, bytes = {0};
    size_t end, slow_end;
    found = read_chunks(&body, text, size, size ? size : 1, &end);
    CHECK(read_chunks(&drops, text, size, 1, &slow_end) == found);
    if (found == HTTP_WHOLE)
        CHECK(end == slow_end && body.size == drops.size &&
              (body.size == 0 || !memcmp(body.text, drops.text, body.size)));
    char *code = malloc(size + 1);
    CHECK(code);
    memcpy(code, text, size);
    code[size] = 0;
    if (text_from_base64(&bytes, code))
        CHECK(bytes.size <= size && (bytes.size == 0 || bytes.text[bytes.size] == 0));
    free(code);
    text_release(&body);
    text_release(&drops);
    text_release(&bytes);
}

static bool read_fields(const fields *p, job *j, api_error *a)
{
    static const char *const formats[] = {"png", "jpeg", "webp", NULL};
    int format = 0;
    bool streams;
    return request_prompt(p, j, true, a) && request_sampling(p, j, "guidance", a) && request_sampler(p, j, a) &&
           fields_integer(p, "n", 1, PICTURES_MOST, &j->count, a) && fields_bool(p, "stream", &streams, a) &&
           fields_word(p, "output_format", formats, &format, a) && fields_picture(p, "image", &j->picture, a) &&
           fields_keep(p, "keep", &j->mask, &j->region, a);
}

void read_request(const uint8_t *data, size_t size)
{
    api_error a = {0};
    fields p = {0};
    bool ok = fields_parse(&p, (const char *)data, size, &a);
    CHECK(ok == (p.root != NULL) && ok == (a.status == 0));
    job *j = job_new(NULL, NULL);
    CHECK(j);
    if (ok && read_fields(&p, j, &a)) {
        CHECK(j->prompt && strlen(j->prompt) <= PROMPT_MOST && j->count >= 1 && j->count <= PICTURES_MOST);
        const float given[] = {j->temperature, j->top_p, j->guidance}, most[] = {100, 1, 1000};
        for (int i = 0; i < 3; i++) /* or not given */
            CHECK(given[i] == -1 || (given[i] >= 0 && given[i] <= most[i]));
        CHECK(j->steps >= 0 && j->steps <= 1000 && j->top_k >= -1);
        CHECK(a.status == 0);
    } else {
        CHECK(a.status >= 400 && *a.message);
    }
    fields_release(&p);
    job_release(j);
}
#else
void read_request(const uint8_t *data, size_t size)
{
    (void)data, (void)size;
}

void read_http(const uint8_t *data, size_t size)
{
    (void)data, (void)size;
}
#endif
