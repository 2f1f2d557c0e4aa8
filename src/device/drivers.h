/* The OpenCL drivers that are installed, by the files that name them to the OpenCL loader; what may be wrong with one.
 * Nothing here calls OpenCL. */
#ifndef DEVICE_DRIVERS_H
#define DEVICE_DRIVERS_H
#include <stdbool.h>
#include <stddef.h>

/* The loader looks in a folder of .icd files, each of which names a library.  The environment may name another folder,
 * one .icd file or a library. */
typedef struct driver_file {
    char *path;    /* of the .icd file; "" where the environment names the library */
    char *library; /* what it names; "" where it can't be read, as `why` says */
    char why[128];
    bool listed; /* by OCL_ICD_FILENAMES, which Khronos's loader reads and ocl-icd doesn't */
} driver_file;
typedef struct driver_list {
    char *place;          /* "/etc/OpenCL/vendors" */
    const char *variable; /* of the environment, that names it; NULL: none does */
    driver_file *files;   /* in the order of their names */
    size_t n;
} driver_list;
/* False where there is no memory. */
bool drivers_list(driver_list *l);
void drivers_release(driver_list *l);

/* What may keep a driver from giving a platform or a device, by the name of its library or platform: ": its cache can't
 * be written: …"; "" where nothing is known. */
void driver_hint(const char *name, char *out, size_t size);
/* Whether a driver of this library's name is one for GPUs of this vendor (machine.h). */
bool driver_serves(const char *library, unsigned vendor);
/* Why a library is no driver that the loader can use, as the dynamic linker says; "" where it is one.  Loads it. */
void driver_load_error(const char *library, char *out, size_t size);

/* A variable of the environment, where it is set and not empty; else NULL. */
const char *driver_variable(const char *name);
/* Where PoCL keeps its cache, and the variable that says so. */
const char *driver_pocl_cache(const char **variable);

/* The driver files that are installed: "/etc/OpenCL/vendors/pocl.icd, …". */
void drivers_installed(char *out, size_t size);
/* What follows "no platform found": which drivers are installed and what is wrong with each, or what to install. */
void drivers_missing(char *out, size_t size);

/* Around calls in which drivers may print, or end the process: they are loaded, open a device, compile.  A program that
 * minds says what is to happen then; the library does nothing by itself.  Calls may lie within calls. */
void driver_enter(void);
void driver_leave(bool ok);
void driver_watch(void (*enter)(void), void (*leave)(bool ok));
#endif
