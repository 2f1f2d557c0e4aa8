/* limn serve: what its parts share. */
#ifndef SERVE_SERVER_H
#define SERVE_SERVER_H
#include <jansson.h>

#include "serve/http.h"
#include "serve/store.h"
#include "serve/worker.h"

typedef struct serve_options {
    const char *host;
    int port;
    const char *const *models; /* [n_models] paths; none: the built-in model */
    size_t n_models;
    const char *folder;                /* of further models, or NULL */
    const limn_model_options *adapted; /* adapters and embeddings of all models, or NULL */
    const char *adapters;              /* as pictures tell of them, or NULL */
    const char *key;                   /* what clients must know, or NULL */
    bool insecure;                     /* no key is needed beyond this machine */
    const char *const *origins;        /* [n_origins] of other sites whose pages may call */
    size_t n_origins;
    int most; /* jobs that may wait or be at work */
    bool strict_size;
    int deadline;               /* seconds in which a request must be whole; 0: 75 */
    size_t bodies_most;         /* bytes of all requests that have no answer yet; 0: 256 MiB */
    double drain;               /* seconds that work may go on after the signal to end */
    const char *const *devices; /* [n_devices] SPECs, one at least */
    int n_devices;
    uint64_t memory_limit;
    bool no_cache;
} serve_options;

typedef struct server {
    serve_options o;
    http_server *http;
    served *models;
    size_t n_models;
    size_t chosen; /* the model of A1111's requests that name none */
    worker *worker;
    store *store;
} server;

/* Serves until *stop is set, by a signal, and what is at work has ended.  ready is called once it listens. */
bool serve_run(const serve_options *o, volatile const int *stop, void (*ready)(const char *host, int port), err *e);

/* An error as OpenAI's API has it. */
typedef struct api_error {
    int status;
    const char *type, *code; /* code: or NULL */
    char param[48];          /* or "" */
    char message[640];
} api_error;
/* Fills *a; false, to be returned. */
bool api_fail(api_error *a, int status, const char *param, const char *code, const char *message, ...)
    __attribute__((format(printf, 5, 6)));
void api_answer_error(exchange *x, const api_error *a);
/* Answers with the object, which is freed. */
void answer_json(exchange *x, json_t *root);
/* Its text, for what libmicrohttpd never sees. */
void api_describe(int status, const char *why, text_buffer *body);
/* The library's error as an API's. */
void api_from(api_error *a, const limn_error *e);

/* Whether a host, as users and the header Host name it, is this machine itself. */
bool server_is_loopback(const char *host);
/* The served model of that id; NULL: the first.  NULL with *a filled if there is none. */
served *server_model(const server *s, const char *id, api_error *a);

/* ---- APIs: each handles an exchange whose path is its own ---------------------------------------------------------
 */
void openai_generate(server *s, exchange *x);
void openai_edit(server *s, exchange *x);
void openai_vary(server *s, exchange *x);
void models_list(server *s, exchange *x);
void models_get(server *s, exchange *x);
void sdapi_txt2img(server *s, exchange *x);
void sdapi_img2img(server *s, exchange *x);
void sdapi_progress(server *s, exchange *x);
void sdapi_interrupt(server *s, exchange *x);
void sdapi_models(server *s, exchange *x);
void sdapi_options(server *s, exchange *x);
void sdapi_set_options(server *s, exchange *x);
void sdapi_png_info(server *s, exchange *x);
void sdapi_samplers(server *s, exchange *x);
void sdapi_schedulers(server *s, exchange *x);
void sdapi_fixed(server *s, exchange *x);
void sdapi_nothing(server *s, exchange *x);
void jobs_list(server *s, exchange *x);
void jobs_delete(server *s, exchange *x, const char *id);
void metrics_get(server *s, exchange *x);
#endif
