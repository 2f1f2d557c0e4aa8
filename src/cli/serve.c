/* limn serve: the server in src/serve, from the command line. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/probe.h"

#ifdef LIMN_SERVE
#include "device/find.h"
#include "serve/server.h"

enum { LIST_MOST = 256, DEVICES_MOST = 64 };

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

/* The devices that the spec means, as numbers; one that means one device stays as it is. */
static int choose_devices(const char *spec, const char *list[DEVICES_MOST], char numbers[DEVICES_MOST][16])
{
    device_entry *all = NULL;
    size_t n = 0, chosen[DEVICES_MOST];
    char reason[160];
    int found = 0;
    err several = {0};
    if (!device_spec_is_auto(spec) && device_find(&all, &n, &several) &&
        !device_select(all, n, spec, 0, 1, &chosen[0], reason, &several))
        while (found < DEVICES_MOST && device_select(all, n, spec, found, 2, &chosen[found], reason, NULL) &&
               (found == 0 || chosen[found] != chosen[0]))
            found++;
    list[0] = spec;
    for (int i = 0; found > 1 && i < found; i++) {
        snprintf(numbers[i], sizeof numbers[i], "%d", all[chosen[i]].info.index);
        list[i] = numbers[i];
        say(LOG_WARNING, "device %s: %s", numbers[i], all[chosen[i]].info.name);
    }
    free(all);
    return found > 1 ? found : 1;
}

int command_serve(const options *o)
{
    const char *devices[DEVICES_MOST];
    char numbers[DEVICES_MOST][16];
    const char *models[LIST_MOST], *origins[LIST_MOST];
    limn_model_options adapted = {.size = sizeof adapted};
    char *adapters = NULL;
    err e = {0};
    if (!probe_check(false, &e)) /* so that one bad driver doesn't end the server */
        return report(&e);
    bool ok = command_adapt(o, &adapted, &e) && command_adapters(o, &adapters, &e);
    const serve_options s = {.host = options_text(o, "host", "127.0.0.1"),
                             .port = (int)options_integer(o, "port", 8080),
                             .models = models,
                             .n_models = read_list(o, "model", models),
                             .folder = options_text(o, "models", NULL),
                             .adapted = &adapted,
                             .adapters = adapters,
                             .key = options_text(o, "api-key", NULL),
                             .insecure = options_given(o, "insecure"),
                             .origins = origins,
                             .n_origins = read_list(o, "origin", origins),
                             .most = (int)options_integer(o, "max-queue", 256),
                             .strict_size = options_given(o, "strict-size"),
                             .drain = options_number(o, "drain", 5),
                             .devices = devices,
                             .n_devices = choose_devices(command_device_spec(o), devices, numbers),
                             .memory_limit = options_unsigned(o, "mem-limit", 0),
                             .no_cache = options_given(o, "no-cache")};
    os_catch_once(SIGINT, on_signal); /* a second one ends it at once */
    os_catch_once(SIGTERM, on_signal);
    ok = ok && serve_run(&s, &stops, on_ready, &e);
    command_adapt_release(&adapted);
    free(adapters);
    return ok ? 0 : report(&e);
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
