/* What the parts of asking drivers in processes of their own share: *_posix.c. */
#ifndef CLI_PROBE_INTERNAL_H
#define CLI_PROBE_INTERNAL_H
#include <sys/types.h>

#include "cli/probe.h"

/* A new folder that only this user can read, and a driver's file in it, by the name that it has. */
bool probe_new_folder(char path[200]);
bool probe_add_file(const char *folder, const driver_file *f, size_t number, char out[300]);
/* "aborts (SIGABRT)" */
const char *probe_signal(int number);
/* Waits for the end of a child, which is killed where it comes late: its status, or -1 where even SIGKILL doesn't end
 * it (it is inside of the kernel). */
int probe_end(pid_t pid, bool late);

/* The file that keeps what drivers did; NULL where there is no place for it. */
char *probe_kept_path(void);
/* In a process that was forked to watch or ask a driver: closes all files but the standard streams and these two (-1:
 * none).  The locks of an output would last as long as the last process that has their file open, which may outlive the
 * one that was killed. */
void probe_close_others(int a, int b);
#endif
