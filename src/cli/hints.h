/* What was likely meant by an option or a command that limn doesn't have: by its letters, or by what other programs
 * call what limn calls otherwise. */
#ifndef CLI_HINTS_H
#define CLI_HINTS_H
#include "cli/options.h"

enum { HINT_SIZE = 320 };

/* "did you mean --guidance?", or what to do instead; "" where nothing is near enough to be worth a guess.  typed is
 * without its dashes. */
const char *hint_option(const command *c, const char *typed, char out[HINT_SIZE]);
/* Whether typed is the name of an option, here or in other programs: "-output" is none of "-o utput". */
bool hint_is_option(const command *c, const char *typed);
/* The same of a command; group: NULL, or the one whose second word was typed. */
const char *hint_command(const command *group, const char *typed, char out[HINT_SIZE]);
#endif
