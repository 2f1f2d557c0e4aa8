/* Drivers print, crash, exit and hang: what the program does about it. */
#ifndef CLI_GUARD_H
#define CLI_GUARD_H
#include <stdbool.h>

/* From here on, while the library loads drivers, opens devices or builds kernels, what drivers print comes neither to
 * stdout nor to stderr; it is shown as a message with -v, or where that fails.  A driver that ends the process
 * meanwhile ends it with a message: exit code 3 while drivers are loaded, else 1.  Does nothing the next time. */
void guard_start(void);
/* Before the program ends, when all is written: what drivers do as they are unloaded changes neither what it printed
 * nor its exit code, and takes ten seconds at most. */
void guard_end(int code);
/* While it is on, drivers are loaded and asked, and a minute without an end is taken for a hang. */
void guard_loading(bool on);
#endif
