/* What the networks of published models are known by. */
#ifndef CONVERT_NETWORKS_H
#define CONVERT_NETWORKS_H
#include "convert/names.h"

/* A network is where all of `all` are, one of each of `any`, and not `none`. */
typedef struct network {
    const char *name;
    const char *all[3], *any[2][4], *none;
    int kernel;     /* of the first of `all`: 1, or -1 for more; 0: any */
    const char *to; /* the prefix that its family wants */
} network;

enum { NETWORKS = 16 };
extern const network networks[NETWORKS]; /* in the order of enum network_set */
#endif
