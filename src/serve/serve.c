/* limn serve: the models, the worker and the server, from start to end. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>

#include "serve/routes.h"

enum { BODY_MOST = 32 << 20, BODIES_MOST = 256 << 20, CONNECTIONS = 1000, DEADLINE = 75, STORE_BYTES = 256 << 20 };

/* ---- models ------------------------------------------------------------------------------------------------------ */

/* Adds the model of a path, NULL the built-in one; its id is the file's name without its ending. */
static bool add_model(server *s, const char *path, err *e)
{
    struct stat st = {0};
    served *grown = realloc(s->models, (s->n_models + 1) * sizeof *grown);
    if (!grown)
        return err_no_memory(e, "models", sizeof *grown);
    s->models = grown;
    served *m = &grown[s->n_models];
    *m = (served){.path = path ? strdup(path) : NULL, .created = (long long)time(NULL)};
    if (path && !m->path)
        return err_no_memory(e, "models", strlen(path));
    s->n_models++;
    if (path && stat(path, &st) == 0)
        m->created = (long long)st.st_mtime;
    const char *slash = path ? strrchr(path, '/') : NULL, *name = !path ? "builtin" : slash ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    snprintf(m->id, sizeof m->id, "%.*s", (int)(dot && dot > name ? dot - name : (long)strlen(name)), name);
    for (char *c = m->id; *c; c++) /* it stands in paths and in JSON */
        if ((unsigned char)*c < 32 || *c == '"' || *c == '\\' || *c == '/')
            *c = '_';
    int same = 1;
    for (size_t i = 0; i + 1 < s->n_models; i++)
        if (!strcmp(s->models[i].id, m->id))
            snprintf(m->id + strlen(m->id), sizeof m->id - strlen(m->id), "-%d", ++same);
    return true;
}

static int is_model_file(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return n > 5 && !strcmp(d->d_name + n - 5, ".gguf");
}

static bool add_folder(server *s, const char *folder, err *e)
{
    struct dirent **list = NULL;
    int n = scandir(folder, &list, is_model_file, alphasort);
    bool ok = n >= 0 || err_set(e, ERR_FAILED, "%s: no folder that can be read", folder);
    for (int i = 0; i < n; i++) {
        char path[4200];
        snprintf(path, sizeof path, "%s/%s", folder, list[i]->d_name);
        ok = ok && add_model(s, path, e);
        free(list[i]);
    }
    free(list);
    return ok;
}

static bool find_models(server *s, err *e)
{
    bool ok = true;
    for (size_t i = 0; ok && i < s->o.n_models; i++)
        ok = add_model(s, s->o.models[i], e);
    if (ok && s->o.folder)
        ok = add_folder(s, s->o.folder, e);
    return ok && (s->n_models > 0 || add_model(s, NULL, e));
}

served *server_model(const server *s, const char *id, api_error *a)
{
    for (size_t i = 0; i < s->n_models; i++)
        if (!id || !*id || !strcmp(s->models[i].id, id))
            return &s->models[i];
    api_fail(a, 404, "model", "model_not_found",
             "the model '%.100s' does not exist (GET /v1/models lists those that do)", id);
    return NULL;
}

/* ---- from start to end ------------------------------------------------------------------------------------------- */

bool server_is_loopback(const char *host)
{
    bool number = strspn(host, "0123456789.") == strlen(host); /* "127.example.org" is a name of anybody's */
    return !strcasecmp(host, "localhost") || !strcmp(host, "[::1]") || !strcmp(host, "::1") ||
           (number && !strncmp(host, "127.", 4));
}

static bool check_options(const serve_options *o, err *e)
{
    if (!server_is_loopback(o->host) && !o->key && !o->insecure)
        return err_set(e, ERR_USAGE, "%s: others can reach the server there: it needs an API key (or --insecure)",
                       o->host);
    if (o->key && !*o->key)
        return err_set(e, ERR_USAGE, "--api-key: it is empty, and no key at all");
    return true;
}

static bool start(server *s, err *e)
{
    const worker_options w = {.devices = s->o.devices,
                              .n_devices = s->o.n_devices,
                              .memory_limit = s->o.memory_limit,
                              .no_cache = s->o.no_cache,
                              .models = s->models,
                              .n_models = s->n_models,
                              .most = s->o.most,
                              .adapted = s->o.adapted,
                              .adapters = s->o.adapters};
    const http_options h = {.host = s->o.host,
                            .port = s->o.port,
                            .body_most = BODY_MOST,
                            .bodies_most = s->o.bodies_most ? s->o.bodies_most : BODIES_MOST,
                            .connections = CONNECTIONS,
                            .deadline = s->o.deadline ? s->o.deadline : DEADLINE,
                            .server = "limn/" LIMN_VERSION,
                            .begin = routes_begin,
                            .handle = routes_handle,
                            .refuse = routes_refuse,
                            .describe = api_describe,
                            .context = s};
    s->store = store_new(STORE_BYTES);
    if (!s->store)
        return err_no_memory(e, "server", 1);
    return (s->worker = worker_start(&w, e)) && (s->http = http_start(&h, e));
}

bool serve_run(const serve_options *o, volatile const int *stop, void (*ready)(const char *host, int port), err *e)
{
    server s = {.o = *o};
    bool ok = check_options(o, e) && find_models(&s, e) && start(&s, e);
    if (ok)
        ready(o->host, http_port(s.http));
    while (ok && !*stop)
        nanosleep(&(struct timespec){0, 50000000}, NULL);
    if (s.http)
        http_quiesce(s.http);
    if (ok)
        worker_drain(s.worker, o->drain);
    worker_stop(s.worker); /* every exchange has its answer then */
    http_stop(&s.http);
    worker_free(&s.worker); /* requests came until now */
    store_free(&s.store);
    for (size_t i = 0; i < s.n_models; i++) {
        free(s.models[i].path);
        free(s.models[i].facts);
    }
    free(s.models);
    return ok;
}
