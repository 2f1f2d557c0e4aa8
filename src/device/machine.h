/* What the operating system says of GPUs, without OpenCL: those that are there, the files by which drivers reach them,
 * and whether this user may use these.  root is "" outside of tests, which give a folder with a sys/, dev/ and etc/. */
#ifndef DEVICE_MACHINE_H
#define DEVICE_MACHINE_H
#include <stdbool.h>
#include <stddef.h>

#define MACHINE_MOST 32 /* entries of each kind that are looked at */

/* A display controller or accelerator on the PCI bus. */
typedef struct machine_gpu {
    char pci[24];    /* "0000:03:00.0" */
    unsigned vendor; /* 0x8086 Intel, 0x1002 AMD, 0x10de NVIDIA */
    unsigned product;
    char driver[32]; /* the kernel's: "i915", "amdgpu"; "" where none has taken it */
} machine_gpu;
size_t machine_gpus(const char *root, machine_gpu out[MACHINE_MOST]);
/* "Intel", "AMD", "NVIDIA"; NULL for others, which no OpenCL driver of a distribution knows. */
const char *machine_vendor(unsigned vendor);

/* A file by which drivers reach a GPU: /dev/dri/renderD128, /dev/kfd, /dev/nvidia0. */
typedef struct machine_node {
    char path[64];  /* without the root */
    bool usable;    /* this process may read and write it */
    char why[96];   /* else: "Permission denied" */
    char group[64]; /* of the file; "" where its mode lets no group write */
    bool member;    /* this process is in that group */
    bool listed;    /* the user is in it, from the next login on */
} machine_node;
size_t machine_nodes(const char *root, machine_node out[MACHINE_MOST]);

/* What to do about a node that is not usable: "sudo usermod -aG render ann, then log in again". */
void machine_node_advice(const machine_node *n, char *out, size_t size);

/* Whether a file could be made in folder, or the folder itself. */
bool machine_can_write(const char *folder);

/* The package with a driver for a vendor's GPUs, 0: for any CPU, by the name that this distribution gives it. */
const char *machine_package(const char *root, unsigned vendor);
#endif
