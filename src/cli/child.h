/* Work in a process of its own: what crashes, hangs or ends the program there, ends that process alone.  (On Windows
 * the work is done in this process, and can't be ended.) */
#ifndef CLI_CHILD_H
#define CLI_CHILD_H
#include <jansson.h>

#include "base/err.h"

/* In the child: what it has to say goes out by child_tell, a JSON value at a time, and what it prints is kept. */
typedef struct child child;
typedef bool child_work(child *c, void *context, err *e);
/* Releases the value. */
void child_tell(child *c, json_t *value);

/* In the parent, for each value as it comes. */
typedef void child_heard(void *context, const json_t *value);

#define CHILD_SAID 2000
/* Runs the work in a child that has `limit` seconds; its driver is called by the child alone, since drivers don't
 * survive a fork.  said: the end of what it printed, for people, or "".  False with why in e: what the work returned,
 * or "hung, or …", "aborts (SIGABRT)".  What was told before that was heard. */
bool child_run(child_work *work, void *context, double limit, child_heard *heard, void *hearer, char said[CHILD_SAID],
               err *e);

/* Work that has one answer, of a size that is known, and zeros before the work. */
typedef void child_answers(const void *context, void *answer);
/* Runs it in a child that has `limit` seconds.  False with why in e: it hung or crashed. */
bool child_answer(child_answers *work, const void *context, double limit, void *answer, size_t bytes, err *e);
#endif
