/* What is personal in a report that others will read. */
#ifndef CLI_REDACT_H
#define CLI_REDACT_H
#include <jansson.h>

/* In all texts of the value, not in its keys: the home directory becomes ~, the user's name $USER, that of the machine
 * HOSTNAME. */
void redact(json_t *value);
#endif
