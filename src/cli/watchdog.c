/* The last resort where a driver's call never returns: a thread that ends the program, with a message. */
#include "cli/watchdog.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/os.h"
#include "cli/terminal.h"
#include "device/watch.h"

#define LOOK    0.25 /* seconds between two looks */
#define WORKING 0.5  /* seconds of the processors, in which a device that is one of them has done something */

static char last_words[512]; /* written by the thread that works, and read where that is in a driver's call */

void watchdog_last_words(const char *text)
{
    snprintf(last_words, sizeof last_words, "%s", text);
}

static void end(const char *call, double seconds)
{
    const char *kernel = atomic_load(&watched_calls.kernel);
    const char *before = watch_first_failure();
    say(LOG_ERROR,
        "%s: the driver hasn't returned from %s for %.0f s; kernel %s was the last%s%s (the device may hang or be "
        "lost: "
        "see dmesg and limn devices --why, update the driver, let limn tune find kernels that work, or choose another "
        "device with --device)",
        watch_device_name(), call, seconds, kernel ? kernel : "none", *before ? "; before that, " : "", before);
    if (*last_words)
        say(LOG_ERROR, "%s", last_words);
    file_out_abandon();
    _exit(ERR_FAILED); /* at once: the ends of a driver that hangs hang too */
}

static void *look(void *nothing)
{
    (void)nothing;
    unsigned long last = 0;
    long pages = 0, now_pages;
    double since = 0, began = 0;
    for (;;) {
        nanosleep(&(struct timespec){.tv_nsec = (long)(1e9 * LOOK)}, NULL);
        const char *call = atomic_load(&watched_calls.call);
        unsigned long calls = atomic_load(&watched_calls.calls);
        /* models are read as they are used: to wait for a file's pages is to be alive */
        double now = clock_seconds(), work = os_worked(&now_pages);
        bool alive = atomic_load(&watched_calls.host) && (work - began > WORKING || now_pages != pages);
        if (!call || calls != last || since == 0 || alive) {
            last = calls;
            since = now;
            began = work;
            pages = now_pages;
        } else if (now - since > atomic_load(&watched_calls.allowed)) {
            end(call, now - since);
        }
    }
    return NULL;
}

void watchdog_start(void)
{
    static bool started;
    pthread_t thread;
    if (started)
        return;
    started = os_thread(&thread, look, NULL) == 0;
    if (started)
        pthread_detach(thread);
}
