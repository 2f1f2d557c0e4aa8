/* limn doctor: what a machine's devices are, what is wrong with them, whether they compute rightly and how fast, as one
 * text and one file for a report.  Each step is a process of its own: where a driver crashes or hangs, the others go
 * on. All is gathered as JSON, and the text is made of that. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/os.h"
#include "cli/child.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/measure/bench.h"
#include "cli/redact.h"
#include "cli/selftest.h"
#include "cli/why.h"

/* Seconds that a step may take: kernels may be compiled for the first time. */
#define LOOK_SECONDS     90
#define SELFTEST_SECONDS 600
#define BENCH_SECONDS    600

typedef struct doctor {
    const options *o;
    json_t *report;
    bool text;        /* print as it comes */
    const char *spec; /* of the device that the step is for */
    json_t *step;     /* what is heard of it goes here */
} doctor;

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

/* ---- the machine ---------------------------------------------------------------------------------------------- */

/* The rest of the first line of a file that begins so, without quotes; "" where there is none. */
static void line_after(const char *path, const char *begin, char out[128])
{
    char line[512];
    FILE *f = fopen(path, "r");
    out[0] = 0;
    while (f && !*out && fgets(line, sizeof line, f))
        if (!strncmp(line, begin, strlen(begin))) {
            char *value = line + strlen(begin);
            value += strspn(value, " \t:=\"");
            value[strcspn(value, "\"\n")] = 0;
            snprintf(out, 128, "%.127s", value);
        }
    if (f)
        fclose(f);
}

static json_t *system_json(void)
{
    char system[128], processor[128], kernel[160], cpu[80];
    json_t *j = json_object();
    os_kernel(kernel, cpu);
    line_after("/etc/os-release", "PRETTY_NAME", system);
    line_after("/proc/cpuinfo", "model name", processor);
    json_object_set_new(j, "limn", json_text(limn_version()));
    json_object_set_new(j, "system", json_text(system));
    json_object_set_new(j, "kernel", json_text(kernel));
    json_object_set_new(j, "architecture", json_text(cpu));
    json_object_set_new(j, "processor", json_text(processor));
    json_object_set_new(j, "processors", json_integer(os_processors()));
    json_object_set_new(j, "memory", json_integer((json_int_t)os_memory()));
    return j;
}

static void print_system(const json_t *j)
{
    char memory[32];
    printf("limn %s; ", text_of(j, "limn"));
    print_clean(text_of(j, "system"));
    printf(", %s, %s; ", text_of(j, "kernel"), text_of(j, "architecture"));
    print_clean(text_of(j, "processor"));
    printf(", processors: %d, memory: %s\n\n", (int)json_integer_value(json_object_get(j, "processors")),
           size_text((uint64_t)json_integer_value(json_object_get(j, "memory")), memory));
}

/* ---- steps, in their processes ---------------------------------------------------------------------------------- */

/* Which of the devices is meant: {"chosen": "0.1"}. */
static bool tell_chosen(child *c, const options *o, const limn_device_info *list, size_t n, err *e)
{
    char reason[160], id[32];
    size_t chosen = 0;
    device_entry *entries = n ? array_new(n, sizeof *entries, "devices", e) : NULL;
    if (!entries)
        return err_set(e, ERR_DEVICE, "OpenCL: no device (the report says what to do)");
    for (size_t i = 0; i < n; i++)
        entries[i].info = list[i];
    bool ok = device_select(entries, n, command_device_spec(o), 0, 1, &chosen, reason, e);
    free(entries);
    if (!ok)
        return false;
    snprintf(id, sizeof id, "%d.%d", list[chosen].platform, list[chosen].device);
    child_tell(c, json_pack("{s:s, s:o}", "chosen", id, "chosen_because", json_text(reason)));
    return true;
}

static bool look(child *c, void *context, err *e)
{
    const doctor *d = context;
    limn_device_info *list = NULL;
    size_t n = 0, i;
    json_t *all = why_gather(&list, &n, e), *one;
    if (!all)
        return false;
    json_array_foreach(json_object_get(all, "devices"), i, one) json_object_del(one, "uuid"); /* it is a card's own */
    child_tell(c, all);
    bool ok = tell_chosen(c, d->o, list, n, e);
    free(list);
    return ok;
}

static void tell_check(void *context, const selftest_check *k)
{
    child_tell(context, json_pack("{s:s, s:b, s:o, s:f}", "name", k->name, "ok", k->ok, "error", json_finite(k->error),
                                  "bound", k->bound));
}

static bool selftest(child *c, void *context, err *e)
{
    const doctor *d = context;
    limn_device *opened = command_device_at(d->o, d->spec, e);
    return opened && selftest_device(opened, tell_check, c, e);
}

static void tell_row(void *context, const json_t *row)
{
    child_tell(context, json_deep_copy(row));
}

static bool measure(child *c, void *context, err *e)
{
    const doctor *d = context;
    limn_device *opened = command_device_at(d->o, d->spec, e);
    return opened && bench_doctor(d->o, opened, tell_row, c, e);
}

/* ---- what is heard of them -------------------------------------------------------------------------------------- */

static void hear_look(void *context, const json_t *value)
{
    doctor *d = context;
    json_t *copy = json_deep_copy(value);
    redact(copy);
    json_object_update(d->report, copy);
    if (d->text && json_object_get(copy, "advice"))
        why_print(copy);
    json_decref(copy);
}

/* A check or a row. */
static void hear_part(void *context, const json_t *value)
{
    doctor *d = context;
    json_t *copy = json_deep_copy(value);
    redact(copy);
    json_array_append_new(json_object_get(d->step, "results"), copy);
    if (!d->text)
        return;
    if (json_object_get(copy, "bound")) {
        const selftest_check check = {.name = text_of(copy, "name"),
                                      .ok = json_is_true(json_object_get(copy, "ok")),
                                      .error = json_number_value(json_object_get(copy, "error")),
                                      .bound = json_number_value(json_object_get(copy, "bound"))};
        selftest_print(NULL, &check);
    } else {
        bench_print(copy);
    }
}

/* Something went wrong: it is in the report, and counts. */
static void add_failure(doctor *d, const char *what, const char *why)
{
    char text[2400];
    snprintf(text, sizeof text, "%s: %s", what, why);
    json_t *line = json_said(text);
    redact(line);
    json_array_append(json_object_get(d->report, "failures"), line);
    if (d->text) {
        print_clean(json_string_value(line));
        putchar('\n');
    }
    json_decref(line);
}

/* A step of one device, by what the report calls its list. */
static void do_step(doctor *d, const char *list, const char *title, child_work *does, double limit, const char *id,
                    const char *name)
{
    char said[CHILD_SAID], what[240], took[32];
    double began = clock_seconds();
    err e = {0};
    snprintf(what, sizeof what, "%s of %s, %s", title, id, name);
    d->spec = id;
    d->step = json_pack("{s:s, s:s, s:[]}", "device", id, "name", name, "results");
    if (d->text) {
        printf("\n%c%s\n", what[0] - 'a' + 'A', what + 1);
        fflush(stdout);
    }
    bool ok = child_run(does, d, limit, hear_part, d, said, &e);
    json_object_set_new(d->step, "seconds", json_finite(clock_seconds() - began));
    json_object_set_new(d->step, "ok", json_boolean(ok));
    json_object_set_new(d->step, "problem", ok ? json_null() : json_said(e.text));
    json_object_set_new(d->step, "said", *said ? json_text(said) : json_null());
    redact(d->step);
    json_array_append_new(json_object_get(d->report, list), d->step);
    if (!ok)
        add_failure(d, what, e.text);
    if (!ok && *said && d->text && !strstr(e.text, said)) {
        printf("it said: ");
        print_clean(text_of(d->step, "said"));
        putchar('\n');
    }
    if (ok && d->text)
        printf("done, after %s\n", duration_text(clock_seconds() - began, took));
}

/* ---- the command ------------------------------------------------------------------------------------------------ */

/* Drivers that did harm were left out, and that is a failure. */
static void judge_drivers(doctor *d)
{
    const json_t *driver;
    size_t i;
    json_array_foreach(json_object_get(d->report, "drivers"), i, driver)
    {
        if (json_is_true(json_object_get(driver, "harms")))
            add_failure(d, *text_of(driver, "file") ? text_of(driver, "file") : text_of(driver, "library"),
                        text_of(driver, "problem"));
    }
}

/* Selftests of all devices that can be used, or of the one that was asked for; the bench of the chosen one. */
static void examine(doctor *d)
{
    const bool all = !strcmp(command_device_spec(d->o), "auto");
    const char *chosen = text_of(d->report, "chosen"), *name = "";
    const json_t *one;
    size_t i;
    json_array_foreach(json_object_get(d->report, "devices"), i, one)
    {
        const char *id = text_of(one, "id");
        bool is_chosen = !strcmp(id, chosen);
        name = is_chosen ? text_of(one, "name") : name;
        if ((all || is_chosen) && !*text_of(one, "problem") && !interrupted())
            do_step(d, "selftests", "selftest", selftest, SELFTEST_SECONDS, id, text_of(one, "name"));
    }
    if (*chosen && !interrupted())
        do_step(d, "benches", "speed", measure, BENCH_SECONDS, chosen, name);
}

static bool write_report(const doctor *d, const char *path, err *e)
{
    file_out out = {0};
    char *text = json_dumps(d->report, JSON_INDENT(2));
    bool ok = text ? file_out_open(&out, path, e) : err_no_memory(e, "report", 1);
    ok = ok && file_out_write(&out, text, strlen(text), e) && file_out_write(&out, "\n", 1, e) &&
         file_out_commit(&out, e);
    file_out_release(&out);
    free(text);
    return ok;
}

static void print_end(const doctor *d)
{
    const json_t *failures = json_object_get(d->report, "failures"), *line;
    size_t i;
    puts("\nWhat failed");
    if (!json_array_size(failures))
        puts("  nothing");
    json_array_foreach(failures, i, line)
    {
        fputs("  - ", stdout);
        print_clean(json_string_value(line));
        putchar('\n');
    }
}

int command_doctor(const options *o)
{
    err e = {0}, why = {0};
    char said[CHILD_SAID];
    const char *path = options_text(o, "output", "limn-doctor.json");
    doctor d = {.o = o, .text = strcmp(path, "-") != 0};
    if (d.text && !output_check("output", path, NULL, &e))
        return report(&e);
    interrupt_catch();
    d.report = json_pack("{s:o, s:[], s:[], s:[]}", "about", system_json(), "selftests", "benches", "failures");
    redact(d.report);
    if (d.text)
        print_system(json_object_get(d.report, "about"));
    bool looked = child_run(look, &d, LOOK_SECONDS, hear_look, &d, said, &why);
    if (!looked)
        add_failure(&d, "devices", why.text);
    if (!looked && *said && why.code == ERR_FAILED)
        json_object_set_new(d.report, "said", json_text(said));
    redact(d.report);
    judge_drivers(&d);
    examine(&d);
    bool failed = json_array_size(json_object_get(d.report, "failures")) > 0;
    bool ok = interrupt_check(&e);
    if (ok && d.text) {
        print_end(&d);
        fflush(stdout);
        ok = write_report(&d, path, &e);
    } else if (ok) {
        print_json(json_incref(d.report));
    }
    if (ok && d.text)
        say_wrote(path, "the report, to attach where you ask for help (it has neither your name nor this machine's)");
    json_decref(d.report);
    return !ok ? report(&e) : why.code == ERR_USAGE || why.code == ERR_DEVICE ? why.code : failed ? ERR_FAILED : 0;
}
