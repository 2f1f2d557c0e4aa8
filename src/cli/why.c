/* limn devices --why: drivers, GPUs, permissions, caches and variables, as a person at a new machine needs them.  All
 * is gathered as JSON first; the text is made of that. */
#include "cli/why.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/guard.h"
#include "cli/probe.h"
#include "device/machine.h"

static void put(json_t *o, const char *key, const char *text)
{
    json_object_set_new(o, key, text && *text ? json_said(text) : json_null());
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

/* A line of "What to do", once. */
static void advise(json_t *report, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void advise(json_t *report, const char *fmt, ...)
{
    char text[1200];
    json_t *all = json_object_get(report, "advice"), *line;
    size_t i;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    json_t *made = json_said(text);
    bool there = false;
    json_array_foreach(all, i, line)
    {
        there = there || json_equal(line, made);
    }
    if (!there)
        json_array_append(all, made);
    json_decref(made);
}

/* ---- gathering ------------------------------------------------------------------------------------------------ */

/* What is wrong with a driver file, and what to do. */
static void judge_driver(json_t *report, json_t *j, const driver_file *f, const probe *p)
{
    const char *file = *f->path ? f->path : f->library;
    char problem[2300] = "", hint[800];
    if (*f->why) {
        snprintf(problem, sizeof problem, "%s", f->why);
        advise(report, "%s %s: install its package again, or remove the file", file, f->why);
    } else if (*p->bad) {
        snprintf(problem, sizeof problem, "%s while it is loaded and asked, so limn leaves it out", p->bad);
        advise(report, "%s: its driver %s: update it, or remove its package", file, p->bad);
    } else if (*p->load) {
        snprintf(problem, sizeof problem, "%s", p->load);
        advise(report, "%s: %s: install what is missing (ldd %s shows it), or remove the file", file, p->load,
               f->library);
    } else if (p->platforms == 0) {
        driver_hint(f->library, hint, sizeof hint);
        snprintf(problem, sizeof problem, "is loaded, but gives no platform%s", hint);
        if (*hint)
            advise(report, "%s gives no platform%s", file, hint);
        else
            advise(report, "%s gives no platform: what it prints, and its own documentation, may say why", file);
    } else if (p->n == 0) {
        const char *lines = strchr(p->error, '\n');
        snprintf(problem, sizeof problem, "has no device%s", lines ? lines : "");
        driver_hint(f->library, hint, sizeof hint);
        if (*hint)
            advise(report, "%s has no device%s", file, hint);
        else
            advise(report, "%s has no device: update its driver, or read its documentation", file);
    }
    put(j, "problem", problem);
    json_object_set_new(j, "harms", json_boolean(*p->bad));
}

static void gather_drivers(json_t *report, const driver_list *l, const probe *p)
{
    json_t *all = json_array();
    json_object_set_new(report, "drivers", all);
    put(report, "place", l->place);
    put(report, "place_from", l->variable);
    for (size_t i = 0; i < l->n; i++) {
        json_t *j = json_object(), *names = json_array();
        if (*p[i].loader)
            put(report, "loader", p[i].loader);
        put(j, "file", l->files[i].path);
        put(j, "library", l->files[i].library);
        judge_driver(report, j, &l->files[i], &p[i]);
        json_object_set_new(j, "platforms", json_integer(p[i].platforms));
        for (size_t k = 0; k < p[i].n; k++)
            json_array_append_new(names, json_text(p[i].devices[k].name));
        json_object_set_new(j, "devices", names);
        put(j, "warnings", p[i].warnings);
        put(j, "said", p[i].said);
        json_array_append_new(all, j);
    }
}

static void gather_devices(json_t *report, const limn_device_info *list, size_t n, const err *e)
{
    json_t *all = json_array();
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(all, device_json(&list[i]));
        if (*list[i].problem)
            advise(report, "%d.%d, %s: %s", list[i].platform, list[i].device, list[i].name, list[i].problem);
    }
    json_object_set_new(report, "devices", all);
    put(report, "error", e->text);
}

/* Whether OpenCL has a device for it. */
static bool served(const machine_gpu *g, const limn_device_info *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!strcmp(list[i].pci, g->pci))
            return true;
        if (!*list[i].pci && list[i].type != LIMN_CPU && list[i].vendor_id == g->vendor)
            return true;
    }
    return false;
}

void why_hint(const limn_device_info *list, size_t n)
{
    machine_gpu gpus[MACHINE_MOST];
    size_t count = machine_gpus("", gpus);
    for (size_t i = 0; i < count; i++)
        if (machine_vendor(gpus[i].vendor) && !served(&gpus[i], list, n))
            say(LOG_WARNING, "the GPU of %s at %s has no OpenCL device (limn devices --why says what to do)",
                machine_vendor(gpus[i].vendor), gpus[i].pci);
}

static void gather_gpus(json_t *report, const driver_list *l, const limn_device_info *list, size_t n)
{
    machine_gpu gpus[MACHINE_MOST];
    size_t count = machine_gpus("", gpus);
    json_t *all = json_array();
    for (size_t i = 0; i < count; i++) {
        const machine_gpu *g = &gpus[i];
        const char *vendor = machine_vendor(g->vendor), *problem = NULL;
        json_t *j = json_object();
        char id[16];
        bool installed = false, works = vendor && served(g, list, n);
        for (size_t k = 0; k < l->n; k++)
            installed = installed || driver_serves(l->files[k].library, g->vendor);
        snprintf(id, sizeof id, "%04x:%04x", g->vendor, g->product);
        put(j, "pci", g->pci);
        put(j, "vendor", vendor);
        put(j, "id", id);
        put(j, "kernel_driver", g->driver);
        if (!vendor)
            problem = "no OpenCL driver is known for it";
        else if (works)
            problem = NULL;
        else if (!installed)
            problem = "no OpenCL driver for it is installed";
        else if (!*g->driver)
            problem = "the kernel has no driver for it";
        else
            problem = "its OpenCL driver is installed, and gives no device";
        put(j, "problem", problem);
        if (vendor && !works && !installed)
            advise(report, "install an OpenCL driver for the GPU of %s at %s: %s%s", vendor, g->pci,
                   machine_package("", g->vendor),
                   g->vendor == 0x1002 ? " (with Mesa's: export RUSTICL_ENABLE=radeonsi)" : "");
        if (vendor && !works && installed && !*g->driver)
            advise(report,
                   "the kernel has no driver for the GPU of %s at %s: update the system, or load its module "
                   "(dmesg says why it isn't)",
                   vendor, g->pci);
        json_array_append_new(all, j);
    }
    json_object_set_new(report, "gpus", all);
}

static void gather_nodes(json_t *report)
{
    machine_node nodes[MACHINE_MOST];
    size_t n = machine_nodes("", nodes);
    json_t *all = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *j = json_object();
        char advice[256] = "";
        put(j, "path", nodes[i].path);
        put(j, "group", nodes[i].group);
        put(j, "problem", nodes[i].why);
        if (!nodes[i].usable) {
            machine_node_advice(&nodes[i], advice, sizeof advice);
            advise(report, "%s: %s: %s", nodes[i].path, nodes[i].why, advice);
        }
        json_array_append_new(all, j);
    }
    if (n == 0 && json_array_size(json_object_get(report, "gpus")))
        advise(report,
               "there is a GPU, but neither /dev/dri nor another device file of one: of a container, give it "
               "--device /dev/dri (AMD: --device /dev/kfd too; NVIDIA: --gpus all); else load the kernel's driver");
    json_object_set_new(report, "files", all);
}

static void add_cache(json_t *report, json_t *all, const char *of, const char *path, const char *advice)
{
    json_t *j = json_object();
    put(j, "of", of);
    put(j, "path", path);
    json_object_set_new(j, "writable", json_boolean(machine_can_write(path)));
    if (advice && !machine_can_write(path))
        advise(report, "%s can't write its cache in %s: %s", of, path, advice);
    json_array_append_new(all, j);
}

static void gather_caches(json_t *report, const driver_list *l)
{
    json_t *all = json_array();
    char *own = file_cache_directory();
    if (own)
        add_cache(report, all, "limn", own, "kernels are compiled at each start (set LIMN_CACHE_DIR)");
    else
        advise(report, "limn has no place for its cache: set HOME or LIMN_CACHE_DIR");
    for (size_t i = 0; i < l->n; i++)
        if (strstr(l->files[i].library, "pocl")) {
            const char *variable;
            add_cache(report, all, "PoCL", driver_pocl_cache(&variable), NULL); /* its hint says what to do */
            break;
        }
    free(own);
    json_object_set_new(report, "caches", all);
}

static void gather_environment(json_t *report)
{
    static const char *const names[] = {
        "OCL_ICD_VENDORS",        "OPENCL_VENDOR_PATH", "OCL_ICD_FILENAMES",    "OCL_ICD_PLATFORM_SORT",
        "OPENCL_LAYERS",          "RUSTICL_ENABLE",     "POCL_CACHE_DIR",       "POCL_DEVICES",
        "CUDA_VISIBLE_DEVICES",   "GPU_DEVICE_ORDINAL", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES",
        "ONEAPI_DEVICE_SELECTOR", "ZE_AFFINITY_MASK",   "LIMN_DEVICE",          "LIMN_CACHE_DIR"};
    json_t *all = json_object();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (driver_variable(names[i]))
            put(all, names[i], driver_variable(names[i]));
    json_object_set_new(report, "environment", all);
    if (driver_variable("OCL_ICD_FILENAMES") && *text_of(report, "loader") &&
        !strstr(text_of(report, "loader"), "Khronos"))
        advise(report,
               "OCL_ICD_FILENAMES is set, and this loader (%s) doesn't read it: OCL_ICD_VENDORS is what it reads",
               text_of(report, "loader"));
}

static void gather_nothing(json_t *report, const driver_list *l, size_t usable)
{
    if (l->n == 0 && l->variable)
        advise(report, "%s=%s has no driver file: unset it", l->variable, l->place);
    bool pocl = false;
    for (size_t i = 0; i < l->n; i++)
        pocl = pocl || strstr(l->files[i].library, "pocl");
    if (usable == 0 && !pocl)
        advise(report, "for any CPU there is PoCL: install %s", machine_package("", 0));
}

/* ---- text ----------------------------------------------------------------------------------------------------- */

static void line(const char *indent, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void line(const char *indent, const char *fmt, ...)
{
    char text[3000];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fputs(indent, stdout);
    print_clean(text);
    putchar('\n');
}

static void print_driver(const json_t *j)
{
    const json_t *names = json_object_get(j, "devices"), *name;
    size_t i;
    line("  ", "%s%s%s", text_of(j, "file"), *text_of(j, "file") && *text_of(j, "library") ? " names " : "",
         text_of(j, "library"));
    if (*text_of(j, "problem"))
        line("    ", "%s", text_of(j, "problem"));
    else
        line("    ", "works: platforms: %d, devices: %zu", (int)json_integer_value(json_object_get(j, "platforms")),
             json_array_size(names));
    json_array_foreach(names, i, name) line("      ", "%s", json_string_value(name));
    if (*text_of(j, "warnings") && json_array_size(names)) /* else it is the problem */
        line("    ", "%s", text_of(j, "warnings"));
    if (*text_of(j, "said"))
        line("    ", "it prints: %s", text_of(j, "said"));
}

static void print_hardware(const json_t *report)
{
    const json_t *j;
    size_t i;
    puts("\nGPUs that the system sees");
    if (!json_array_size(json_object_get(report, "gpus")))
        puts("  none");
    json_array_foreach(json_object_get(report, "gpus"), i, j)
    {
        const char *driver = text_of(j, "kernel_driver"), *problem = text_of(j, "problem");
        line("  ", "%s  %s (%s), kernel driver %s: %s", text_of(j, "pci"),
             *text_of(j, "vendor") ? text_of(j, "vendor") : "another maker", text_of(j, "id"),
             *driver ? driver : "none", *problem ? problem : "has an OpenCL device");
    }
    puts("\nDevice files");
    if (!json_array_size(json_object_get(report, "files")))
        puts("  none");
    json_array_foreach(json_object_get(report, "files"), i, j)
    {
        const char *problem = text_of(j, "problem"), *group = text_of(j, "group");
        line("  ", "%s%s%s: %s", text_of(j, "path"), *group ? ", group " : "", group,
             *problem ? problem : "you may use it");
    }
}

static void print_devices(const json_t *report)
{
    const json_t *j;
    size_t i;
    puts("\nDevices");
    if (!json_array_size(json_object_get(report, "devices")))
        puts("  none");
    json_array_foreach(json_object_get(report, "devices"), i, j)
    {
        const char *problem = text_of(j, "problem");
        line("  ", "%s  %s  %s (%s): %s%s%s", text_of(j, "id"), text_of(j, "type"), text_of(j, "name"),
             text_of(j, "platform"), *problem ? "can't be used: " : "can be used", problem,
             json_is_integer(json_object_get(j, "alternative_of")) ? ", the same hardware as another" : "");
    }
}

void why_print(const json_t *report)
{
    const json_t *j;
    const char *key, *from = text_of(report, "place_from"), *loader = text_of(report, "loader");
    size_t i;
    line("", "The OpenCL loader%s%s%s reads driver files in %s%s%s", *loader ? " (" : "", loader, *loader ? ")" : "",
         text_of(report, "place"), *from ? ", which the environment names: " : "", from);
    puts("\nDrivers");
    if (!json_array_size(json_object_get(report, "drivers")))
        puts("  none is installed");
    json_array_foreach(json_object_get(report, "drivers"), i, j) print_driver(j);
    print_devices(report);
    print_hardware(report);
    puts("\nCaches");
    json_array_foreach(json_object_get(report, "caches"), i, j)
        line("  ", "%s: %s: %s", text_of(j, "of"), text_of(j, "path"),
             json_is_true(json_object_get(j, "writable")) ? "can be written" : "can't be written");
    if (json_object_size(json_object_get(report, "environment")))
        puts("\nEnvironment");
    json_object_foreach(json_object_get(report, "environment"), key, j) line("  ", "%s=%s", key, json_string_value(j));
    puts("\nWhat to do");
    if (!json_array_size(json_object_get(report, "advice")))
        puts("  nothing: what is there can be used");
    json_array_foreach(json_object_get(report, "advice"), i, j) line("  - ", "%s", json_string_value(j));
}

json_t *why_gather(limn_device_info **list, size_t *n, err *e)
{
    err none = {0};
    driver_list l = {0};
    probe *p = NULL;
    size_t usable = 0;
    *list = NULL;
    *n = 0;
    guard_start();
    bool listed = drivers_list(&l) || err_no_memory(e, "drivers", 1);
    if (!listed || !probe_drivers(&l, &p, e)) {
        drivers_release(&l);
        return NULL;
    }
    json_t *all = json_object();
    json_object_set_new(all, "advice", json_array());
    gather_drivers(all, &l, p);
    gather_environment(all); /* before it changes */
    if (probe_use(&l, p, &none)) {
        guard_loading(true);
        limn_devices(list, n, &none);
        guard_loading(false);
    }
    for (size_t i = 0; i < *n; i++)
        usable += !*(*list)[i].problem;
    gather_devices(all, *list, *n, &none);
    gather_gpus(all, &l, *list, *n);
    gather_nodes(all);
    gather_caches(all, &l);
    gather_nothing(all, &l, usable);
    probe_free(p, l.n);
    drivers_release(&l);
    return all;
}

int why_report(const options *o)
{
    err e = {0};
    limn_device_info *list = NULL;
    size_t n = 0, usable = 0;
    json_t *all = why_gather(&list, &n, &e);
    if (!all)
        return report(&e);
    for (size_t i = 0; i < n; i++)
        usable += !*list[i].problem;
    if (options_given(o, "json"))
        print_json(json_incref(all));
    else
        why_print(all);
    json_decref(all);
    free(list);
    return usable ? 0 : ERR_DEVICE;
}
