/* Lists driver files as the OpenCL loaders do (ocl-icd 2.3, Khronos's), and explains drivers that give nothing. */
#include "device/drivers.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/os.h"
#include "device/machine.h"

#define VENDORS "/etc/OpenCL/vendors"

/* ---- the files ------------------------------------------------------------------------------------------------ */

const char *driver_variable(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static bool ends_in_icd(const char *name)
{
    size_t n = strlen(name);
    return n > 4 && !strcmp(name + n - 4, ".icd");
}

static char *joined(const char *folder, const char *name)
{
    size_t n = strlen(folder) + strlen(name) + 2;
    char *path = malloc(n);
    if (path)
        snprintf(path, n, "%s%s%s", folder, *folder ? "/" : "", name);
    return path;
}

/* The first line of an .icd file. */
static char *read_library(const char *path, char why[128])
{
    char line[4096] = "";
    FILE *f = fopen(path, "r");
    if (!f)
        snprintf(why, 128, "can't be read: %s", strerror(errno));
    else if (!fgets(line, sizeof line, f) || !line[strspn(line, " \r\n\t")])
        snprintf(why, 128, "names no library");
    if (f)
        fclose(f);
    line[strcspn(line, "\r\n")] = 0;
    return strdup(why[0] ? "" : line);
}

/* Takes path, and library; path "" where the library is named directly. */
static bool add(driver_list *l, char *path, char *library, bool listed)
{
    driver_file f = {.path = path, .library = library, .listed = listed};
    if (path && !library)
        f.library = read_library(path, f.why);
    driver_file *grown = f.path && f.library ? realloc(l->files, (l->n + 1) * sizeof *grown) : NULL;
    if (!grown) {
        free(f.path);
        free(f.library);
        return false;
    }
    l->files = grown;
    l->files[l->n++] = f;
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const driver_file *)a)->path, ((const driver_file *)b)->path);
}

static bool add_folder(driver_list *l, const char *folder)
{
    DIR *d = opendir(folder);
    bool ok = true;
    for (struct dirent *entry; ok && d && (entry = readdir(d));)
        if (ends_in_icd(entry->d_name))
            ok = add(l, joined(folder, entry->d_name), NULL, false);
    if (d)
        closedir(d);
    if (l->n)
        qsort(l->files, l->n, sizeof *l->files, by_name);
    return ok;
}

bool drivers_list(driver_list *l)
{
    const char *vendors = driver_variable("OCL_ICD_VENDORS"), *path = driver_variable("OPENCL_VENDOR_PATH");
    const char *place = vendors ? vendors : path ? path : VENDORS;
    struct stat st;
    *l = (driver_list){.variable = vendors ? "OCL_ICD_VENDORS" : path ? "OPENCL_VENDOR_PATH" : NULL};
    bool folder = !vendors || (stat(vendors, &st) == 0 && S_ISDIR(st.st_mode)), ok = (l->place = strdup(place));
    if (ok && folder) {
        ok = add_folder(l, place);
    } else if (ok && ends_in_icd(place)) {
        char *inside = strchr(place, '/') ? NULL : joined(path ? path : VENDORS, place);
        if (inside && stat(inside, &st) == 0) {
            ok = add(l, inside, NULL, false);
        } else {
            free(inside);
            ok = stat(place, &st) != 0 || add(l, strdup(place), NULL, false);
        }
    } else if (ok && strchr(place, '/') ? stat(place, &st) == 0 : ok) {
        ok = add(l, strdup(""), strdup(place), false);
    }
    const char *more = driver_variable("OCL_ICD_FILENAMES");
    for (size_t n; ok && more && *more; more += n + (more[n] == ':')) {
        n = strcspn(more, ":");
        if (n)
            ok = add(l, strdup(""), strndup(more, n), true);
    }
    if (!ok)
        drivers_release(l);
    return ok;
}

void drivers_release(driver_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        free(l->files[i].path);
        free(l->files[i].library);
    }
    free(l->files);
    free(l->place);
    *l = (driver_list){0};
}

/* ---- what may be wrong ---------------------------------------------------------------------------------------- */

static bool has(const char *text, const char *part)
{
    size_t n = strlen(part);
    for (; *text; text++)
        if (!strncasecmp(text, part, n))
            return true;
    return false;
}

static void append(char *out, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void append(char *out, size_t size, const char *fmt, ...)
{
    size_t used = strlen(out);
    va_list ap;
    va_start(ap, fmt);
    if (used + 1 < size)
        vsnprintf(out + used, size - used, fmt, ap);
    va_end(ap);
}

const char *driver_pocl_cache(const char **variable)
{
    static const char *const names[] = {"POCL_CACHE_DIR", "XDG_CACHE_HOME", "HOME"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (driver_variable(*variable = names[i]))
            return driver_variable(names[i]);
    *variable = "the default";
    return "/tmp";
}

/* PoCL gives no platform where it can't make its cache. */
static void hint_pocl(char *out, size_t size)
{
    const char *variable, *place = driver_pocl_cache(&variable);
    if (!machine_can_write(place))
        append(out, size,
               ": it can't write its cache, for %s=%s can't be written (set POCL_CACHE_DIR to a folder that can: "
               "export POCL_CACHE_DIR=/tmp/pocl-cache)",
               variable, place);
}

bool driver_serves(const char *library, unsigned vendor)
{
    return has(library, "rusticl") || (vendor == 0x8086 && (has(library, "igdrcl") || has(library, "intel-opencl/"))) ||
           (vendor == 0x1002 && (has(library, "amdocl") || has(library, "MesaOpenCL"))) ||
           (vendor == 0x10de && has(library, "nvidia"));
}

static bool hint_nodes(const char *const *prefixes, const char *none, char *out, size_t size)
{
    machine_node nodes[MACHINE_MOST];
    size_t n = machine_nodes("", nodes), seen = 0;
    for (size_t i = 0; i < n; i++) {
        bool mine = false;
        for (const char *const *p = prefixes; *p; p++)
            mine = mine || !strncmp(nodes[i].path, *p, strlen(*p));
        seen += mine;
        if (mine && !nodes[i].usable) {
            char advice[256];
            machine_node_advice(&nodes[i], advice, sizeof advice);
            append(out, size, ": %s: %s (%s)", nodes[i].path, nodes[i].why, advice);
            return true;
        }
    }
    if (seen == 0)
        append(out, size, ": %s", none);
    return seen == 0;
}

/* Mesa's driver has devices only for the kinds of GPU that the environment names. */
static void hint_rusticl(char *out, size_t size)
{
    machine_gpu gpus[MACHINE_MOST];
    size_t n = machine_gpus("", gpus);
    const char *name = "llvmpipe";
    for (size_t i = 0; i < n; i++)
        name = gpus[i].vendor == 0x1002   ? "radeonsi"
               : gpus[i].vendor == 0x8086 ? "iris"
               : gpus[i].vendor == 0x10de ? "nouveau"
                                          : name;
    if (!driver_variable("RUSTICL_ENABLE"))
        append(out, size,
               ": it has devices only for what RUSTICL_ENABLE names, and that isn't set (export "
               "RUSTICL_ENABLE=%s)",
               name);
    else
        append(out, size, ": RUSTICL_ENABLE=%s has no device here (%s may fit)", getenv("RUSTICL_ENABLE"), name);
}

void driver_hint(const char *name, char *out, size_t size)
{
    static const char *const dri[] = {"/dev/dri/", NULL}, *const amd[] = {"/dev/kfd", "/dev/dri/", NULL},
                             *const nvidia[] = {"/dev/nvidia", NULL};
    static const char no_dri[] =
        "there is no /dev/dri/renderD* (the kernel's driver isn't loaded, or a container lacks "
        "`device` /dev/dri)";
    *out = 0;
    if (has(name, "pocl") || has(name, "portable computing"))
        hint_pocl(out, size);
    else if (has(name, "rusticl")) {
        hint_rusticl(out, size);
        if (driver_variable("RUSTICL_ENABLE") && !has(getenv("RUSTICL_ENABLE"), "llvmpipe"))
            hint_nodes(dri, no_dri, out, size);
    } else if (has(name, "igdrcl") || has(name, "HD Graphics") || has(name, "OpenCL Graphics") || has(name, "clover") ||
               has(name, "MesaOpenCL"))
        hint_nodes(dri, no_dri, out, size);
    else if (has(name, "amdocl") || has(name, "AMD Accelerated"))
        hint_nodes(amd,
                   "there is no /dev/kfd (amdgpu isn't loaded, or a container lacks `device` /dev/kfd `device` "
                   "/dev/dri)",
                   out, size);
    else if (has(name, "nvidia"))
        hint_nodes(nvidia, "there is no /dev/nvidia* (NVIDIA's kernel module isn't loaded; nvidia-smi says more)", out,
                   size);
}

void driver_load_error(const char *library, char *out, size_t size)
{
    if (!os_library_has(library, "clGetExtensionFunctionAddress", out, size) && !*out)
        snprintf(out, size, "is no OpenCL driver: it has no clGetExtensionFunctionAddress");
}

/* ---- the message where there is nothing ----------------------------------------------------------------------- */

static void what_to_install(char *out, size_t size)
{
    machine_gpu gpus[MACHINE_MOST];
    size_t n = machine_gpus("", gpus);
    append(out, size,
           " (install a driver: %s for any CPU; intel-opencl-icd for Intel graphics; mesa-opencl-icd or "
           "rocm-opencl-icd for AMD; nvidia-opencl-icd or NVIDIA's own driver for NVIDIA",
           machine_package("", 0));
    for (size_t i = 0; i < n; i++)
        if (machine_vendor(gpus[i].vendor))
            append(out, size, "; this machine has a GPU of %s: %s", machine_vendor(gpus[i].vendor),
                   machine_package("", gpus[i].vendor));
    append(out, size, ")");
}

/* limn's program may show the loader a folder of links. */
static const char *true_path(const driver_file *f, char out[4096])
{
    char *real = *f->path ? os_real_path(f->path) : NULL;
    snprintf(out, 4096, "%s", real ? real : *f->path ? f->path : f->library);
    free(real);
    return out;
}

void drivers_installed(char *out, size_t size)
{
    driver_list l;
    char real[4096];
    *out = 0;
    if (!drivers_list(&l))
        return;
    for (size_t i = 0; i < l.n; i++)
        append(out, size, "%s%s", i ? ", " : "", true_path(&l.files[i], real));
    drivers_release(&l);
}

void drivers_missing(char *out, size_t size)
{
    driver_list l;
    *out = 0;
    if (!drivers_list(&l))
        return;
    if (l.n == 0) {
        if (l.variable)
            append(out, size, ": %s=%s has no driver, so unset it, or", l.variable, l.place);
        what_to_install(out, size);
    } else {
        append(out, size, ", though drivers are installed (`limn devices` says more):");
    }
    for (size_t i = 0; i < l.n; i++) {
        const driver_file *f = &l.files[i];
        char text[400], real[4096];
        append(out, size, "\n  %s%s%s: ", true_path(f, real), *f->path && *f->library ? ", " : "",
               *f->path ? f->library : "");
        if (*f->why) {
            append(out, size, "%s", f->why);
            continue;
        }
        driver_load_error(f->library, text, sizeof text);
        if (*text) {
            append(out, size, "%s (install what is missing, or remove the file)", text);
        } else {
            driver_hint(f->library, text, sizeof text);
            append(out, size, "gives no platform%s", text);
        }
    }
    drivers_release(&l);
}

/* ---- who minds what drivers do ---- */

static struct {
    void (*enter)(void);
    void (*leave)(bool ok);
} watch;

void driver_watch(void (*enter)(void), void (*leave)(bool ok))
{
    watch.enter = enter;
    watch.leave = leave;
}

void driver_enter(void)
{
    if (watch.enter)
        watch.enter();
}

void driver_leave(bool ok)
{
    if (watch.leave)
        watch.leave(ok);
}
