/* The operating system: Linux and others of POSIX. */
#define _XOPEN_SOURCE   700 /* realpath */
#define _DEFAULT_SOURCE     /* madvise, flock, getrandom */
#include "base/os.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h> /* flock */
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

/* ---- the machine ---- */

size_t os_page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

uint64_t os_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
    return pages > 0 && bytes > 0 ? (uint64_t)pages * (uint64_t)bytes : 0;
}

uint64_t os_memory_left(void)
{
    unsigned long long kib = 0;
    char line[128];
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && fgets(line, sizeof line, f) && sscanf(line, "MemAvailable: %llu", &kib) != 1)
        ;
    if (f)
        fclose(f);
    return kib << 10;
}

int os_processors(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : (int)n;
}

void os_kernel(char name[160], char cpu[80])
{
    struct utsname u = {0};
    uname(&u);
    snprintf(name, 160, "%.50s %.80s", u.sysname, u.release);
    snprintf(cpu, 80, "%.79s", u.machine);
}

void os_user(char name[256], char home[1024])
{
    char buffer[4096];
    struct passwd entry, *user = NULL;
    getpwuid_r(getuid(), &entry, buffer, sizeof buffer, &user);
    snprintf(name, 256, "%.255s", user ? user->pw_name : "");
    snprintf(home, 1024, "%.1023s", user ? user->pw_dir : "");
}

void os_host(char name[256])
{
    struct utsname u = {0};
    uname(&u);
    snprintf(name, 256, "%.255s", u.nodename);
}

bool os_random(void *to, size_t bytes)
{
    return getrandom(to, bytes, 0) == (ssize_t)bytes;
}

/* ---- memory ---- */

void *os_pages_new(size_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return at == MAP_FAILED ? NULL : at;
}

void os_pages_huge(void *at, size_t bytes)
{
#ifdef MADV_HUGEPAGE
    madvise(at, bytes, MADV_HUGEPAGE);
#else
    (void)at, (void)bytes;
#endif
}

void os_pages_forget(void *at, size_t bytes)
{
#ifdef MADV_DONTNEED /* POSIX's own advice does nothing in glibc; this one drops clean pages of a file at once */
    madvise(at, bytes, MADV_DONTNEED);
#else
    (void)at, (void)bytes;
#endif
}

void os_pages_free(void *at, size_t bytes)
{
    munmap(at, bytes);
}

void *os_aligned_new(size_t alignment, size_t bytes)
{
    return aligned_alloc(alignment, bytes);
}

void os_aligned_free(void *at)
{
    free(at);
}

/* ---- files ---- */

int os_open(const char *path, os_how how)
{
    static const int flags[] = {[OS_READ] = O_RDONLY | O_NONBLOCK,
                                [OS_WRITE] = O_WRONLY,
                                [OS_EMPTY] = O_WRONLY | O_TRUNC,
                                [OS_NEW] = O_RDWR | O_CREAT | O_EXCL,
                                [OS_SAME] = O_RDWR | O_NOFOLLOW | O_NONBLOCK,
                                [OS_SAME_NEW] = O_RDWR | O_CREAT | O_NOFOLLOW};
    return open(path, flags[how] | O_CLOEXEC, 0666);
}

void *os_map(int fd, size_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    return at == MAP_FAILED ? NULL : at;
}

void os_unmap(void *at, size_t bytes)
{
    munmap(at, bytes);
}

ssize_t os_read_at(int fd, void *to, size_t bytes, int64_t at)
{
    return pread(fd, to, bytes, (off_t)at);
}

ssize_t os_write_at(int fd, const void *from, size_t bytes, int64_t at)
{
    return pwrite(fd, from, bytes, (off_t)at);
}

bool os_lock(int fd, bool wait)
{
    return flock(fd, LOCK_EX | (wait ? 0 : LOCK_NB)) == 0;
}

bool os_sync(int fd)
{
    return fsync(fd) == 0;
}

bool os_sync_folder(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return true;
    /* some file systems sync no folder */
    bool bad = fsync(fd) && (errno == EIO || errno == ENOSPC || errno == EDQUOT);
    int reason = errno;
    close(fd);
    errno = reason;
    return !bad;
}

int os_reserve(int fd, int64_t bytes)
{
    int full = posix_fallocate(fd, 0, (off_t)bytes);
    return full == ENOSPC || full == EDQUOT || full == EFBIG ? full : 0;
}

bool os_take_over(int fd, const struct stat *predecessor)
{
    bool same_owner = !fchown(fd, predecessor->st_uid, predecessor->st_gid);
    (void)!fchmod(fd, predecessor->st_mode & 0777);
    return same_owner || predecessor->st_uid == geteuid();
}

bool os_rename(const char *from, const char *to)
{
    return rename(from, to) == 0;
}

bool os_rename_new(const char *from, const char *to)
{
    if (link(from, to) == 0) {
        (void)unlink(from);
        return true;
    }
    if (errno == EEXIST)
        return false;
    errno = EEXIST; /* some file systems have no second names */
    return access(to, F_OK) != 0 && rename(from, to) == 0;
}

bool os_make_folder(const char *path)
{
    struct stat st;
    if (mkdir(path, 0777) == 0)
        return true;
    if (errno != EEXIST)
        return false;
    errno = ENOTDIR;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

char *os_real_path(const char *path)
{
    return realpath(path, NULL);
}

int os_lstat(const char *path, struct stat *st)
{
    return lstat(path, st);
}

bool os_is_link(const struct stat *st)
{
    return S_ISLNK(st->st_mode);
}

bool os_is_device(const char *path)
{
    return strncmp(path, "/dev/", 5) == 0 && strncmp(path, "/dev/shm/", 9) != 0;
}

bool os_is_stream(const struct stat *st)
{
    return S_ISFIFO(st->st_mode) || S_ISCHR(st->st_mode) || S_ISSOCK(st->st_mode);
}

struct timespec os_modified(const struct stat *st)
{
    return st->st_mtim;
}

struct timespec os_changed(const struct stat *st)
{
    return st->st_ctim;
}

bool os_id_at(const char *path, os_id *id)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return false;
    *id = (os_id){(uint64_t)st.st_dev, (uint64_t)st.st_ino};
    return true;
}

bool os_id_of(int fd, os_id *id)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return false;
    *id = (os_id){(uint64_t)st.st_dev, (uint64_t)st.st_ino};
    return true;
}

bool os_same_file(const char *a, const char *b)
{
    os_id x, y;
    return os_id_at(a, &x) && os_id_at(b, &y) && x.device == y.device && x.file == y.file;
}

int os_list(const char *folder, struct dirent ***list, int (*passes)(const struct dirent *),
            int (*order)(const struct dirent **, const struct dirent **))
{
    return scandir(folder, list, passes, order);
}

bool os_matches(const char *pattern, const char *name)
{
    return fnmatch(pattern, name, 0) == 0;
}

const char *os_temporary_folder(void)
{
    const char *folder = getenv("TMPDIR");
    return folder && *folder ? folder : "/tmp";
}

FILE *os_temporary_file(void)
{
    return tmpfile();
}

static char *joined(const char *directory, const char *rest)
{
    size_t n = strlen(directory) + strlen(rest) + 1;
    char *s = malloc(n);
    if (s)
        snprintf(s, n, "%s%s", directory, rest);
    return s;
}

char *os_cache_folder(void)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (xdg && *xdg == '/') /* the XDG specification has relative paths ignored */
        return joined(xdg, "/limn");
    return home && *home ? joined(home, "/.cache/limn") : NULL;
}

int os_stat(const char *path, struct stat *st)
{
    return stat(path, st);
}

void os_use_slashes(char *path)
{
    (void)path; /* a backslash is a letter like others */
}

bool os_text_open(os_text *t)
{
    *t = (os_text){0};
    t->stream = open_memstream(&t->text, &t->size);
    return t->stream != NULL;
}

char *os_text_close(os_text *t)
{
    bool ok = t->stream && !ferror(t->stream);
    ok = t->stream && fclose(t->stream) == 0 && ok;
    char *text = t->text;
    *t = (os_text){0};
    if (ok)
        return text;
    free(text);
    return NULL;
}

/* ---- the process ---- */

/* No file may take the number of a stream that was closed when the program began: what is printed would go into it.
 * Reading or writing the stream fails still. */
char **os_start(int argc, char **argv)
{
    (void)argc;
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_RDONLY : O_WRONLY) != fd)
            break;
    return argv;
}

double os_worked(long *pages)
{
    struct rusage use = {0};
    struct timespec t = {0};
    getrusage(RUSAGE_SELF, &use);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    *pages = use.ru_majflt;
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int os_thread(pthread_t *t, void *(*run)(void *), void *context)
{
    static const int blocked[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH, SIGTSTP};
    sigset_t set, old;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof blocked / sizeof *blocked; i++)
        sigaddset(&set, blocked[i]);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    int status = pthread_create(t, NULL, run, context);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return status;
}

bool os_library_has(const char *library, const char *function, char *why, size_t size)
{
    void *handle = dlopen(library, RTLD_LAZY | RTLD_LOCAL);
    bool has = handle && dlsym(handle, function);
    *why = 0;
    if (!handle)
        snprintf(why, size, "can't be loaded: %s", dlerror());
    if (handle)
        dlclose(handle);
    return has;
}

void os_catch(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler}, old;
    sigemptyset(&action.sa_mask);
    if (sigaction(number, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
        sigaction(number, &action, NULL);
}

void os_catch_ends(void (*handler)(int))
{
    static const int deadly[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGXCPU};
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++)
        os_catch(deadly[i], handler);
}

void os_catch_once(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

void os_writes_fail(void)
{
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
}

void os_end_unread(void)
{
    signal(SIGPIPE, SIG_DFL);
    raise(SIGPIPE);
}

/* ---- the terminal of stderr ---- */

bool os_terminal_redraws(void)
{
    const char *kind = getenv("TERM");
    if (!isatty(STDERR_FILENO) || !kind || !*kind || strcmp(kind, "dumb") == 0)
        return false;
    pid_t group = tcgetpgrp(STDERR_FILENO);
    return group < 0 || group == getpgrp();
}

int os_terminal_columns(void)
{
    struct winsize w;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 ? w.ws_col : 0;
}
