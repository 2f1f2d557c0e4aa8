/* Ends the program where a driver's call never returns. */
#ifndef CLI_WATCHDOG_H
#define CLI_WATCHDOG_H
/* From now on, until the program ends. */
void watchdog_start(void);
#endif
