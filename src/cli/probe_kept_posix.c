/* What drivers did when they were asked is kept, and those that do harm are left out. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "cli/guard.h"
#include "cli/probe_internal.h"
#include "cli/terminal.h"

/* ---- what is kept: a line for each driver, "WHAT IT DID|its file, library, sizes and times" ---- */

#define KEPT_LINES  64
#define BAD_SECONDS 3600 /* what a bad driver did is believed: a loaded machine may have been to blame */

char *probe_kept_path(void)
{
    char *folder = file_cache_directory(), *path = NULL;
    size_t n = folder ? strlen(folder) + 16 : 0;
    if (folder && (path = malloc(n)))
        snprintf(path, n, "%s/drivers", folder);
    free(folder);
    return path;
}

static void stamp(const char *path, char *out, size_t size)
{
    struct stat st;
    size_t used = strlen(out);
    if (stat(path, &st) == 0)
        snprintf(out + used, size - used, " %lld.%ld/%lld", (long long)st.st_mtim.tv_sec, (long)st.st_mtim.tv_nsec,
                 (long long)st.st_size);
}

/* Variables of the environment that change from one terminal or start to the next, and that no driver reads. */
static bool passes_by(const char *variable)
{
    static const char *const names[] = {
        "PWD=",  "OLDPWD=", "SHLVL=",   "_=",        "COLUMNS=",  "LINES=",         "TERM",        "COLORTERM=",
        "SSH_",  "TMUX",    "STY=",     "WINDOWID=", "LS_COLORS", "PS1=",           "HIST",        "XDG_SESSION_",
        "DBUS_", "GNOME_",  "KONSOLE_", "VTE_",      "ITERM_",    "LIMN_DEVICE=",   "LIMN_CACHE_", "LIMN_CL_",
        "OMPI_", "PMIX_",   "PMI_",     "SLURM_",    "BASH_",     "INVOCATION_ID=", "JOURNAL_",    "SYSTEMD_",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strncmp(variable, names[i], strlen(names[i])))
            return true;
    return false;
}

/* A hash of the environment that doesn't depend on its order. */
static uint64_t environment_hash(void)
{
    extern char **environ;
    uint64_t sum = 0;
    for (char **v = environ; v && *v; v++) {
        sum += passes_by(*v) ? 0 : hash_bytes(HASH_BEGIN, *v, strlen(*v));
    }
    return sum;
}

/* Whatever changes when the driver may behave otherwise: its files, the dynamic linker's list of libraries, the start
 * of the machine. */
static void key_of(const driver_file *f, char key[800])
{
    char boot[64] = "";
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "r");
    if (file && !fgets(boot, sizeof boot, file))
        boot[0] = 0;
    if (file)
        fclose(file);
    boot[strcspn(boot, "\n")] = 0;
    snprintf(key, 600, "%s %s %u %016llx %.180s %.180s", LIMN_VERSION, boot, (unsigned)geteuid(),
             (unsigned long long)environment_hash(), f->path, f->library);
    if (*f->path)
        stamp(f->path, key, 800);
    if (strchr(f->library, '/'))
        stamp(f->library, key, 800);
    stamp("/etc/ld.so.cache", key, 800);
    for (char *c = key; *c; c++)
        if (*c == '\n' || *c == '|')
            *c = '_';
}

/* False where nothing is known of one of them. */
static bool recall(const driver_list *l, probe *p)
{
    char *path = probe_kept_path(), line[1100], key[800];
    FILE *f = path ? fopen(path, "r") : NULL;
    size_t found = 0;
    struct stat st;
    bool old = f && (fstat(fileno(f), &st) || time(NULL) - st.st_mtim.tv_sec > BAD_SECONDS);
    for (size_t i = 0; f && i < l->n; i++) {
        bool known = !*l->files[i].library;
        key_of(&l->files[i], key);
        rewind(f);
        while (!known && fgets(line, sizeof line, f)) {
            line[strcspn(line, "\n")] = 0;
            char *bar = strchr(line, '|');
            if (!bar || strcmp(bar + 1, key))
                continue;
            *bar = 0;
            snprintf(p[i].bad, sizeof p[i].bad, "%.*s", (int)sizeof p[i].bad - 1, line);
            known = !(old && *p[i].bad);
            if (!known)
                p[i].bad[0] = 0;
        }
        found += known;
    }
    if (f)
        fclose(f);
    free(path);
    return f && found == l->n;
}

/* Best effort: without a cache directory drivers are asked every time. */
static void keep(const driver_list *l, const probe *p)
{
    char *path = probe_kept_path(), *folder = file_cache_directory(), line[1100],
         (*keys)[800] = calloc(l->n, sizeof *keys);
    file_out out = {.cache = true};
    bool ok = path && folder && keys && file_make_directory(folder, NULL) && file_out_open(&out, path, NULL);
    for (size_t i = 0; ok && i < l->n; i++) {
        if (!p[i].asked)
            continue;
        key_of(&l->files[i], keys[i]);
        int n = snprintf(line, sizeof line, "%s|%s\n", p[i].bad, keys[i]);
        ok = file_out_write(&out, line, (size_t)n, NULL);
    }
    FILE *old = ok ? fopen(path, "r") : NULL; /* of other places of drivers */
    for (size_t lines = l->n; ok && old && lines < KEPT_LINES && fgets(line, sizeof line, old);) {
        char *bar = strchr(line, '|');
        size_t end = strcspn(line, "\n");
        bool again = !bar || line[end] != '\n';
        for (size_t i = 0; !again && i < l->n; i++)
            again = strlen(keys[i]) == (size_t)(line + end - bar - 1) && !strncmp(bar + 1, keys[i], strlen(keys[i]));
        if (!again) {
            ok = file_out_write(&out, line, strlen(line), NULL);
            lines++;
        }
    }
    if (old)
        fclose(old);
    if (ok)
        file_out_commit(&out, NULL);
    file_out_release(&out);
    free(keys);
    free(path);
    free(folder);
}

/* ---- leaving out ---- */

static struct {
    char path[200];
    char files[64][300];
    int n;
    pid_t owner; /* children inherit this, and leave the folder there */
} shown;

/* Removes the folder of drivers that the loader is shown, with system calls alone, since signal handlers call it. */
static void remove_shown(void)
{
    if (shown.owner != getpid())
        return;
    for (int i = 0; i < shown.n; i++)
        unlink(shown.files[i]);
    rmdir(shown.path);
    shown.owner = 0;
}

static bool only_good(const driver_list *l, const probe *p, err *e)
{
    char *names = calloc(1, 1);
    size_t bytes = 1;
    if (!names || !probe_new_folder(shown.path)) {
        free(names);
        return err_set(e, ERR_FAILED, "%s: %s (set TMPDIR)", shown.path, strerror(errno));
    }
    shown.owner = getpid();
    atexit(remove_shown);
    file_out_abandon_also(remove_shown);
    for (size_t i = 0; i < l->n; i++) {
        const driver_file *f = &l->files[i];
        if (*p[i].bad || !*f->library)
            continue;
        if (f->listed) {
            char *grown = realloc(names, bytes + strlen(f->library) + 1);
            if (!grown)
                continue;
            names = grown;
            bytes += (size_t)sprintf(names + bytes - 1, "%s%s", bytes > 1 ? ":" : "", f->library);
        } else if (shown.n < 64 && probe_add_file(shown.path, f, i, shown.files[shown.n])) {
            shown.n++;
        }
    }
    setenv("OCL_ICD_VENDORS", shown.path, 1);
    if (getenv("OCL_ICD_FILENAMES"))
        setenv("OCL_ICD_FILENAMES", names, 1);
    free(names);
    return true;
}

bool probe_use(const driver_list *l, const probe *p, err *e)
{
    size_t good = 0, bad = 0;
    char first[700] = "";
    for (size_t i = 0; i < l->n; i++) {
        const driver_file *f = &l->files[i];
        good += *f->library && !*p[i].bad;
        if (!*p[i].bad)
            continue;
        say(LOG_WARNING, "OpenCL driver %s%s%s%s is left out: it %s while it is loaded and asked%s%s (%s)", f->path,
            *f->path ? " (" : "", f->library, *f->path ? ")" : "", p[i].bad, *p[i].said ? ", and says: " : "",
            p[i].said, *f->path ? "limn devices asks it again; update or remove it" : "limn devices asks it again");
        if (bad++ == 0)
            snprintf(first, sizeof first, "%.300s %.160s", *f->path ? f->path : f->library, p[i].bad);
    }
    if (bad && !good)
        return err_set(e, ERR_DEVICE,
                       "OpenCL: no driver can be used: %s%s (update it, or install another: pocl-opencl-icd for any "
                       "CPU; limn devices --why says more)",
                       first, bad > 1 ? ", and so on" : "");
    return bad == 0 || only_good(l, p, e);
}

bool probe_check(bool fresh, err *e)
{
    static bool checked;
    driver_list l = {0};
    bool ok = true;
    if (checked)
        return true;
    checked = true;
    guard_start();
    if (!drivers_list(&l))
        return err_no_memory(e, "drivers", 1);
    probe *p = calloc(l.n + 1, sizeof *p);
    if (p && l.n > 0) {
        if (fresh || !recall(&l, p)) {
            err why = {0};
            free(p);
            if (probe_drivers(&l, &p, &why))
                keep(&l, p);
            else if (interrupted())
                ok = err_set(e, why.code, "%s", why.text);
            else
                say(LOG_INFO, "drivers are not asked on their own: %s", why.text);
        }
        ok = ok && (!p || probe_use(&l, p, e));
    }
    probe_free(p, l.n);
    drivers_release(&l);
    return ok;
}
