/* What the parts of probing drivers share: probe.c, probe_kept.c, guard.c. */
#ifndef CLI_PROBE_INTERNAL_H
#define CLI_PROBE_INTERNAL_H
#include "cli/probe.h"

/* A new folder that only this user can read, and a driver's file in it, by the name that it has. */
bool probe_new_folder(char path[200]);
bool probe_add_file(const char *folder, const driver_file *f, size_t number, char out[300]);
/* "aborts (SIGABRT)" */
const char *probe_signal(int number);

/* The file that keeps what drivers did; NULL where there is no place for it. */
char *probe_kept_path(void);
#endif
