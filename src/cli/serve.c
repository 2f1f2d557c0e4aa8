/* limn serve: the server in src/serve, from the command line. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "cli/commands.h"
#include "cli/common.h"

#ifdef LIMN_SERVE
#include "serve/server.h"

enum { LIST_MOST = 256 };

static volatile int stops;

static void on_signal(int number)
{
    (void)number;
    stops = 1;
}

static void on_ready(const char *host, int port)
{
    bool six = strchr(host, ':') != NULL;
    say(LOG_WARNING, "serves at http://%s%s%s:%d (Ctrl-C ends it)", six ? "[" : "", host, six ? "]" : "", port);
}

static size_t read_list(const options *o, const char *name, const char *list[LIST_MOST])
{
    size_t n = 0;
    while (n < LIST_MOST && (list[n] = options_list(o, name, (int)n)))
        n++;
    return n;
}

int command_serve(const options *o)
{
    const char *models[LIST_MOST], *origins[LIST_MOST];
    const serve_options s = {.host = options_text(o, "host", "127.0.0.1"),
                             .port = (int)options_integer(o, "port", 8080),
                             .models = models,
                             .n_models = read_list(o, "model", models),
                             .folder = options_text(o, "models", NULL),
                             .key = options_text(o, "api-key", NULL),
                             .insecure = options_given(o, "insecure"),
                             .origins = origins,
                             .n_origins = read_list(o, "origin", origins),
                             .most = (int)options_integer(o, "max-queue", 256),
                             .strict_size = options_given(o, "strict-size"),
                             .drain = options_number(o, "drain", 5),
                             .device = command_device_spec(o),
                             .memory_limit = options_unsigned(o, "mem-limit", 0),
                             .no_cache = options_given(o, "no-cache")};
    err e = {0};
    os_catch_once(SIGINT, on_signal); /* a second one ends it at once */
    os_catch_once(SIGTERM, on_signal);
    return serve_run(&s, &stops, on_ready, &e) ? 0 : report(&e);
}
#else
int command_serve(const options *o)
{
    (void)o;
    return report(&(err){.code = ERR_FAILED,
                         .text =
                             "serve: this limn was built without libmicrohttpd (on Debian or Ubuntu: apt-get install "
                             "libmicrohttpd-dev, and build it again)"});
}
#endif
