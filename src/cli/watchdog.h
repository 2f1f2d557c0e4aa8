/* Ends the program where a driver's call never returns. */
#ifndef CLI_WATCHDOG_H
#define CLI_WATCHDOG_H
/* From now on, until the program ends. */
void watchdog_start(void);
/* What it says besides: what is there by then, and how to go on.  text is copied. */
void watchdog_last_words(const char *text);
#endif
