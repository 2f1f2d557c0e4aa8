/* What the APIs have in common: the settings of a job, from fields, and its way to the worker. */
#ifndef SERVE_REQUEST_H
#define SERVE_REQUEST_H
#include "serve/fields.h"

/* Pictures of a request, bytes of a prompt, pixels of a side. */
enum { PICTURES_MOST = 64, PROMPT_MOST = 32000, SIDE_MOST = 4096 };

bool request_prompt(const fields *p, job *j, bool required, api_error *a);
/* Seed, guidance under the name that it has in the API, and what is the same in all of them. */
bool request_sampling(const fields *p, job *j, const char *guidance, api_error *a);
/* sampler and spacing, as the command line names them. */
bool request_sampler(const fields *p, job *j, api_error *a);
/* The job waits now, if ok; else, or if it can't, the exchange has its answer.  Releases the job, which may be NULL. */
void request_submit(server *s, exchange *x, job *j, bool ok, api_error *a);
/* "the server's memory is short" */
bool request_short(api_error *a);
#endif
