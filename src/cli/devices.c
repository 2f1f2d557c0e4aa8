/* limn devices: what OpenCL devices there are and what each can do. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/common.h"
#include "cli/guard.h"
#include "cli/probe.h"
#include "cli/why.h"

static const char *device_type_text(limn_device_type type)
{
    static const char *const names[] = {"cpu", "igpu", "dgpu", "accel"};
    return (size_t)type < sizeof names / sizeof *names ? names[type] : "other";
}

static json_t *measured(const limn_device_info *d)
{
    json_t *score = d->gflops > 0 || d->gbytes_per_s > 0 ? json_object() : NULL;
    if (!score)
        return json_null();
    json_object_set_new(score, "gflops", json_finite(d->gflops));
    json_object_set_new(score, "gbytes_per_s", json_finite(d->gbytes_per_s));
    return score;
}

json_t *device_json(const limn_device_info *d)
{
    char id[32];
    snprintf(id, sizeof id, "%d.%d", d->platform, d->device);
    json_t *j = json_object();
    json_object_set_new(j, "index", json_integer(d->index));
    json_object_set_new(j, "id", json_text(id));
    json_object_set_new(j, "type", json_text(device_type_text(d->type)));
    json_object_set_new(j, "name", json_text(d->name));
    json_object_set_new(j, "vendor", json_text(d->vendor));
    json_object_set_new(j, "platform", json_text(d->platform_name));
    json_object_set_new(j, "version", json_text(d->version));
    json_object_set_new(j, "driver", json_text(d->driver));
    json_object_set_new(j, "memory", json_integer((json_int_t)d->memory));
    json_object_set_new(j, "max_allocation", json_integer((json_int_t)d->max_allocation));
    json_object_set_new(j, "local_memory", json_integer((json_int_t)d->local_memory));
    json_object_set_new(j, "max_work_group", json_integer((json_int_t)d->max_work_group));
    json_object_set_new(j, "compute_units", json_integer(d->compute_units));
    json_object_set_new(j, "vector_width", json_integer(d->vector_width));
    json_object_set_new(j, "unified_memory", json_boolean(d->unified_memory));
    json_object_set_new(j, "fp16", json_boolean(d->fp16));
    json_object_set_new(j, "subgroups", json_boolean(d->subgroups));
    json_object_set_new(j, "int8_dot", json_boolean(d->int8_dot));
    json_object_set_new(j, "command_buffer", json_boolean(d->command_buffer));
    json_object_set_new(j, "score", measured(d));
    json_object_set_new(j, "problem", *d->problem ? json_said(d->problem) : json_null());
    json_object_set_new(j, "pci", *d->pci ? json_text(d->pci) : json_null());
    json_object_set_new(j, "uuid", *d->uuid ? json_text(d->uuid) : json_null());
    json_object_set_new(j, "alternative_of", d->alternative ? json_integer(d->preferred) : json_null());
    return j;
}

/* Where the same hardware is under other drivers. */
static void print_others(const limn_device_info *list, size_t n, const limn_device_info *d)
{
    for (size_t i = 0; i < n; i++) {
        const limn_device_info *o = &list[i];
        bool taken = d->alternative && o->index == d->preferred;
        if (taken)
            printf("    same as     %d.%d, whose driver is taken first (-d %d.%d takes this one)\n", o->platform,
                   o->device, d->platform, d->device);
        if (o->alternative && o->preferred == d->index) {
            printf("    also as     %d.%d on ", o->platform, o->device);
            print_clean(o->platform_name);
            printf(" (-d %d.%d takes that driver)\n", o->platform, o->device);
        }
    }
}

static void device_print(const limn_device_info *list, size_t n, const limn_device_info *d)
{
    char memory[32], allocation[32], local[32];
    printf("%d  %d.%d  %-5s  ", d->index, d->platform, d->device, device_type_text(d->type));
    print_clean(d->name);
    if (*d->problem) {
        printf("\n    can't be used: ");
        print_said(d->problem);
    }
    printf("\n    platform    ");
    print_clean(d->platform_name);
    printf("\n    vendor      ");
    print_clean(d->vendor);
    printf("\n    driver      ");
    print_clean(d->driver);
    printf(", ");
    print_clean(d->version);
    printf("\n    memory      %s%s, allocations up to %s, local %s\n", size_text(d->memory, memory),
           d->unified_memory ? " shared with the host" : "", size_text(d->max_allocation, allocation),
           size_text(d->local_memory, local));
    printf("    compute     %u units, work-groups up to %llu\n", (unsigned)d->compute_units,
           (unsigned long long)d->max_work_group);
    printf("    extensions ");
    if (!d->fp16 && !d->subgroups && !d->int8_dot && !d->command_buffer)
        printf(" none that limn uses");
    printf("%s%s%s%s\n", d->fp16 ? " fp16" : "", d->subgroups ? " subgroups" : "", d->int8_dot ? " int8-dot" : "",
           d->command_buffer ? " command-buffer" : "");
    if (d->gflops > 0 || d->gbytes_per_s > 0)
        printf("    measured    %.0f GFLOP/s, %.1f GB/s\n", d->gflops, d->gbytes_per_s);
    print_others(list, n, d);
}

int command_devices(const options *o)
{
    err e = {0};
    limn_device_info *list = NULL;
    limn_device *only = NULL;
    size_t n = 0;
    if (options_given(o, "why"))
        return why_report(o);
    bool ok = probe_check(true, &e);
    guard_loading(true);
    ok = ok && limn_devices(&list, &n, &e);
    guard_loading(false);
    if (ok && options_given(o, "device")) {
        only = command_device(o, &e);
        ok = only != NULL;
    }
    size_t usable = 0;
    int index = only ? limn_device_get_info(only)->index : -1;
    json_t *all = json_array();
    for (size_t i = 0; ok && i < n; i++) {
        if (only && list[i].index != index)
            continue;
        usable += !*list[i].problem;
        if (options_given(o, "json"))
            json_array_append_new(all, device_json(&list[i]));
        else
            device_print(list, n, &list[i]);
    }
    if (ok && options_given(o, "json"))
        print_json(json_incref(all));
    else if (ok && !only)
        why_hint(list, n);
    json_decref(all);
    if (ok && usable == 0)
        ok = err_set(&e, ERR_DEVICE, "OpenCL: no device that can be used (the list says what is wrong with each)");
    limn_device_free(&only);
    free(list);
    return ok ? 0 : report(&e);
}
