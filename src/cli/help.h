/* Help and completions, made from the command table. */
#ifndef CLI_HELP_H
#define CLI_HELP_H
#include <stdio.h>

#include "cli/options.h"

void help_overview(FILE *f);
void help_command(FILE *f, const command *c);
void help_man(FILE *f);
void completion_bash(FILE *f);
void completion_zsh(FILE *f);
void completion_fish(FILE *f);
#endif
