/* Who may call, and what a path means. */
#include "serve/routes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "serve/page.h"

/* ---- who may call ------------------------------------------------------------------------------------------------ */

/* Takes a time that depends on neither text's content. */
static bool same_secret(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    unsigned differ = n != m;
    for (size_t i = 0; i < n; i++)
        differ |= (unsigned)(a[i] ^ b[m ? i % m : 0]);
    return differ == 0;
}

static bool has_key(const server *s, const exchange *x)
{
    const char *given = exchange_header(x, "Authorization");
    text_buffer b = {0};
    if (!s->o.key)
        return true;
    if (!given || strncasecmp(given, "Basic ", 6) != 0)
        return given && !strncasecmp(given, "Bearer ", 7) && same_secret(given + 7, s->o.key);
    /* NAME:KEY, as front ends send it that know passwords alone */
    bool ok = text_from_base64(&b, given + 6);
    const char *colon = ok ? strchr(b.text, ':') : NULL;
    ok = colon && same_secret(colon + 1, s->o.key);
    text_release(&b);
    return ok;
}

/* HOST of "HOST:PORT", "[::1]:PORT" or "HOST". */
static void host_of(const char *text, char out[256])
{
    size_t n = *text == '[' ? strcspn(text, "]") + 1 : strcspn(text, ":/");
    snprintf(out, 256, "%.*s", n < 255 ? (int)n : 255, text);
}

/* A page of another site can make a browser call a local server under a name of its own (DNS rebinding): without a key,
 * only this machine's names, numbers and the name that was given are served. */
static bool is_own_host(const server *s, const exchange *x)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_:[]%";
    const char *given = exchange_header(x, "Host");
    char host[256];
    if (!given) /* HTTP/1.0, which browsers don't speak */
        return true;
    if (!*given || strlen(given) > 255 || strspn(given, letters) != strlen(given)) /* it stands in urls and JSON */
        return false;
    host_of(given, host);
    bool number = strspn(host, "0123456789.") == strlen(host) || *host == '[';
    return s->o.key || server_is_loopback(host) || !strcasecmp(host, s->o.host) ||
           (number && !server_is_loopback(s->o.host));
}

/* Browsers say which site's page calls. */
static bool is_own_origin(const server *s, exchange *x, bool *foreign)
{
    const char *origin = exchange_header(x, "Origin"), *host = exchange_header(x, "Host");
    *foreign = false;
    if (!origin)
        return true;
    const char *name = strstr(origin, "://");
    if (name && host && !strcasecmp(name + 3, host))
        return true;
    for (size_t i = 0; i < s->o.n_origins; i++)
        if (!strcmp(s->o.origins[i], origin) || !strcmp(s->o.origins[i], "*"))
            return *foreign = true;
    return false;
}

static bool refuse(exchange *x, int status, const char *code, const char *why)
{
    api_error a;
    api_fail(&a, status, "", code, "%s", why);
    api_answer_error(x, &a);
    return false;
}

/* ---- paths ------------------------------------------------------------------------------------------------------- */

static void health(server *s, exchange *x)
{
    static const char text[] = "{\"status\":\"ok\"}";
    if (worker_is_ready(s->worker))
        exchange_answer(x, 200, "application/json", text, sizeof text - 1);
    else
        refuse(x, 503, NULL, "the device is being opened again, or the server ends");
}

/* /pictures/NAME.png */
static void picture(server *s, exchange *x)
{
    const char *file = exchange_path(x) + strlen("/pictures/");
    char name[STORE_NAME];
    size_t size = 0, n = strcspn(file, ".");
    const char *type = NULL;
    snprintf(name, sizeof name, "%.*s", n < sizeof name - 1 ? (int)n : (int)sizeof name - 1, file);
    uint8_t *data = store_get(s->store, name, &size, &type);
    if (!data) {
        refuse(x, 404, "not_found", "there is no such picture, or no longer");
        return;
    }
    exchange_put_header(x, "Cache-Control", "private, max-age=3600");
    exchange_put_header(x, "X-Content-Type-Options", "nosniff");
    exchange_answer(x, 200, type, data, size);
    free(data);
}

static void delete_job(server *s, exchange *x)
{
    jobs_delete(s, x, exchange_path(x) + strlen("/v1/jobs/"));
}

static const struct route {
    const char *method, *path; /* a path that ends in / is a beginning, but for / itself */
    void (*handle)(server *s, exchange *x);
    bool open; /* needs no key */
} routes[] = {
    {"GET", "/", page_get, true},
    {"GET", "/health", health, true},
    {"GET", "/pictures/", picture, true},
    {"GET", "/metrics", metrics_get, false},
    {"POST", "/v1/images/generations", openai_generate, false},
    {"POST", "/v1/images/edits", openai_edit, false},
    {"POST", "/v1/images/variations", openai_vary, false},
    {"GET", "/v1/models", models_list, false},
    {"GET", "/v1/models/", models_get, false},
    {"GET", "/v1/jobs", jobs_list, false},
    {"DELETE", "/v1/jobs/", delete_job, false},
#define SD(method, name, handle)                                                                                       \
    {                                                                                                                  \
        method, "/sdapi/v1/" name, handle, false                                                                       \
    }
    SD("POST", "txt2img", sdapi_txt2img),
    SD("POST", "img2img", sdapi_img2img),
    SD("POST", "png-info", sdapi_png_info),
    SD("GET", "progress", sdapi_progress),
    SD("POST", "interrupt", sdapi_interrupt),
    SD("POST", "skip", sdapi_interrupt),
    SD("GET", "sd-models", sdapi_models),
    SD("GET", "options", sdapi_options),
    SD("POST", "options", sdapi_set_options),
    SD("GET", "samplers", sdapi_samplers),
    SD("GET", "schedulers", sdapi_schedulers),
    SD("GET", "upscalers", sdapi_fixed),
    SD("GET", "latent-upscale-modes", sdapi_fixed),
    SD("GET", "sd-vae", sdapi_fixed),
    SD("GET", "sd-modules", sdapi_fixed),
    SD("GET", "hypernetworks", sdapi_fixed),
    SD("GET", "face-restorers", sdapi_fixed),
    SD("GET", "realesrgan-models", sdapi_fixed),
    SD("GET", "prompt-styles", sdapi_fixed),
    SD("GET", "loras", sdapi_fixed),
    SD("GET", "embeddings", sdapi_fixed),
    SD("GET", "scripts", sdapi_fixed),
    SD("GET", "script-info", sdapi_fixed),
    SD("GET", "extensions", sdapi_fixed),
    SD("GET", "cmd-flags", sdapi_fixed),
    SD("GET", "memory", sdapi_fixed),
    SD("POST", "refresh-checkpoints", sdapi_nothing),
    SD("POST", "refresh-loras", sdapi_nothing),
    SD("POST", "refresh-vae", sdapi_nothing),
    SD("POST", "refresh-embeddings", sdapi_nothing),
    SD("POST", "reload-checkpoint", sdapi_nothing),
    SD("POST", "unload-checkpoint", sdapi_nothing),
#undef SD
};
enum { ROUTES = sizeof routes / sizeof *routes };

static bool is_path(const struct route *r, const char *path)
{
    size_t n = strlen(r->path);
    return n > 1 && r->path[n - 1] == '/' ? !strncmp(r->path, path, n) && path[n] : !strcmp(r->path, path);
}

static bool is_method(const struct route *r, const char *method)
{
    return !strcmp(r->method, method) || (!strcmp(r->method, "GET") && !strcmp(method, "HEAD"));
}

/* The route of an exchange; NULL: *allowed has the methods of its path, or "". */
static const struct route *find_route(const exchange *x, char allowed[64])
{
    const struct route *found = NULL;
    size_t at = 0;
    *allowed = 0;
    for (int i = 0; i < ROUTES; i++)
        if (is_path(&routes[i], exchange_path(x))) {
            bool get = !strcmp(routes[i].method, "GET");
            at += (size_t)snprintf(allowed + at, 64 - at, "%s%s", at ? ", " : "", get ? "GET, HEAD" : routes[i].method);
            found = is_method(&routes[i], exchange_method(x)) ? &routes[i] : found;
        }
    return found;
}

/* What a browser asks before it lets a page of another site call. */
static void preflight(exchange *x)
{
    exchange_put_header(x, "Access-Control-Allow-Methods", "GET, POST, DELETE");
    const char *headers = exchange_header(x, "Access-Control-Request-Headers");
    exchange_put_header(x, "Access-Control-Allow-Headers", headers ? headers : "Authorization, Content-Type");
    exchange_put_header(x, "Access-Control-Max-Age", "600");
    exchange_answer(x, 204, "text/plain", "", 0);
}

void routes_begin(void *context, exchange *x)
{
    server *s = context;
    char allowed[64];
    bool foreign;
    if (!is_own_host(s, x)) {
        refuse(x, 403, "invalid_host", "the request is for another host");
        return;
    }
    if (!is_own_origin(s, x, &foreign)) {
        refuse(x, 403, "invalid_origin", "pages of other sites may not call (start limn serve with --origin for one)");
        return;
    }
    if (foreign) {
        exchange_put_header(x, "Access-Control-Allow-Origin", exchange_header(x, "Origin"));
        exchange_put_header(x, "Vary", "Origin");
    }
    if (foreign && !strcmp(exchange_method(x), "OPTIONS")) {
        preflight(x);
        return;
    }
    const struct route *r = find_route(x, allowed);
    if (!(r && r->open) && !has_key(s, x)) {
        exchange_put_header(x, "WWW-Authenticate", "Bearer");
        refuse(x, 401, "invalid_api_key",
               exchange_header(x, "Authorization") ? "the API key is wrong" : "an API key is needed");
    } else if (!r && *allowed) {
        exchange_put_header(x, "Allow", allowed);
        if (!strcmp(exchange_method(x), "OPTIONS")) {
            exchange_answer(x, 204, "text/plain", "", 0);
            return;
        }
        refuse(x, 405, "method_not_allowed", "the path has other methods");
    } else if (!r) {
        refuse(x, 404, "not_found", "there is no such path");
    }
}

void routes_handle(void *context, exchange *x)
{
    char allowed[64];
    const struct route *r = find_route(x, allowed);
    r->handle(context, x);
}

void routes_refuse(void *context, exchange *x, int status, const char *why)
{
    (void)context;
    refuse(x, status, NULL, why);
}
