/* GPUs, device files and permissions as the operating system shows them. */
#define _XOPEN_SOURCE 700 /* realpath */
#include "device/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What people are told of makers of GPUs by their numbers on the PCI bus: names, and packages with their drivers by
 * distribution (Debian's, Fedora's, Arch's).  Nothing that limn computes depends on it.  The last one is any CPU. */
static const struct maker {
    unsigned vendor;
    const char *name, *packages[3];
} makers[] = {
    {0x8086, "Intel", {"intel-opencl-icd", "intel-compute-runtime", "intel-compute-runtime"}},
    {0x1002,
     "AMD",
     {"mesa-opencl-icd or rocm-opencl-icd", "mesa-libOpenCL or rocm-opencl", "opencl-mesa or rocm-opencl-runtime"}},
    {0x10de, "NVIDIA", {"nvidia-opencl-icd", "xorg-x11-drv-nvidia-cuda", "opencl-nvidia"}},
    {0, NULL, {"pocl-opencl-icd", "pocl", "pocl"}},
};

static const struct maker *maker_of(unsigned vendor)
{
    const struct maker *m = makers;
    while (m->name && m->vendor != vendor)
        m++;
    return m;
}

/* ---- GPUs ----------------------------------------------------------------------------------------------------- */

/* A number as sysfs has it, "0x8086"; -1 where the file isn't there. */
static long number_in(const char *folder, const char *name)
{
    char path[512], text[32] = "";
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "r");
    if (!f)
        return -1;
    bool ok = fgets(text, sizeof text, f) != NULL;
    fclose(f);
    return ok ? strtol(text, NULL, 0) : -1;
}

/* The last part of where a link leads, "" where it isn't there. */
static void link_name(const char *folder, const char *name, char *out, size_t size)
{
    char path[512], target[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    ssize_t n = readlink(path, target, sizeof target - 1);
    target[n > 0 ? n : 0] = 0;
    const char *slash = strrchr(target, '/');
    snprintf(out, size, "%.*s", (int)size - 1, slash ? slash + 1 : target);
}

static bool known(const machine_gpu *list, size_t n, const char *pci)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(list[i].pci, pci))
            return true;
    return false;
}

size_t machine_gpus(const char *root, machine_gpu out[MACHINE_MOST])
{
    size_t n = 0;
    /* the second finds none that the first doesn't, but some containers hide the bus */
    static const char *const where[] = {"sys/bus/pci/devices/*", "sys/class/drm/card*/device"};
    for (size_t w = 0; w < 2; w++) {
        char pattern[512], real[4096];
        glob_t g = {0};
        snprintf(pattern, sizeof pattern, "%s/%s", root, where[w]);
        if (glob(pattern, 0, NULL, &g) != 0)
            g.gl_pathc = 0;
        for (size_t i = 0; i < g.gl_pathc && n < MACHINE_MOST; i++) {
            const char *folder = g.gl_pathv[i];
            long class = number_in(folder, "class"), vendor = number_in(folder, "vendor");
            bool graphics = class >> 16 == 0x03 || class >> 16 == 0x12; /* displays, processing accelerators */
            if (vendor < 0 || (class >= 0 && !graphics))
                continue;
            const char *at = realpath(folder, real) ? real : folder, *slash = strrchr(at, '/');
            machine_gpu gpu = {.vendor = (unsigned)vendor, .product = (unsigned)number_in(folder, "device")};
            snprintf(gpu.pci, sizeof gpu.pci, "%.23s", slash ? slash + 1 : at);
            link_name(folder, "driver", gpu.driver, sizeof gpu.driver);
            if (!known(out, n, gpu.pci))
                out[n++] = gpu;
        }
        globfree(&g);
    }
    return n;
}

const char *machine_vendor(unsigned vendor)
{
    return maker_of(vendor)->name;
}

/* ---- device files --------------------------------------------------------------------------------------------- */

/* The user's name, and the number of their first group. */
static void user_name(char name[64], gid_t *group)
{
    char buffer[4096];
    struct passwd entry, *found = NULL;
    getpwuid_r(getuid(), &entry, buffer, sizeof buffer, &found);
    snprintf(name, 64, "%.63s", found ? found->pw_name : "");
    *group = found ? found->pw_gid : (gid_t)-1;
}

/* The group's name, which a container may not know; whether this process is in it, and whether the user is. */
static void describe_group(machine_node *n, gid_t group)
{
    gid_t mine[256], first;
    int count = getgroups(256, mine);
    char user[64], buffer[16384];
    struct group entry, *found = NULL;
    n->member = getegid() == group || getgid() == group;
    for (int i = 0; i < count; i++)
        n->member = n->member || mine[i] == group;
    user_name(user, &first);
    n->listed = first == group;
    getgrgid_r(group, &entry, buffer, sizeof buffer, &found);
    for (char **name = found ? found->gr_mem : NULL; name && *name; name++)
        n->listed = n->listed || !strcmp(*name, user);
    if (found)
        snprintf(n->group, sizeof n->group, "%.63s", found->gr_name);
    else
        snprintf(n->group, sizeof n->group, "%u", (unsigned)group);
}

size_t machine_nodes(const char *root, machine_node out[MACHINE_MOST])
{
    static const char *const where[] = {"dev/dri/renderD*", "dev/kfd",   "dev/nvidiactl", "dev/nvidia[0-9]*",
                                        "dev/nvidia-uvm",   "dev/mali0", "dev/kgsl-3d0",  "dev/dxg"};
    size_t n = 0;
    for (size_t w = 0; w < sizeof where / sizeof *where; w++) {
        char pattern[512];
        glob_t g = {0};
        snprintf(pattern, sizeof pattern, "%s/%s", root, where[w]);
        if (glob(pattern, 0, NULL, &g) != 0)
            g.gl_pathc = 0;
        for (size_t i = 0; i < g.gl_pathc && n < MACHINE_MOST; i++) {
            machine_node *node = &out[n++];
            struct stat st;
            *node = (machine_node){0};
            snprintf(node->path, sizeof node->path, "%.63s", g.gl_pathv[i] + strlen(root));
            node->usable = faccessat(AT_FDCWD, g.gl_pathv[i], R_OK | W_OK, AT_EACCESS) == 0;
            if (!node->usable)
                snprintf(node->why, sizeof node->why, "%s", strerror(errno));
            if (stat(g.gl_pathv[i], &st) == 0 && st.st_mode & S_IWGRP)
                describe_group(node, st.st_gid);
        }
        globfree(&g);
    }
    return n;
}

void machine_node_advice(const machine_node *n, char *out, size_t size)
{
    char user[64];
    gid_t first;
    user_name(user, &first);
    bool number = n->group[0] >= '0' && n->group[0] <= '9';
    if (!n->group[0])
        snprintf(out, size, "its mode lets no group use it: sudo chmod g+rw %s", n->path);
    else if (n->member)
        snprintf(out, size, "you are in its group %s, and something else forbids it: a container lacks `device` %s?",
                 n->group, n->path);
    else if (number)
        snprintf(out, size, "its group is number %s, without a name here: a container has to be given it", n->group);
    else if (n->listed)
        snprintf(out, size, "you were added to its group %s: log out and in again", n->group);
    else
        snprintf(out, size, "you are not in its group %s: sudo usermod -aG %s %s, then log out and in again", n->group,
                 n->group, *user ? user : "$USER");
}

bool machine_can_write(const char *folder)
{
    char path[4096];
    struct stat st;
    if (snprintf(path, sizeof path, "%s", folder) >= (int)sizeof path)
        return false;
    while (stat(path, &st) != 0) { /* up to what is there */
        char *slash = strrchr(path, '/');
        if (errno != ENOENT || !slash)
            return false;
        slash[slash == path] = 0;
    }
    return S_ISDIR(st.st_mode) && faccessat(AT_FDCWD, path, W_OK | X_OK, AT_EACCESS) == 0;
}

/* ---- packages ------------------------------------------------------------------------------------------------- */

/* 1: Fedora and its like, 2: Arch, 0: Debian, Ubuntu and what isn't known. */
static int distribution(const char *root)
{
    char path[512], line[256];
    int found = 0;
    snprintf(path, sizeof path, "%s/etc/os-release", root);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, "ID=", 3) || !strncmp(line, "ID_LIKE=", 8)) {
            found = strstr(line, "fedora") || strstr(line, "rhel") ? 1 : strstr(line, "arch") ? 2 : found;
            if (strstr(line, "debian") || strstr(line, "ubuntu"))
                found = 0;
        }
    if (f)
        fclose(f);
    return found;
}

const char *machine_package(const char *root, unsigned vendor)
{
    return maker_of(vendor)->packages[distribution(root)];
}
