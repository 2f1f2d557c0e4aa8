/* The time that work would take on a GPU that isn't here: a model of its launches, which are counted on a described
 * device (device/count.h), and not a measurement.
 *
 * A launch takes the longest of three times, and a gap before the next one:
 * - bandwidth: its bytes, as the algorithm needs them, at 88% of the device's bandwidth;
 * - issue: its instructions, of products alone, at 70% of what the device's lanes issue (products by tiles: 80%, no
 *   more than local memory feeds, each cluster of units its share of the groups, and tiles that lie partly outside as
 *   long as others);
 * - latency: loads that wait for each other, of attention over a cache, norms and sampling, for as many rounds as its
 *   groups fill the device.
 * Products whose groups begin with a norm do that first, and then take such a time.
 * Instructions, shares and loads that wait are those of compiled code, by the kernel's name: predict.c has the table.
 */
#ifndef CLI_MEASURE_PREDICT_H
#define CLI_MEASURE_PREDICT_H
#include <jansson.h>

#include "device/count.h"

/* Whose compiled code stands for the device's. */
typedef enum predict_isa { PREDICT_GEN9, PREDICT_GEN12, PREDICT_RDNA, PREDICT_AMPERE, PREDICT_ISAS } predict_isa;

typedef struct predict_device {
    limn_device_info info;
    predict_isa isa;
    double gflops, gbytes;  /* peak of multiply-adds in F32, and bandwidth: 1e9 a second */
    double issue;           /* instructions of one lane: 1e9 a second, of all lanes */
    double mixed;           /* how many times as long instructions take where half of them are of integers */
    double clusters;        /* units that have local memory of their own */
    double cluster;         /* what one of them issues: 1e9 instructions of one lane a second */
    double groups;          /* of 64 work-items, that are there at once */
    double near_us, far_us; /* a load from the cache, and from memory */
    double barrier_us;
    double sample_us;    /* a load of sampling */
    double launch_us[2]; /* from a launch's end to the next one's start: least and most */
} predict_device;

/* NAME, NAME,KEY=NUMBER,… or KEY=NUMBER,…; ERR_USAGE names what there is. */
bool predict_parse(predict_device *p, const char *text, err *e);

/* A device that is here, by what was measured of it, as if its compiled code were that of isa. */
predict_device predict_measured(const limn_device_info *info, predict_isa isa, double gflops, double gbytes,
                                double launch_us);

typedef enum predict_part {
    PREDICT_BANDWIDTH,
    PREDICT_ISSUE,
    PREDICT_ATTENTION,
    PREDICT_NORM,
    PREDICT_SAMPLE,
    PREDICT_OTHER, /* launches that do so little that only their latency counts */
    PREDICT_PARTS
} predict_part;

/* Of the launches of one kernel, without gaps. */
typedef struct predict_kernel {
    const char *name;
    double launches, seconds;
} predict_kernel;
#define PREDICT_KERNELS 64

/* Of some launches together; zero-initialised is none. */
typedef struct prediction {
    double launches, flops, bytes, instructions; /* the last of products alone */
    double little;                               /* launches with too few groups for a quarter of the device */
    double part[PREDICT_PARTS];                  /* seconds */
    double gaps[2];                              /* least and most */
    predict_kernel kernel[PREDICT_KERNELS];      /* those beyond are in the sums alone */
    int kernels;
} prediction;

/* A launch that is done so many times more. */
void predict_launch(prediction *p, const predict_device *d, const counted_launch *l, double times);
void predict_sum(prediction *p, const prediction *other, double times);
/* Seconds of it all, with the mean of the gaps. */
double predict_seconds(const prediction *p);
json_t *predict_json(const prediction *p);
/* The same as a line of text, indented; and one for each kernel, the longest first. */
void predict_print(const json_t *prediction);
void predict_print_kernels(const json_t *prediction);
#endif
