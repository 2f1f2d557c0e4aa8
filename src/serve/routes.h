/* What limn serve answers; the context is the server. */
#ifndef SERVE_ROUTES_H
#define SERVE_ROUTES_H
#include "serve/server.h"

/* As http_options has them. */
void routes_begin(void *context, exchange *x);
void routes_handle(void *context, exchange *x);
void routes_refuse(void *context, exchange *x, int status, const char *why);
#endif
