/* The program with less patience than it has: watch_program SECONDS ARGUMENT...  For watch_test.sh. */
#include <stdlib.h>

#include "device/watch.h"

int limn_main(int argc, char **argv); /* src/cli/main.c */

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    watch_patience = atof(argv[1]);
    watch_compiling = 8 * watch_patience;
    watch_allow(watch_patience);
    argv[1] = argv[0];
    return limn_main(argc - 1, argv + 1);
}
