/* limn serve over sockets: OpenAI's requests and answers, pictures as limn_generate draws them, clients that leave, and
 * who may call. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <jansson.h>
#include <png.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "checks.h"
#include "io/image.h"
#include "models/model.h"
#include "serve/server.h"
#include "support.h"

enum { SIDE = 8, CELLS = 16 };

static device *dev;

/* ---- a server ---------------------------------------------------------------------------------------------------- */

static struct running {
    pthread_t thread;
    serve_options o;
    volatile int stop, port;
    bool ok;
    err why;
} server_thread;

static void on_ready(const char *host, int port)
{
    (void)host;
    server_thread.port = port;
}

static void *serve(void *context)
{
    struct running *s = context;
    s->ok = serve_run(&s->o, &s->stop, on_ready, &s->why);
    if (!s->ok)
        s->port = -1;
    return NULL;
}

static void pause_for(double seconds)
{
    nanosleep(&(struct timespec){(time_t)seconds, (long)(1e9 * (seconds - (double)(time_t)seconds))}, NULL);
}

static void begin(serve_options o)
{
    static const char *file;
    static char spec[32];
    static const char *const device_spec = spec;
    file = support_path("tiny.gguf");
    snprintf(spec, sizeof spec, "%d", dev->info.index);
    o.host = "127.0.0.1";
    o.models = &file;
    o.n_models = 1;
    o.most = o.most ? o.most : 64;
    o.drain = 60;
    o.devices = &device_spec;
    o.n_devices = 1;
    server_thread = (struct running){.o = o};
    assert_int_equal(pthread_create(&server_thread.thread, NULL, serve, &server_thread), 0);
    while (!server_thread.port)
        pause_for(0.01);
    if (server_thread.port < 0)
        fail_msg("%s", server_thread.why.text);
}

static void end(void)
{
    server_thread.stop = 1;
    pthread_join(server_thread.thread, NULL);
    assert_true(server_thread.ok);
}

/* ---- a client ---------------------------------------------------------------------------------------------------- */

static int connected(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)server_thread.port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void send_all(int fd, const char *data, size_t size)
{
    for (ssize_t n; size > 0; data += n, size -= (size_t)n)
        if ((n = send(fd, data, size, MSG_NOSIGNAL)) <= 0)
            return; /* the server has its reasons */
}

/* An answer: its head and body in one text. */
typedef struct answer {
    text_buffer all;
    int status;
    const char *body;
    size_t size;
} answer;

static answer receive(int fd)
{
    answer a = {0};
    char piece[16384];
    for (ssize_t n; (n = recv(fd, piece, sizeof piece, 0)) > 0;)
        assert_true(text_put(&a.all, piece, (size_t)n));
    close(fd);
    assert_non_null(a.all.text);
    const char *body = strstr(a.all.text, "\r\n\r\n");
    assert_non_null(body);
    a.status = atoi(a.all.text + strlen("HTTP/1.1 "));
    a.body = body + 4;
    a.size = a.all.size - (size_t)(a.body - a.all.text);
    return a;
}

static int send_request(const char *method, const char *path, const char *headers, const char *body, size_t size)
{
    text_buffer b = {0};
    int fd = connected();
    assert_true(
        text_format(&b, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n",
                    method, path, server_thread.port, headers, size) &&
        text_put(&b, body, size));
    send_all(fd, b.text, b.size);
    text_release(&b);
    return fd;
}

static answer ask(const char *method, const char *path, const char *headers, const char *body)
{
    return receive(send_request(method, path, headers, body, strlen(body)));
}

static void drop(answer *a)
{
    text_release(&a->all);
}

/* The status, and for errors the parameter or code that they name. */
static void check_error(const char *path, const char *body, int status, const char *key, const char *value)
{
    answer a = ask("POST", path, "", body);
    json_t *root = json_loadb(a.body, a.size, 0, NULL), *error = json_object_get(root, "error");
    const char *have = json_string_value(json_object_get(error, key));
    if (a.status != status || !json_string_value(json_object_get(error, "message")) || !have || strcmp(have, value))
        fail_msg("%s: %d %s", body, a.status, a.body);
    json_decref(root);
    drop(&a);
}

/* ---- pictures ---------------------------------------------------------------------------------------------------- */

/* Pictures 0 to n - 1 of a seed as the library draws them: rgb[n][SIDE][SIDE][3] */
static uint8_t *drawn(const limn_generate_options *o)
{
    err e = {0};
    model *m = limn_model_open(dev, support_path("tiny.gguf"), &e);
    good(m != NULL, &e);
    size_t n = (size_t)o->count;
    int32_t *codes = calloc(n * CELLS, sizeof *codes);
    uint8_t *rgb = calloc(n, 3 * SIDE * SIDE);
    good(limn_generate(m, o, codes, &e), &e);
    good(limn_decode_pixels(m, codes, o->count, LIMN_U8, rgb, NULL, &e), &e);
    free(codes);
    limn_model_free(&m);
    return rgb;
}

/* The picture behind the i-th url of an answer. */
static image fetch(const json_t *root, size_t i)
{
    const char *url = json_string_value(json_object_get(json_array_get(json_object_get(root, "data"), i), "url"));
    assert_non_null(url);
    assert_non_null(strstr(url, "http://127.0.0.1:"));
    answer a = ask("GET", strstr(url, "/pictures/"), "", "");
    image im = {0};
    err e = {0};
    assert_int_equal(a.status, 200);
    good(image_read_memory(&im, a.body, a.size, "answer", &e), &e);
    drop(&a);
    return im;
}

static json_t *parsed(answer *a, int status)
{
    if (a->status != status)
        fail_msg("%d: %s", a->status, a->body);
    json_t *root = json_loadb(a->body, a->size, 0, NULL);
    assert_non_null(root);
    drop(a);
    return root;
}

static void same_pictures(const json_t *root, const uint8_t *rgb, size_t n)
{
    assert_int_equal(json_array_size(json_object_get(root, "data")), n);
    for (size_t i = 0; i < n; i++) {
        image im = fetch(root, i);
        assert_int_equal(im.width, SIDE);
        assert_memory_equal(im.pixels, rgb + i * 3 * SIDE * SIDE, 3 * SIDE * SIDE);
        image_release(&im);
    }
}

#define GENERATIONS "/v1/images/generations"

static void pictures_are_those_of_limn_generate(void **state)
{
    (void)state;
    const limn_generate_options o = {.prompt = "a", .seed = 7, .count = 3, .temperature = 1, .guidance = 2};
    uint8_t *rgb = drawn(&o),
            *one =
                drawn(&(limn_generate_options){.prompt = "b", .seed = 9, .count = 1, .top_k = 2, .temperature = 0.5f});
    begin((serve_options){0});
    /* at the same time */
    static const char first[] = "{\"prompt\": \"a\", \"seed\": 7, \"n\": 3, \"temperature\": 1, \"guidance\": 2}",
                      second[] = "{\"prompt\": \"b\", \"seed\": 9, \"top_k\": 2, \"temperature\": 0.5}";
    int a = send_request("POST", GENERATIONS, "", first, sizeof first - 1);
    int b = send_request("POST", GENERATIONS, "", second, sizeof second - 1);
    answer of_a = receive(a), of_b = receive(b);
    json_t *root = parsed(&of_a, 200), *other = parsed(&of_b, 200);
    assert_int_equal(json_integer_value(json_object_get(root, "seed")), 7);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(root, "usage"), "output_tokens")), 3 * CELLS);
    same_pictures(root, rgb, 3);
    same_pictures(other, one, 1);
    json_decref(root);
    json_decref(other);
    free(rgb);
    free(one);
    /* a size that the model doesn't have: whole multiples repeat pixels */
    answer large = ask("POST", GENERATIONS, "", "{\"prompt\": \"a\", \"size\": \"16x16\"}");
    root = parsed(&large, 200);
    image im = fetch(root, 0);
    assert_int_equal(im.width, 2 * SIDE);
    assert_memory_equal(im.pixels, im.pixels + 3, 3);
    image_release(&im);
    json_decref(root);
    end();
}

/* The picture of the base64 text that a quote ends. */
static image decode_base64(const char *text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    text_buffer b = {0};
    image im = {0};
    err e = {0};
    uint32_t bits = 0;
    for (int n = 0; *text != '"' && *text != '='; text++) {
        bits = bits << 6 | (uint32_t)(strchr(digits, *text) - digits);
        n += 6;
        if (n >= 8) {
            n -= 8;
            assert_true(text_put(&b, &(uint8_t){(uint8_t)(bits >> n)}, 1));
        }
    }
    good(image_read_memory(&im, b.text, b.size, "base64", &e), &e);
    text_release(&b);
    return im;
}

/* Its last cell isn't known: grey; its first is. */
static void check_preview(const char *event)
{
    static const char key[] = "\"b64_json\":\"";
    const char *text = strstr(event, key);
    assert_non_null(text);
    image im = decode_base64(text + strlen(key));
    const uint8_t *last = im.pixels + 3 * SIDE * SIDE - 3;
    assert_true(last[0] == 128 && last[1] == 128 && last[2] == 128);
    assert_false(im.pixels[0] == 128 && im.pixels[1] == 128 && im.pixels[2] == 128);
    image_release(&im);
}

static void streams_tell_of_what_is_there(void **state)
{
    (void)state;
    begin((serve_options){0});
    answer a = ask("POST", GENERATIONS, "", "{\"prompt\": \"a\", \"stream\": true, \"partial_images\": 2}");
    assert_int_equal(a.status, 200);
    const char *at = a.body;
    for (int i = 0; i < 2; i++) {
        char wanted[64];
        assert_non_null(at = strstr(at, "event: image_generation.partial_image\n"));
        snprintf(wanted, sizeof wanted, "\"partial_image_index\":%d,", i);
        assert_non_null(at = strstr(at, wanted));
        check_preview(at);
    }
    assert_non_null(at = strstr(at, "event: image_generation.completed\n"));
    assert_non_null(strstr(at, "\"output_tokens\":16"));
    assert_null(strstr(at + 1, "event:"));
    drop(&a);
    end();
}

/* A PNG that is transparent below its middle, a new block. */
static uint8_t *mask_file(size_t *size)
{
    uint8_t rgba[SIDE][SIDE][4];
    png_image im = {.version = PNG_IMAGE_VERSION, .width = SIDE, .height = SIDE, .format = PNG_FORMAT_RGBA};
    png_alloc_size_t bytes = 65536;
    uint8_t *file = malloc(bytes);
    for (int y = 0; y < SIDE; y++)
        memset(rgba[y], y < SIDE / 2 ? 255 : 0, sizeof rgba[y]);
    assert_true(png_image_write_to_memory(&im, file, &bytes, 0, rgba, 0, NULL));
    *size = bytes;
    return file;
}

/* A form of a picture, perhaps a mask whose lower half is transparent, and fields. */
static answer post_form(const char *path, const image *im, bool masked, const char *fields)
{
    static const char line[] = "--frontier\r\nContent-Disposition: form-data; name=\"";
    text_buffer b = {0};
    uint8_t *file = NULL;
    size_t size = 0;
    err e = {0};
    good(image_encode(&file, &size, im, &(image_write_options){.format = IMAGE_PNG}, "picture", &e), &e);
    assert_true(text_format(&b, "%simage\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n", line) &&
                text_put(&b, file, size) && text_format(&b, "\r\n"));
    free(file);
    if (masked) {
        file = mask_file(&size);
        assert_true(text_format(&b, "%smask\"; filename=\"m.png\"\r\n\r\n", line) && text_put(&b, file, size) &&
                    text_format(&b, "\r\n"));
        free(file);
    }
    for (const char *field = fields; *field; field += strlen(field) + 1) {
        const char *value = strchr(field, '=') + 1;
        assert_true(text_format(&b, "%s%.*s\"\r\n\r\n%s\r\n", line, (int)(value - field - 1), field, value));
    }
    assert_true(text_format(&b, "--frontier--\r\n"));
    answer a =
        receive(send_request("POST", path, "Content-Type: multipart/form-data; boundary=frontier\r\n", b.text, b.size));
    text_release(&b);
    return a;
}

static image some_picture(void)
{
    image im = {0};
    err e = {0};
    good(image_new(&im, SIDE, SIDE, &e), &e);
    for (int i = 0; i < 3 * SIDE * SIDE; i++)
        im.pixels[i] = (uint8_t)(i * 37);
    return im;
}

static void edits_keep_what_is_opaque(void **state)
{
    (void)state;
    image im = some_picture();
    uint8_t keep[CELLS] = {1, 1, 1, 1, 1, 1, 1, 1};
    int32_t codes[CELLS];
    err e = {0};
    model *m = limn_model_open(dev, support_path("tiny.gguf"), &e);
    good(m != NULL, &e);
    good(limn_encode(m, im.pixels, 1, codes, NULL, &e), &e);
    limn_model_free(&m);
    uint8_t *rgb = drawn(&(limn_generate_options){
        .prompt = "b", .seed = 5, .count = 1, .temperature = 1, .keep = keep, .kept_codes = codes});
    begin((serve_options){0});
    answer a = post_form("/v1/images/edits", &im, true, "prompt=b\0seed=5\0temperature=1\0n=1\0");
    json_t *root = parsed(&a, 200);
    same_pictures(root, rgb, 1);
    json_decref(root);
    a = post_form("/v1/images/edits", &im, true, "seed=5\0");
    assert_int_equal(a.status, 400); /* no prompt */
    drop(&a);
    end();
    free(rgb);
    image_release(&im);
}

static void variations_repeat_and_differ(void **state)
{
    (void)state;
    image im = some_picture(), pictures[2][3];
    begin((serve_options){0});
    for (int i = 0; i < 2; i++) {
        answer a = post_form("/v1/images/variations", &im, false, "n=3\0seed=11\0temperature=1\0");
        json_t *root = parsed(&a, 200);
        for (size_t k = 0; k < 3; k++)
            pictures[i][k] = fetch(root, k);
        json_decref(root);
    }
    for (int k = 0; k < 3; k++) {
        assert_memory_equal(pictures[0][k].pixels, pictures[1][k].pixels, 3 * SIDE * SIDE);
        assert_memory_not_equal(pictures[0][k].pixels, pictures[0][(k + 1) % 3].pixels, 3 * SIDE * SIDE);
    }
    for (int i = 0; i < 6; i++)
        image_release(&pictures[i / 3][i % 3]);
    image_release(&im);
    end();
}

/* ---- errors ------------------------------------------------------------------------------------------------------ */

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        int status;
        const char *key, *value;
    } cases[] = {
        {"{}", 400, "param", "prompt"},
        {"{\"prompt\": 3}", 400, "param", "prompt"},
        {"{\"prompt\": \"a\", \"n\": 0}", 400, "param", "n"},
        {"{\"prompt\": \"a\", \"n\": 1.5}", 400, "param", "n"},
        {"{\"prompt\": \"a\", \"size\": \"large\"}", 400, "param", "size"},
        {"{\"prompt\": \"a\", \"temperature\": -1}", 400, "param", "temperature"},
        {"{\"prompt\": \"a\", \"top_p\": 2}", 400, "param", "top_p"},
        {"{\"prompt\": \"a\", \"seed\": -2}", 400, "param", "seed"},
        {"{\"prompt\": \"a\", \"response_format\": \"gif\"}", 400, "param", "response_format"},
        {"{\"prompt\": \"a\", \"model\": \"dall-e-2\"}", 404, "code", "model_not_found"},
        {"[]", 400, "type", "invalid_request_error"},
        {"{\"prompt\"", 400, "type", "invalid_request_error"},
    };
    begin((serve_options){0});
    for (size_t i = 0; i < COUNT(cases); i++)
        check_error(GENERATIONS, cases[i].body, cases[i].status, cases[i].key, cases[i].value);
    check_error("/v1/nothing", "", 404, "code", "not_found");
    answer a = ask("PUT", GENERATIONS, "", "");
    assert_int_equal(a.status, 405);
    assert_non_null(strstr(a.all.text, "Allow: POST\r\n"));
    drop(&a);
    /* more than may be, which is refused before it comes; two lengths */
    int fd = connected();
    static const char large[] = "POST " GENERATIONS " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n";
    send_all(fd, large, sizeof large - 1);
    a = receive(fd);
    assert_int_equal(a.status, 413);
    drop(&a);
    fd = connected();
    static const char two[] = "POST " GENERATIONS " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
                              "Content-Length: 40\r\n\r\n{}GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    send_all(fd, two, sizeof two - 1);
    a = receive(fd);
    assert_int_equal(a.status, 400);
    assert_null(strstr(a.body, "HTTP/1.1"));
    drop(&a);
    end();
}

/* What isn't whole in time is cut off, also where a byte comes now and then. */
static void slow_requests_are_cut_off(void **state)
{
    (void)state;
    static const char head[] = "POST " GENERATIONS " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n";
    begin((serve_options){.deadline = 1});
    int fds[3];
    for (int i = 0; i < 3; i++)
        fds[i] = connected();
    send_all(fds[1], "GET /heal", 9);
    send_all(fds[2], head, sizeof head - 1);
    for (int i = 0; i < 25; i++) {
        pause_for(0.1);
        send_all(fds[1], "t", 1);
        send_all(fds[2], " ", 1);
    }
    char byte;
    assert_int_equal(recv(fds[0], &byte, 1, 0), 0); /* it said nothing, and is told nothing */
    close(fds[0]);
    for (int i = 1; i < 3; i++) {
        answer a = receive(fds[i]);
        assert_int_equal(a.status, 408);
        drop(&a);
    }
    answer a = ask("GET", "/health", "", "");
    assert_int_equal(a.status, 200);
    drop(&a);
    end();
}

static void who_may_call(void **state)
{
    (void)state;
    static const struct {
        const char *path, *headers;
        int status;
    } cases[] = {
        {"/health", "", 200},
        {"/", "", 200},
        {"/v1/models", "", 401},
        {"/v1/models", "Authorization: Bearer secre\r\n", 401},
        {"/v1/models", "Authorization: Bearer secrets\r\n", 401},
        {"/v1/models", "Authorization: Bearer secret\r\n", 200},
        {"/health", "Origin: http://example.com\r\n", 403},
        {"/health", "Origin: https://own.example\r\n", 200},
    };
    static const char *const origin = "https://own.example";
    begin((serve_options){.key = "secret", .origins = &origin, .n_origins = 1});
    for (size_t i = 0; i < COUNT(cases); i++) {
        answer a = ask("GET", cases[i].path, cases[i].headers, "");
        if (a.status != cases[i].status)
            fail_msg("%s, %s: %d", cases[i].path, cases[i].headers, a.status);
        assert_true(!strstr(a.all.text, "Access-Control-Allow-Origin") == !strstr(cases[i].headers, "own.example"));
        drop(&a);
    }
    end();
    begin((serve_options){0}); /* a page of another site calls under its own name */
    static const struct {
        const char *host;
        int status;
    } hosts[] = {{"evil.example", 403}, {"127.evil.example", 403}, {"127.0.0.1.evil.example:80", 403},
                 {"localhost:1", 200},  {"127.0.0.1", 200},        {"[::1]:8080", 200}};
    for (size_t i = 0; i < COUNT(hosts); i++) {
        char request[128];
        int n = snprintf(request, sizeof request, "GET /health HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
                         hosts[i].host);
        int fd = connected();
        send_all(fd, request, (size_t)n);
        answer a = receive(fd);
        if (a.status != hosts[i].status)
            fail_msg("%s: %d", hosts[i].host, a.status);
        drop(&a);
    }
    end();
    err e = {0};
    assert_false(serve_run(&(serve_options){.host = "0.0.0.0"}, &(const int){1}, on_ready, &e));
    assert_int_equal(e.code, ERR_USAGE); /* no key */
}

/* Its style and script are those alone that the answer's own number names. */
static void the_page_allows_only_itself(void **state)
{
    (void)state;
    char nonces[2][33], tag[128];
    begin((serve_options){0});
    for (int i = 0; i < 2; i++) {
        answer a = ask("GET", "/", "", "");
        assert_int_equal(a.status, 200);
        assert_non_null(strstr(a.all.text, "Content-Type: text/html; charset=utf-8\r\n"));
        const char *policy = strstr(a.all.text, "Content-Security-Policy: default-src 'none'; script-src 'nonce-");
        assert_non_null(policy);
        snprintf(nonces[i], sizeof nonces[i], "%.32s", strstr(policy, "nonce-") + 6);
        snprintf(tag, sizeof tag, "<script nonce=\"%s\">", nonces[i]);
        assert_non_null(strstr(a.body, tag));
        snprintf(tag, sizeof tag, "<style nonce=\"%s\">", nonces[i]);
        assert_non_null(strstr(a.body, tag));
        assert_null(strstr(a.body, "@NONCE@"));
        assert_non_null(strstr(a.body, "</html>"));
        drop(&a);
    }
    assert_string_not_equal(nonces[0], nonces[1]);
    end();
}

/* Requests beyond those that may wait are told when to come again. */
static void too_many_are_sent_away(void **state)
{
    (void)state;
    static const char long_one[] = "{\"prompt\": \"a\", \"n\": 64}";
    bool seen = false;
    begin((serve_options){.most = 1});
    for (int i = 0; i < 50 && !seen; i++) { /* the first may have ended before the second comes */
        int fds[2];
        for (int k = 0; k < 2; k++)
            fds[k] = send_request("POST", GENERATIONS, "", long_one, sizeof long_one - 1);
        for (int k = 0; k < 2; k++) {
            answer a = receive(fds[k]);
            assert_true(a.status == 200 || (a.status == 429 && strstr(a.all.text, "Retry-After: ")));
            seen = seen || a.status == 429;
            drop(&a);
        }
    }
    assert_true(seen);
    end();
}

/* Bodies of all requests together: what would be more is refused before it comes, or in its midst, and there is room
 * again when a client has gone. */
static void bodies_are_bounded(void **state)
{
    (void)state;
    static char text[60000];
    static const char half[] = "POST " GENERATIONS " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90000\r\n\r\n",
                      chunked[] = "POST " GENERATIONS " HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
                                  "Connection: close\r\n\r\nea60\r\n";
    memset(text, ' ', sizeof text);
    memcpy(text, "{}", 2);
    begin((serve_options){.bodies_most = 100000});
    int held = connected();
    send_all(held, half, sizeof half - 1);
    send_all(held, text, sizeof text);
    for (int i = 0, status = 0; i < 500 && status != 503; i++) { /* until it is read */
        answer a = receive(send_request("POST", GENERATIONS, "", text, sizeof text));
        status = a.status;
        assert_true(status == 400 || (status == 503 && strstr(a.all.text, "Retry-After: ")));
        drop(&a);
        if (i == 499)
            fail_msg("all are taken");
    }
    int fd = connected();
    send_all(fd, chunked, sizeof chunked - 1);
    send_all(fd, text, sizeof text);
    send_all(fd, "\r\n0\r\n\r\n", 7);
    answer a = receive(fd);
    assert_int_equal(a.status, 503);
    drop(&a);
    a = ask("POST", GENERATIONS, "", "{}"); /* small ones go on */
    assert_int_equal(a.status, 400);
    drop(&a);
    close(held);
    for (int i = 0, status = 0; status != 400; i++) {
        pause_for(0.01);
        a = receive(send_request("POST", GENERATIONS, "", text, sizeof text));
        status = a.status;
        drop(&a);
        if (i == 500)
            fail_msg("none is taken again");
    }
    end();
}

static uint64_t counted(const char *name)
{
    answer a = ask("GET", "/metrics", "", "");
    const char *at = strstr(a.body, name);
    assert_non_null(at);
    uint64_t n = strtoull(at + strlen(name), NULL, 10);
    drop(&a);
    return n;
}

/* Its work ends, whether it had begun or waited; and what is asked for by its id. */
static void clients_that_leave_end_their_work(void **state)
{
    (void)state;
    static const char long_one[] = "{\"prompt\": \"a\", \"n\": 64}";
    begin((serve_options){0});
    for (int i = 0; i < 3; i++)
        close(send_request("POST", GENERATIONS, "", long_one, sizeof long_one - 1));
    uint64_t ended = 0;
    for (int i = 0; i < 1000 && ended < 3; i++) {
        pause_for(0.02);
        ended = counted("limn_jobs_total{state=\"cancelled\"} ") + counted("limn_jobs_total{state=\"done\"} ");
    }
    assert_int_equal(ended, 3);
    assert_true(counted("limn_jobs_total{state=\"cancelled\"} ") >= 1);
    end();
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        TEST(pictures_are_those_of_limn_generate),
        TEST(streams_tell_of_what_is_there),
        TEST(edits_keep_what_is_opaque),
        TEST(variations_repeat_and_differ),
        TEST(what_is_wrong_is_named),
        TEST(slow_requests_are_cut_off),
        TEST(who_may_call),
        TEST(the_page_allows_only_itself),
        TEST(too_many_are_sent_away),
        TEST(bodies_are_bounded),
        TEST(clients_that_leave_end_their_work),
    };
    err e = {0};
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    dev = support_device();
    if (!tiny_model_write(support_path("tiny.gguf"), &(tiny_config){0}, &e)) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    int failed = cmocka_run_group_tests_name("serve", tests, NULL, NULL);
    device_free(dev);
    return failed != 0;
}
