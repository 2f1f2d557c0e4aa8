/* Joins the processes that an MPI launcher started. */
#include "cli/launcher.h"

#include <stdlib.h>
#include <string.h>

#include "base/ranks.h"

#ifdef LIMN_MPI
#include <mpi.h>
#endif

/* Launchers tell a process of the others by its environment.  These are no settings: they are read before MPI_Init,
 * which takes longer than limn's own start, and which a process alone can do without. */
int launcher_processes(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}; /* OpenMPI; MPICH and its kin, Slurm */
    int most = 1;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);
        int n = value ? atoi(value) : 1;
        most = n > most ? n : most;
    }
    return most;
}

#ifdef LIMN_MPI

/* MPI counts in ints; elements of one call */
#define PIECE ((size_t)1 << 30)

static bool joined;

static void sum(float *x, size_t n)
{
    for (size_t done = 0; done < n; done += PIECE)
        MPI_Allreduce(MPI_IN_PLACE, x + done, (int)(n - done < PIECE ? n - done : PIECE), MPI_FLOAT, MPI_SUM,
                      MPI_COMM_WORLD);
}

static void max(int32_t *x, size_t n)
{
    for (size_t done = 0; done < n; done += PIECE)
        MPI_Allreduce(MPI_IN_PLACE, x + done, (int)(n - done < PIECE ? n - done : PIECE), MPI_INT32_T, MPI_MAX,
                      MPI_COMM_WORLD);
}

static void broadcast(void *x, size_t bytes, int from)
{
    for (size_t done = 0; done < bytes; done += PIECE)
        MPI_Bcast((char *)x + done, (int)(bytes - done < PIECE ? bytes - done : PIECE), MPI_BYTE, from, MPI_COMM_WORLD);
}

static void *sum_begin(float *x, size_t n)
{
    MPI_Request *request = malloc(sizeof(MPI_Request));
    if (request)
        MPI_Iallreduce(MPI_IN_PLACE, x, (int)n, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD, request);
    return request;
}

static bool sum_done(void *request)
{
    int done = 0;
    MPI_Test(request, &done, MPI_STATUS_IGNORE);
    if (done)
        free(request);
    return done;
}

/* What is on its way to rank 0. */
typedef struct parcel {
    struct parcel *next;
    MPI_Request request;
    char data[];
} parcel;
static parcel *sent;

/* Frees what has arrived; wait: all of it. */
static void free_parcels(bool wait)
{
    for (parcel **p = &sent; *p;) {
        parcel *now = *p;
        int done = 0;
        if (wait)
            MPI_Wait(&now->request, MPI_STATUS_IGNORE);
        else
            MPI_Test(&now->request, &done, MPI_STATUS_IGNORE);
        if (!wait && !done) {
            p = &now->next;
            continue;
        }
        *p = now->next;
        free(now);
    }
}

static bool send_parcel(const void *x, size_t bytes)
{
    free_parcels(false);
    parcel *p = bytes <= PIECE ? malloc(sizeof *p + bytes) : NULL;
    if (!p)
        return false;
    memcpy(p->data, x, bytes);
    p->next = sent;
    sent = p;
    MPI_Isend(p->data, (int)bytes, MPI_BYTE, 0, 0, MPI_COMM_WORLD, &p->request);
    return true;
}

static bool receive_parcel(void *x, size_t bytes)
{
    int there = 0;
    MPI_Status from;
    MPI_Iprobe(MPI_ANY_SOURCE, 0, MPI_COMM_WORLD, &there, &from);
    if (there)
        MPI_Recv(x, (int)bytes, MPI_BYTE, from.MPI_SOURCE, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    return there;
}

bool launcher_join(err *e)
{
    ranks r = {.sum = sum,
               .max = max,
               .broadcast = broadcast,
               .sum_begin = sum_begin,
               .sum_done = sum_done,
               .send = send_parcel,
               .receive = receive_parcel};
    int level = 0;
    MPI_Comm here;
    if (launcher_processes() == 1)
        return true;
    /* data sets load on threads, which leave MPI alone.  An error of MPI's own ends all processes with its message. */
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level) != MPI_SUCCESS || level < MPI_THREAD_FUNNELED)
        return err_set(e, ERR_FAILED,
                       "MPI: it does not start with threads (use another MPI, or start limn without it)");
    joined = true;
    MPI_Comm_rank(MPI_COMM_WORLD, &r.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &r.size);
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, r.rank, MPI_INFO_NULL, &here);
    MPI_Comm_rank(here, &r.local);
    MPI_Comm_size(here, &r.local_size);
    MPI_Comm_free(&here);
    if (r.size != launcher_processes())
        return err_set(e, ERR_FAILED,
                       "MPI: the launcher started %d processes, and limn's MPI sees %d (start it by the mpirun of the "
                       "MPI that limn was built with)",
                       launcher_processes(), r.size);
    ranks_join(&r);
    return true;
}

void launcher_leave(int code)
{
    if (!joined)
        return;
    if (code)
        MPI_Abort(MPI_COMM_WORLD, code);
    free_parcels(true);
    MPI_Finalize();
    joined = false;
}

#else

bool launcher_join(err *e)
{
    int n = launcher_processes();
    return n == 1 || err_set(e, ERR_FAILED,
                             "MPI: %d processes were started, but this limn was built without MPI (on Debian or "
                             "Ubuntu: apt-get install libopenmpi-dev openmpi-bin, and build it again; or start it "
                             "without mpirun)",
                             n);
}

void launcher_leave(int code)
{
    (void)code;
}

#endif
