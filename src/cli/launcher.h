/* Several processes as one run: mpirun -n 4 limn …  The one place that knows MPI. */
#ifndef CLI_LAUNCHER_H
#define CLI_LAUNCHER_H
#include "base/err.h"

/* How many processes the launcher started; 1 without one. */
int launcher_processes(void);
/* Joins them (base/ranks.h); does nothing where this one is alone.  False where limn was built without MPI. */
bool launcher_join(err *e);
/* Leaves: with code 0 it waits for the others, and any other code ends them all.  Does nothing if nothing was joined.
 */
void launcher_leave(int code);
#endif
